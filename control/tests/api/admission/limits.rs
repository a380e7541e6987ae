//! LimitRanger.

use super::*;

const LIMITS: &str = "/api/v1/namespaces/default/limitranges";
const PODS: &str = "/api/v1/namespaces/default/pods";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

fn asking(name: &str, resources: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [
        {"name": "c", "image": "i", "resources": resources}]}})
}

#[tokio::test]
async fn pods_and_claims_get_defaults_and_keep_to_bounds() {
    let control = Control::start(&[]).await;
    let range = json!({"metadata": {"name": "l"}, "spec": {"limits": [
        {"type": "Container", "max": {"memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}},
        {"type": "Pod", "max": {"cpu": "2"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "5Gi"}}]}});
    let made = control.post(LIMITS, &range).await;
    assert!(made.warnings().is_empty(), "{:?}", made.warnings());
    let made = made.expect(201);
    assert_eq!(made["spec"]["limits"][0]["default"]["memory"], "1Gi");
    let cpu = json!({"limits": {"cpu": "1"}});
    let pod = create(&control, PODS, &asking("a", cpu)).await;
    assert_eq!(
        pod["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}})
    );
    let note = &pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"];
    assert_eq!(
        note,
        "LimitRanger plugin set: memory request for container c; memory limit for container c"
    );
    let greedy = asking("b", json!({"limits": {"cpu": "3", "memory": "2Gi"}}));
    let why = control.post(PODS, &greedy).await.refused(403, "Forbidden");
    assert_eq!(
        why,
        "pods \"b\" is forbidden: [maximum memory usage per Container is 1Gi, but limit is 2Gi, \
         maximum cpu usage per Pod is 2, but limit is 3]"
    );
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "6Gi"}}}});
    let why = control.post(CLAIMS, &claim).await.refused(403, "Forbidden");
    assert!(
        why.contains("maximum storage usage per PersistentVolumeClaim is 5Gi"),
        "{why}"
    );
}
