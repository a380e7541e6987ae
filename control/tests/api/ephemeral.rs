//! Containers that join a pod: `pods/ephemeralcontainers`.

use super::*;
use support::eventually;
use support::hooks::{Hook, Say};
use support::http::{APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH};

const PODS: &str = "/api/v1/namespaces/default/pods";
const DOOR: &str = "/api/v1/namespaces/default/pods/p/ephemeralcontainers";

fn joining(list: Value) -> Value {
    json!({"spec": {"ephemeralContainers": list}})
}

fn joined(pod: &Value) -> Vec<&str> {
    let list = pod["spec"]["ephemeralContainers"].as_array();
    let list = list.into_iter().flatten();
    list.filter_map(|it| it["name"].as_str()).collect()
}

#[tokio::test]
async fn containers_join_a_pod_by_every_kind_of_write() {
    let control = Control::start(&[]).await;
    let made = create(&control, PODS, &alone("p")).await;
    assert_eq!(made["metadata"]["generation"], 1);
    let one = json!({"name": "one", "image": "i:1", "targetContainerName": "c"});
    let patch = joining(json!([one]));
    let done = control.patch(DOOR, STRATEGIC_PATCH, &patch).await;
    let done = done.expect(200);
    assert_eq!(done["kind"], "Pod");
    assert_eq!(done["metadata"]["generation"], 2);
    let stored = &done["spec"]["ephemeralContainers"][0];
    assert_eq!(stored["imagePullPolicy"], "IfNotPresent");
    assert_eq!(stored["terminationMessagePath"], "/dev/termination-log");
    let two = joining(json!([{"name": "two", "image": "i"}]));
    control.patch(DOOR, STRATEGIC_PATCH, &two).await.expect(200);
    let three = json!([{"op": "add", "path": "/spec/ephemeralContainers/-",
        "value": {"name": "three", "image": "i"}}]);
    let mut whole = control.patch(DOOR, JSON_PATCH, &three).await.expect(200);
    let mut all = joined(&whole);
    all.sort_unstable();
    assert_eq!(all, ["one", "three", "two"]);
    // Nothing but the list is taken of what is written here.
    whole["metadata"]["labels"] = json!({"a": "b"});
    whole["spec"]["containers"][0]["image"] = "other".into();
    let list = whole["spec"]["ephemeralContainers"].as_array_mut().unwrap();
    list.push(json!({"name": "four", "image": "i"}));
    let done = control.put(DOOR, &whole).await.expect(200);
    assert_eq!(joined(&done).len(), 4);
    assert_eq!(done["spec"]["containers"][0]["image"], "i");
    assert!(done["metadata"].get("labels").is_none(), "{done:#}");
    let seen = control.get(DOOR).await.expect(200);
    assert_eq!(seen, control.get(&format!("{PODS}/p")).await.expect(200));
    control.put(DOOR, &whole).await.refused(409, "Conflict");
    // A merge patch replaces the list, and nobody leaves.
    let said = control.patch(DOOR, MERGE_PATCH, &two).await;
    let said = said.refused(422, "Invalid");
    let words = r#"spec.ephemeralContainers: Forbidden: existing ephemeral containers "one" may not be removed"#;
    assert!(said.contains(words), "{said}");
    control
        .post(DOOR, &whole)
        .await
        .refused(405, "MethodNotAllowed");
    let none = format!("{PODS}/none/ephemeralcontainers");
    control.get(&none).await.refused(404, "NotFound");
}

#[tokio::test]
async fn an_apply_owns_the_containers_that_it_adds_and_nothing_else() {
    let control = Control::start(&[]).await;
    create(&control, PODS, &alone("p")).await;
    let mut config = joining(json!([{"name": "one", "image": "i"}]));
    config["apiVersion"] = "v1".into();
    config["kind"] = "Pod".into();
    config["spec"]["containers"] = json!([{"name": "c", "image": "other"}]);
    let path = format!("{DOOR}?fieldManager=me");
    let done = control.patch(&path, APPLY_PATCH, &config).await.expect(200);
    assert_eq!(joined(&done), ["one"]);
    assert_eq!(done["spec"]["containers"][0]["image"], "i");
    let entries = done["metadata"]["managedFields"].as_array().unwrap();
    let mine = entries.iter().find(|it| it["manager"] == "me").unwrap();
    assert_eq!(mine["subresource"], "ephemeralcontainers");
    let owned = json!({"f:spec": {"f:ephemeralContainers": {"k:{\"name\":\"one\"}": {
        ".": {}, "f:image": {}, "f:name": {}}}}});
    assert_eq!(mine["fieldsV1"], owned);
}

#[tokio::test]
async fn elsewhere_ephemeral_containers_are_refused() {
    let control = Control::start(&[]).await;
    let list = json!([{"name": "look", "image": "i"}]);
    let mut born = alone("p");
    born["spec"]["ephemeralContainers"] = list.clone();
    let said = control.post(PODS, &born).await.refused(422, "Invalid");
    let words = "spec.ephemeralContainers: Forbidden: cannot be set on create";
    assert!(said.contains(words), "{said}");
    create(&control, PODS, &alone("p")).await;
    let patch = joining(list.clone());
    let path = format!("{PODS}/p");
    let said = control.patch(&path, STRATEGIC_PATCH, &patch).await;
    let said = said.refused(422, "Invalid");
    assert!(said.contains("pod updates may not change fields"), "{said}");
    let mut deployment = support::deployment("web", 1, "web:1");
    deployment["spec"]["template"]["spec"]["ephemeralContainers"] = list;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let said = control.post(path, &deployment).await;
    let said = said.refused(422, "Invalid");
    let words = "ephemeral containers not allowed in pod template";
    assert!(said.contains(words), "{said}");
}

#[tokio::test]
async fn what_is_wrong_with_a_debugger_is_told_by_its_path() {
    let control = Control::start(&[]).await;
    create(&control, PODS, &alone("p")).await;
    let refused = async |container: Value| {
        let patch = joining(json!([container]));
        let said = control.patch(DOOR, STRATEGIC_PATCH, &patch).await;
        said.refused(422, "Invalid")
    };
    let target = json!({"name": "look", "image": "i", "targetContainerName": "nobody"});
    let said = refused(target).await;
    let words = r#"spec.ephemeralContainers[0].targetContainerName: Not found: "nobody""#;
    assert!(said.contains(words), "{said}");
    let said = refused(json!({"name": "c", "image": "i"})).await;
    let words = r#"spec.ephemeralContainers[0].name: Duplicate value: "c""#;
    assert!(said.contains(words), "{said}");
    let ports = json!({"name": "look", "image": "i", "ports": [{"containerPort": 80}]});
    let said = refused(ports).await;
    let words = "spec.ephemeralContainers[0].ports: Forbidden: \
        cannot be set for an Ephemeral Container";
    assert!(said.contains(words), "{said}");
}

#[tokio::test]
async fn who_joins_is_seen_by_pod_security_and_by_hooks() {
    let control = Control::start(&[]).await;
    let level = json!({"pod-security.kubernetes.io/enforce": "baseline"});
    let strict = json!({"metadata": {"name": "strict", "labels": level}});
    create(&control, "/api/v1/namespaces", &strict).await;
    create(&control, "/api/v1/namespaces/strict/pods", &alone("p")).await;
    let patch = joining(json!([{"name": "look", "image": "i",
        "securityContext": {"privileged": true}}]));
    let door = "/api/v1/namespaces/strict/pods/p/ephemeralcontainers";
    let said = control.patch(door, STRATEGIC_PATCH, &patch).await;
    let said = said.refused(403, "Forbidden");
    let words = "container \"look\" must not set securityContext.privileged=true";
    assert!(said.contains(words), "{said}");
    let hook =
        Hook::start(|_| Say::Response(json!({"allowed": false, "status": {"message": "no"}})))
            .await;
    let configuration = json!({"metadata": {"name": "debug"}, "webhooks": [{
        "name": "debug.naru.test", "clientConfig": hook.config(), "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "rules": [{"operations": ["UPDATE"], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["pods/ephemeralcontainers"]}]}]});
    let hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    create(&control, hooks, &configuration).await;
    create(&control, PODS, &alone("p")).await;
    let patch = joining(json!([{"name": "look", "image": "i"}]));
    let said = control.patch(DOOR, STRATEGIC_PATCH, &patch).await;
    said.refused(400, "BadRequest");
    let seen = hook.seen();
    assert_eq!(seen.len(), 1, "{seen:#?}");
    assert_eq!(seen[0]["subResource"], "ephemeralcontainers");
    assert_eq!(seen[0]["kind"]["kind"], "Pod");
    assert_eq!(joined(&seen[0]["object"]), ["look"]);
    assert!(joined(&seen[0]["oldObject"]).is_empty());
    let pods = control.get(PODS).await.expect(200);
    assert!(joined(&pods["items"][0]).is_empty());
}

#[tokio::test]
async fn discovery_names_the_subresource() {
    let control = Control::start(&[]).await;
    let list = control.get("/api/v1").await.expect(200);
    let mut all = list["resources"].as_array().unwrap().iter();
    let found = all.find(|it| it["name"] == "pods/ephemeralcontainers");
    let found = found.expect("the subresource");
    assert_eq!(found["kind"], "Pod");
    assert_eq!(found["verbs"], json!(["get", "patch", "update"]));
}

/// Operators grant it apart from other writes: a policy about pods may not know of the subresource.
#[tokio::test]
async fn no_default_role_grants_it() {
    let control = Control::start(&[]).await;
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/admin";
    let rules = eventually("the role has gathered its rules", || async {
        let role = control.get(path).await.expect(200);
        Some(role["rules"].to_string()).filter(|rules| rules.contains("pods/exec"))
    })
    .await;
    assert!(!rules.contains("ephemeralcontainers"), "{rules}");
}
