//! Status, scale, eviction, binding.

use super::*;
use support::http::{JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH};

const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

async fn bound(control: &Control, name: &str) -> Value {
    create(
        control,
        "/api/v1/nodes",
        &json!({"metadata": {"name": "n1"}}),
    )
    .await;
    create(control, PODS, &pod(name)).await;
    let bind = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n1"}});
    let path = format!("{PODS}/{name}/binding");
    control.post(&path, &bind).await.expect(201);
    control.get(&format!("{PODS}/{name}")).await.expect(200)
}

#[tokio::test]
async fn status_and_the_rest_are_written_apart() {
    let control = Control::start(&[]).await;
    let mut object = bound(&control, "p").await;
    let (path, status) = (format!("{PODS}/p"), format!("{PODS}/p/status"));
    // Through the front door the status stays.
    object["status"]["phase"] = "Running".into();
    object["metadata"]["labels"] = json!({"seen": "yes"});
    let done = control.put(&path, &object).await.expect(200);
    assert_eq!(done["status"]["phase"], "Pending");
    assert_eq!(done["metadata"]["labels"]["seen"], "yes");
    // Through the side door the rest does.
    let mut object = done;
    object["status"]["phase"] = "Running".into();
    object["spec"]["containers"][0]["image"] = "other".into();
    let done = control.put(&status, &object).await.expect(200);
    assert_eq!(done["status"]["phase"], "Running");
    assert_eq!(done["spec"]["containers"][0]["image"], "i");
    for (media_type, patch) in [
        (
            MERGE_PATCH,
            json!({"status": {"podIP": "10.244.0.9"}, "spec": {"nodeName": "n2"}}),
        ),
        (
            STRATEGIC_PATCH,
            json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
        ),
        (
            JSON_PATCH,
            json!([{"op": "add", "path": "/status/reason", "value": "Because"}]),
        ),
    ] {
        control.patch(&status, media_type, &patch).await.expect(200);
    }
    let done = control.get(&status).await.expect(200);
    assert_eq!(done["status"]["podIP"], "10.244.0.9");
    assert_eq!(done["status"]["reason"], "Because");
    assert_eq!(done["status"]["conditions"][0]["type"], "Ready");
    assert_eq!(done["spec"]["nodeName"], "n1");
    let stale = control.put(&status, &object).await;
    stale.refused(409, "Conflict");
    let created = control.post(&status, &object).await;
    created.refused(405, "MethodNotAllowed");
    let none = control
        .get(&format!("{MAPS}/kube-root-ca.crt/status"))
        .await;
    none.refused(404, "NotFound");
}

#[tokio::test]
async fn scale_reads_and_writes_replicas_only() {
    let control = Control::start(&[]).await;
    let deployment = support::deployment("web", 0, "web:1");
    create(&control, DEPLOYMENTS, &deployment).await;
    let path = format!("{DEPLOYMENTS}/web/scale");
    let mut scale = control.get(&path).await.expect(200);
    assert_eq!(
        (&scale["kind"], &scale["apiVersion"]),
        (&json!("Scale"), &json!("autoscaling/v1"))
    );
    assert_eq!(scale["spec"]["replicas"], 0);
    assert_eq!(scale["status"]["selector"], "app=web");
    scale["spec"]["replicas"] = 2.into();
    scale["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    assert_eq!(
        control.put(&path, &scale).await.expect(200)["spec"]["replicas"],
        2
    );
    for media_type in [MERGE_PATCH, STRATEGIC_PATCH] {
        let patch = json!({"spec": {"replicas": 3}});
        let done = control.patch(&path, media_type, &patch).await.expect(200);
        assert_eq!(done["spec"]["replicas"], 3);
    }
    let patch = json!([{"op": "test", "path": "/spec/replicas", "value": 3},
        {"op": "replace", "path": "/spec/replicas", "value": 1}]);
    control.patch(&path, JSON_PATCH, &patch).await.expect(200);
    let scaled = control.get(&format!("{DEPLOYMENTS}/web")).await.expect(200);
    assert_eq!(scaled["spec"]["replicas"], 1);
    assert_eq!(
        scaled["spec"]["template"]["spec"]["containers"][0]["image"],
        "web:1"
    );
    let negative = json!({"spec": {"replicas": -1}});
    control
        .patch(&path, MERGE_PATCH, &negative)
        .await
        .refused(422, "Invalid");
    scale["metadata"]["resourceVersion"] = "1".into();
    control.put(&path, &scale).await.refused(409, "Conflict");
    control
        .delete(&path, &Value::Null)
        .await
        .refused(405, "MethodNotAllowed");
    let none = control.get(&format!("{DEPLOYMENTS}/none/scale")).await;
    none.refused(404, "NotFound");
    let none = control.get(&format!("{MAPS}/kube-root-ca.crt/scale")).await;
    none.refused(404, "NotFound");
}

#[tokio::test]
async fn an_eviction_is_a_deletion_with_grace() {
    let control = Control::start(&[]).await;
    let evicted = bound(&control, "p").await;
    let path = format!("{PODS}/p/eviction");
    let eviction = |options: Value| {
        json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": "p", "namespace": "default"}, "deleteOptions": options})
    };
    let other = json!({"metadata": {"name": "q"}});
    control.post(&path, &other).await.refused(400, "BadRequest");
    let dry = eviction(json!({"dryRun": ["All"]}));
    control.post(&path, &dry).await.expect(201);
    let unmarked = control.get(&format!("{PODS}/p")).await.expect(200);
    assert_eq!(unmarked, evicted);
    let other = eviction(json!({"preconditions": {"uid": "another"}}));
    control.post(&path, &other).await.refused(409, "Conflict");
    let done = control
        .post(&path, &eviction(json!({"gracePeriodSeconds": 7})))
        .await;
    assert_eq!(done.expect(201)["status"], "Success");
    let marked = control.get(&format!("{PODS}/p")).await.expect(200);
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 7);
    let none = control
        .post(&format!("{PODS}/none/eviction"), &json!({}))
        .await;
    none.refused(404, "NotFound");
    control.get(&path).await.refused(405, "MethodNotAllowed");
}
