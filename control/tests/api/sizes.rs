//! How large an object may be, whichever way it comes to be so.

use super::*;
use support::hooks::{Hook, Say};
use support::http::{JSON_PATCH, MERGE_PATCH};

/// Nothing acts on them, so that nobody else writes.
const SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";
/// Bytes of an object as it is stored.
const MOST: usize = 3 << 19;

/// A set that takes a little more than so many bytes.
fn set(name: &str, bytes: usize) -> Value {
    let value = "x".repeat(bytes);
    json!({"metadata": {"name": name}, "spec": {"replicas": 0, "serviceName": "s",
        "selector": {"matchLabels": {"app": "a"}},
        "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [
            {"name": "c", "image": "i", "env": [{"name": "A", "value": value}]}]}}}})
}

/// The bytes that a refusal tells of.
fn told(why: &str) -> usize {
    assert!(why.contains("is too large: the object takes"), "{why}");
    assert!(why.contains("more than the 1572864 (1.5 MiB)"), "{why}");
    let mut numbers = why.split(' ').filter_map(|word| word.parse().ok());
    numbers.next().unwrap()
}

fn too_large(answer: support::http::Answer) -> usize {
    told(&answer.refused(413, "RequestEntityTooLarge"))
}

#[tokio::test]
async fn an_object_is_stored_up_to_the_last_byte_that_it_may_take() {
    let control = Control::start(&[]).await;
    let too_many = MOST;
    let bytes = too_large(control.post(SETS, &set("set", too_many)).await);
    let fits = too_many - (bytes - MOST);
    let dry = format!("{SETS}?dryRun=All");
    for path in [dry.as_str(), SETS] {
        let above = control.post(path, &set("set", fits + 1)).await;
        assert_eq!(too_large(above), MOST + 1, "{path}");
    }
    control.post(&dry, &set("set", fits)).await.expect(201);
    let made = create(&control, SETS, &set("set", fits)).await;

    let path = format!("{SETS}/set");
    let mut grown = made.clone();
    grown["metadata"]["labels"] = json!({"a": "b"});
    too_large(control.put(&path, &grown).await);
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    too_large(control.patch(&path, MERGE_PATCH, &labels).await);
    let dry = format!("{path}?dryRun=All");
    too_large(control.patch(&dry, MERGE_PATCH, &labels).await);
    let copy = json!([{"op": "copy", "from": "/spec/template/spec/containers/0/env",
        "path": "/spec/template/spec/containers/0/args"},
        {"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": ["x"]}]);
    too_large(control.patch(&path, JSON_PATCH, &copy).await);
    let mut applied = json!({"apiVersion": "apps/v1", "kind": "StatefulSet"});
    applied["metadata"] = json!({"name": "set", "labels": {"a": "b"}});
    let apply = format!("{path}?fieldManager=test");
    let media_type = "application/apply-patch+yaml";
    too_large(control.patch(&apply, media_type, &applied).await);
    assert_eq!(control.get(&path).await.expect(200), made);
    control.delete(&path, &Value::Null).await.expect(200);
}

#[tokio::test]
async fn what_a_webhook_makes_of_an_object_is_no_larger_either() {
    let control = Control::start(&[]).await;
    let hook = Hook::start(|_| {
        let value = "x".repeat(MOST);
        Say::patch(&json!([{"op": "replace", "value": value,
            "path": "/spec/template/spec/containers/0/env/0/value"}]))
    })
    .await;
    let hooks = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    let hook = json!({"metadata": {"name": "a"}, "webhooks": [{"name": "a.naru.test",
        "clientConfig": hook.config(), "sideEffects": "None", "timeoutSeconds": 30,
        "admissionReviewVersions": ["v1"], "rules": [{"operations": ["CREATE"],
            "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["statefulsets"]}]}]});
    create(&control, hooks, &hook).await;
    too_large(control.post(SETS, &set("set", 1)).await);
    let list = control.get(SETS).await.expect(200);
    assert!(names(&list).is_empty());
}
