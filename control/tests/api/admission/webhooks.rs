//! Webhooks: a real server of the test's own is asked.

use super::*;
use support::hooks::{Hook, Say};

const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

/// A configuration of one hook for ConfigMaps, with `extra` members.
fn registration(name: &str, client: Value, extra: Value) -> Value {
    let mut hook = json!({"name": format!("{name}.naru.test"), "clientConfig": client,
        "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
        "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["configmaps"]}],
        // What the cluster makes by itself is not this test's business.
        "objectSelector": {"matchExpressions": [{"key": "free", "operator": "DoesNotExist"}]},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}});
    let extra = extra.as_object().unwrap().clone();
    hook.as_object_mut().unwrap().extend(extra);
    json!({"metadata": {"name": name}, "webhooks": [hook]})
}

fn allow() -> Say {
    Say::Response(json!({"allowed": true}))
}

fn deny(message: &str) -> Say {
    Say::Response(json!({"allowed": false, "status": {"code": 403, "message": message}}))
}

/// The maps that the test itself writes.
fn own(hook: &Hook) -> Vec<Value> {
    let seen = hook.seen().into_iter();
    seen.filter(|it| it["name"] != "kube-root-ca.crt").collect()
}

#[tokio::test]
async fn a_hook_changes_what_it_is_asked_about_and_warns() {
    let control = Control::start(&[]).await;
    let hook = Hook::start(|_| {
        let mut say = Say::patch(&json!([
            {"op": "add", "path": "/metadata/labels", "value": {"touched": "yes"}},
            {"op": "add", "path": "/data/b", "value": "2"},
            {"op": "replace", "path": "/metadata/uid", "value": "mine"}]));
        if let Say::Response(response) = &mut say {
            response["warnings"] = json!(["was touched"]);
        }
        say
    })
    .await;
    let made = control
        .post(MUTATING, &registration("a", hook.config(), json!({})))
        .await;
    assert!(made.warnings().is_empty(), "{:?}", made.warnings());
    made.expect(201);
    let made = control.post(MAPS, &map("one")).await;
    assert_eq!(made.warnings(), ["299 - \"was touched\""]);
    let made = made.expect(201);
    assert_eq!(made["metadata"]["labels"], json!({"touched": "yes"}));
    assert_eq!(made["data"], json!({"a": "1", "b": "2"}));
    assert_ne!(made["metadata"]["uid"], "mine");
    let asked = own(&hook).remove(0);
    assert_eq!(asked["operation"], "CREATE");
    assert_eq!(asked["userInfo"]["username"], "admin");
    let resource = json!({"group": "", "version": "v1", "resource": "configmaps"});
    assert_eq!(
        (&asked["resource"], &asked["requestResource"]),
        (&resource, &resource)
    );
    assert_eq!(
        (&asked["name"], &asked["namespace"]),
        (&json!("one"), &json!("default"))
    );
    assert_eq!(
        (&asked["object"]["data"], &asked["oldObject"]),
        (&json!({"a": "1"}), &Value::Null)
    );
    assert_eq!(
        (&asked["dryRun"], &asked["options"]["kind"]),
        (&json!(false), &json!("CreateOptions"))
    );
    control
        .delete(&format!("{MAPS}/one"), &Value::Null)
        .await
        .expect(200);
    let asked = own(&hook).pop().unwrap();
    assert_eq!(asked["operation"], "DELETE");
    assert_eq!(asked["oldObject"]["data"]["b"], "2");
    control
        .post("/api/v1/namespaces/kube-public/configmaps", &map("x"))
        .await
        .expect(201);
    assert!(own(&hook).iter().all(|asked| asked["name"] == "one"));
}

#[tokio::test]
async fn a_hook_refuses_with_its_own_words_and_code() {
    let control = Control::start(&[]).await;
    let hook = Hook::start(|asked| match asked["operation"].as_str() {
        Some("CREATE") if asked["name"] == "bad" => deny("not here"),
        Some("UPDATE") if asked["object"]["data"]["a"] == "9" => {
            Say::Response(json!({"allowed": false}))
        }
        Some("DELETE") => deny("it stays"),
        _ => allow(),
    })
    .await;
    create(
        &control,
        VALIDATING,
        &registration("v", hook.config(), json!({})),
    )
    .await;
    let why = control
        .post(MAPS, &map("bad"))
        .await
        .refused(403, "Forbidden");
    assert_eq!(
        why,
        "admission webhook \"v.naru.test\" denied the request: not here"
    );
    control.get(&format!("{MAPS}/bad")).await.expect(404);
    create(&control, MAPS, &map("good")).await;
    let path = format!("{MAPS}/good");
    let patch = json!({"data": {"a": "9"}});
    let merge = support::http::MERGE_PATCH;
    let why = control
        .patch(&path, merge, &patch)
        .await
        .refused(400, "BadRequest");
    assert!(
        why.ends_with("denied the request without explanation"),
        "{why}"
    );
    let why = control
        .delete(&path, &Value::Null)
        .await
        .refused(403, "Forbidden");
    assert!(why.ends_with("it stays"), "{why}");
    let all = control.delete(MAPS, &Value::Null).await;
    assert!(all.code == 403 || control.get(&path).await.code == 200);
    create(&control, MAPS, &labelled("free", "x")).await;
    let freed = json!({"metadata": {"name": "freed", "labels": {"free": "yes"}}});
    create(&control, MAPS, &freed).await;
    assert!(own(&hook).iter().all(|asked| asked["name"] != "freed"));
}

#[tokio::test]
async fn a_hook_that_fails_stops_the_write_unless_it_may_be_ignored() {
    let control = Control::start(&[]).await;
    let hook = Hook::start(|asked| match asked["name"].as_str().unwrap() {
        "slow" => Say::Nothing,
        "uid" => Say::Response(json!({"uid": "other", "allowed": true})),
        "text" => Say::Text("{".into()),
        "kind" => Say::Text("{}".into()),
        "patch" => Say::patch(&json!([{"op": "remove", "path": "/no/where"}])),
        _ => Say::Response(json!({"allowed": true, "patch": "!", "patchType": "JSONPatch"})),
    })
    .await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let quick = json!({"timeoutSeconds": 1});
    create(&control, MUTATING, &registration("m", hook.config(), quick)).await;
    let expected = [
        ("slow", "context deadline exceeded"),
        ("uid", "expected response.uid="),
        ("text", "is no AdmissionReview"),
        ("kind", "expected webhook response of admission.k8s.io/v1"),
        ("patch", "the patch cannot be applied"),
        ("code", "webhook response.patch"),
    ];
    for (name, words) in expected {
        let why = control
            .post(MAPS, &map(name))
            .await
            .refused(500, "InternalError");
        let begin = "Internal error occurred: failed calling webhook \"m.naru.test\": ";
        assert!(why.starts_with(begin) && why.contains(words), "{why}");
    }
    let change = |client: Value, policy: &str| {
        let extra = json!({"failurePolicy": policy, "timeoutSeconds": 1});
        let mut changed = registration("m", client, extra);
        changed["webhooks"][0]["reinvocationPolicy"] = "Never".into();
        changed
    };
    let path = format!("{MUTATING}/m");
    control
        .put(&path, &change(hook.config(), "Ignore"))
        .await
        .expect(200);
    for (name, _) in expected {
        create(&control, MAPS, &map(name)).await;
    }
    let url = format!("https://{closed}/x");
    let nobody = json!({"url": url, "caBundle": hook.bundle()});
    control
        .put(&path, &change(nobody, "Fail"))
        .await
        .expect(200);
    let why = control
        .post(MAPS, &map("closed"))
        .await
        .refused(500, "InternalError");
    assert!(why.contains("Connection refused"), "{why}");
    let stranger = Hook::start(|_| allow()).await;
    let forged = json!({"url": hook.config()["url"], "caBundle": stranger.bundle()});
    control
        .put(&path, &change(forged, "Fail"))
        .await
        .expect(200);
    let why = control
        .post(MAPS, &map("forged"))
        .await
        .refused(500, "InternalError");
    assert!(why.contains("certificate"), "{why}");
}

#[tokio::test]
async fn a_dry_run_asks_only_hooks_that_do_nothing_beside() {
    let control = Control::start(&[]).await;
    let hook = Hook::start(|_| allow()).await;
    create(
        &control,
        VALIDATING,
        &registration("v", hook.config(), json!({})),
    )
    .await;
    control
        .post(&format!("{MAPS}?dryRun=All"), &map("dry"))
        .await
        .expect(201);
    let asked = own(&hook).pop().unwrap();
    assert_eq!(asked["dryRun"], true);
    assert_eq!(asked["options"]["dryRun"], json!(["All"]));
    let mut some = registration("v", hook.config(), json!({}));
    some["webhooks"][0]["sideEffects"] = "Some".into();
    control
        .put(&format!("{VALIDATING}/v"), &some)
        .await
        .refused(422, "Invalid");
}

#[tokio::test]
async fn hooks_are_asked_in_order_and_once_more_if_they_want_to() {
    let control = Control::start(&[]).await;
    let count =
        |_: &Value| Say::patch(&json!([{"op": "add", "path": "/data/first", "value": "x"}]));
    let first = Hook::start(count).await;
    let second = Hook::start(|asked| {
        assert_eq!(asked["object"]["data"]["first"], "x");
        Say::patch(&json!([{"op": "add", "path": "/data/second", "value": "y"}]))
    })
    .await;
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    create(
        &control,
        MUTATING,
        &registration("b", second.config(), json!({})),
    )
    .await;
    create(
        &control,
        MUTATING,
        &registration("a", first.config(), again),
    )
    .await;
    let made = create(&control, MAPS, &map("m")).await;
    assert_eq!(made["data"], json!({"a": "1", "first": "x", "second": "y"}));
    let of = |hook: &Hook| own(hook).into_iter().filter(|it| it["name"] == "m").count();
    assert_eq!((of(&first), of(&second)), (2, 1));
}

#[tokio::test]
async fn a_hook_is_reached_under_the_name_of_its_service() {
    let control = Control::start(&[]).await;
    let hook = Hook::start(|_| deny("seen")).await;
    let service = json!({"metadata": {"name": "hook"}, "spec": {"type": "ExternalName",
        "externalName": "localhost"}});
    create(&control, "/api/v1/namespaces/default/services", &service).await;
    let client = json!({"caBundle": hook.bundle(), "service": {"name": "hook",
        "namespace": "default", "port": hook.port(), "path": "/review"}});
    create(&control, VALIDATING, &registration("v", client, json!({}))).await;
    let why = control
        .post(MAPS, &map("m"))
        .await
        .refused(403, "Forbidden");
    assert!(why.ends_with("seen"), "{why}");
}

#[tokio::test]
async fn a_hook_for_one_version_sees_the_others_in_it() {
    let control = Control::start(&[]).await;
    let hook = Hook::start(|_| allow()).await;
    let rules = json!({"rules": [{"operations": ["CREATE"], "apiGroups": ["autoscaling"],
        "apiVersions": ["v1"], "resources": ["horizontalpodautoscalers"]}]});
    create(
        &control,
        VALIDATING,
        &registration("v", hook.config(), rules),
    )
    .await;
    let scaler = json!({"metadata": {"name": "s"}, "spec": {"maxReplicas": 3,
        "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
        "metrics": [{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 70}}}]}});
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    create(&control, path, &scaler).await;
    let asked = hook.seen().pop().unwrap();
    assert_eq!(asked["object"]["apiVersion"], "autoscaling/v1");
    assert_eq!(
        asked["object"]["spec"]["targetCPUUtilizationPercentage"],
        70
    );
    assert_eq!(
        (&asked["kind"]["version"], &asked["requestKind"]["version"]),
        (&json!("v1"), &json!("v2"))
    );
}

#[tokio::test]
async fn conditions_decide_whether_a_hook_is_asked() {
    let control = Control::start(&[]).await;
    let hook = Hook::start(|_| deny("asked")).await;
    let conditions = json!({"matchConditions": [
        {"name": "not-free", "expression": "request.name != 'spared'"},
        {"name": "has-data", "expression": "object != null && 'a' in object.data"}]});
    create(
        &control,
        VALIDATING,
        &registration("v", hook.config(), conditions),
    )
    .await;
    create(&control, MAPS, &map("spared")).await;
    let empty = json!({"metadata": {"name": "empty"}, "data": {"b": "1"}});
    create(&control, MAPS, &empty).await;
    assert!(own(&hook).is_empty());
    control
        .post(MAPS, &map("m"))
        .await
        .refused(403, "Forbidden");
    // What cannot be evaluated counts as the hook's failure.
    let why = control
        .post(MAPS, &json!({"metadata": {"name": "none"}}))
        .await;
    let why = why.refused(500, "InternalError");
    assert!(
        why.contains("matchConditions \"has-data\": no such key: data"),
        "{why}"
    );
    let bad = json!({"matchConditions": [{"name": "x", "expression": "nobody == 1"}]});
    let bad = registration("w", hook.config(), bad);
    let why = control.post(VALIDATING, &bad).await.refused(422, "Invalid");
    assert!(
        why.contains("webhooks[0].matchConditions[0].expression"),
        "{why}"
    );
}
