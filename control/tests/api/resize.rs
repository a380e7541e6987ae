//! Pods that are resized: `pods/resize`.

use super::*;
use support::eventually;
use support::http::{APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH};

const PODS: &str = "/api/v1/namespaces/default/pods";
const DOOR: &str = "/api/v1/namespaces/default/pods/p/resize";

fn asking(cpu: &str) -> Value {
    let mut pod = alone("p");
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
    pod
}

fn resize(requests: Value) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}})
}

fn cpu(pod: &Value) -> &Value {
    &pod["spec"]["containers"][0]["resources"]["requests"]["cpu"]
}

#[tokio::test]
async fn a_pod_is_resized_by_every_kind_of_write() {
    let control = Control::start(&[]).await;
    let made = create(&control, PODS, &asking("100m")).await;
    let policies = json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}]);
    assert_eq!(made["spec"]["containers"][0]["resizePolicy"], policies);
    let patch = resize(json!({"cpu": "200m"}));
    let done = control
        .patch(DOOR, STRATEGIC_PATCH, &patch)
        .await
        .expect(200);
    assert_eq!(*cpu(&done), "200m");
    assert_eq!(done["metadata"]["generation"], 2);
    let patch = json!([{"op": "replace", "value": "300m",
        "path": "/spec/containers/0/resources/requests/cpu"}]);
    let mut whole = control.patch(DOOR, JSON_PATCH, &patch).await.expect(200);
    assert_eq!(*cpu(&whole), "300m");
    // Nothing but resources is taken of what is written here.
    whole["spec"]["containers"][0]["image"] = "other".into();
    whole["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "400m".into();
    whole["metadata"]["labels"] = json!({"a": "b"});
    let done = control.put(DOOR, &whole).await.expect(200);
    assert_eq!(*cpu(&done), "400m");
    assert_eq!(done["spec"]["containers"][0]["image"], "i");
    assert!(done["metadata"].get("labels").is_none(), "{done:#}");
    // The image is not in it, but it is not for this path either.
    let patch = resize(json!({"cpu": "500m"}));
    let done = control.patch(DOOR, MERGE_PATCH, &patch).await.expect(200);
    assert_eq!(*cpu(&done), "500m");
    assert_eq!(done["spec"]["containers"][0]["image"], "i");
    let mut config = resize(json!({"cpu": "600m"}));
    config["apiVersion"] = "v1".into();
    config["kind"] = "Pod".into();
    let path = format!("{DOOR}?fieldManager=me&force=true");
    let done = control.patch(&path, APPLY_PATCH, &config).await.expect(200);
    assert_eq!(*cpu(&done), "600m");
    let entries = done["metadata"]["managedFields"].as_array().unwrap();
    let mine = entries.iter().find(|it| it["manager"] == "me").unwrap();
    assert_eq!(mine["subresource"], "resize");
    let seen = control.get(DOOR).await.expect(200);
    assert_eq!(seen, control.get(&format!("{PODS}/p")).await.expect(200));
}

#[tokio::test]
async fn what_a_resize_may_not_do_is_told() {
    let control = Control::start(&[]).await;
    create(&control, PODS, &asking("100m")).await;
    let refused = async |patch: Value| {
        let said = control.patch(DOOR, STRATEGIC_PATCH, &patch).await;
        said.refused(422, "Invalid")
    };
    let said = refused(resize(json!({"cpu": null}))).await;
    assert!(
        said.contains("resource requests cannot be removed"),
        "{said}"
    );
    let said = refused(resize(json!({"ephemeral-storage": "1Gi"}))).await;
    let words = "spec: Forbidden: only cpu and memory resources are mutable";
    assert!(said.contains(words), "{said}");
    let guaranteed = json!({"cpu": "100m", "memory": "1Mi"});
    let patch = json!({"spec": {"containers": [{"name": "c",
        "resources": {"requests": guaranteed, "limits": guaranteed}}]}});
    let said = refused(patch).await;
    let words = "Pod QOS Class may not change as a result of resizing";
    assert!(said.contains(words), "{said}");
    let front = format!("{PODS}/p");
    let patch = resize(json!({"cpu": "1"}));
    let said = control.patch(&front, STRATEGIC_PATCH, &patch).await;
    let said = said.refused(422, "Invalid");
    assert!(said.contains("pod updates may not change fields"), "{said}");
}

#[tokio::test]
async fn quotas_and_limits_count_what_a_resize_asks_for() {
    let control = Control::start(&[]).await;
    let namespace = "/api/v1/namespaces/default";
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"requests.cpu": "1"}}});
    create(&control, &format!("{namespace}/resourcequotas"), &quota).await;
    let used = async |amount: &str| {
        eventually("the quota to be counted", || async {
            let quota = control.get(&format!("{namespace}/resourcequotas/q")).await;
            let quota = quota.expect(200);
            (quota["status"]["used"]["requests.cpu"] == amount).then_some(())
        })
        .await;
    };
    used("0").await;
    create(&control, PODS, &asking("400m")).await;
    let patch = |cpu: &str| resize(json!({"cpu": cpu}));
    let said = control.patch(DOOR, STRATEGIC_PATCH, &patch("1100m")).await;
    let said = said.refused(403, "Forbidden");
    let words = "exceeded quota: q, requested: requests.cpu=700m, used: requests.cpu=400m, limited: requests.cpu=1";
    assert!(said.contains(words), "{said}");
    control
        .patch(DOOR, STRATEGIC_PATCH, &patch("900m"))
        .await
        .expect(200);
    used("900m").await;
    // What was given and not taken back yet counts.
    let status = json!({"status": {"containerStatuses": [{"name": "c", "image": "i",
        "imageID": "", "ready": true, "restartCount": 0,
        "resources": {"requests": {"cpu": "900m"}}, "allocatedResources": {"cpu": "900m"}}]}});
    let path = format!("{PODS}/p/status");
    control.patch(&path, MERGE_PATCH, &status).await.expect(200);
    control
        .patch(DOOR, STRATEGIC_PATCH, &patch("200m"))
        .await
        .expect(200);
    used("900m").await;
    let bounds = json!({"metadata": {"name": "l"}, "spec": {"limits": [
        {"type": "Container", "max": {"cpu": "500m"}, "default": {"cpu": "500m"}}]}});
    create(&control, &format!("{namespace}/limitranges"), &bounds).await;
    let said = control.patch(DOOR, STRATEGIC_PATCH, &patch("600m")).await;
    let said = said.refused(403, "Forbidden");
    assert!(
        said.contains("maximum cpu usage per Container is 500m"),
        "{said}"
    );
}
