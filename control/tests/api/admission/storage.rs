//! DefaultStorageClass, DefaultIngressClass, StorageObjectInUseProtection and
//! PersistentVolumeClaimResize.

use super::*;
use support::eventually;
use support::http::MERGE_PATCH;

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn claim(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}})
}

#[tokio::test]
async fn what_names_no_class_gets_the_default() {
    let control = Control::start(&[]).await;
    let none = create(&control, CLAIMS, &claim("none")).await;
    assert!(none["spec"].get("storageClassName").is_none());
    let class = json!({"metadata": {"name": "fast", "annotations":
        {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "a.io/b"});
    create(&control, "/apis/storage.k8s.io/v1/storageclasses", &class).await;
    let made = create(&control, CLAIMS, &claim("made")).await;
    assert_eq!(made["spec"]["storageClassName"], "fast");
    let mut empty = claim("empty");
    empty["spec"]["storageClassName"] = "".into();
    let empty = create(&control, CLAIMS, &empty).await;
    assert_eq!(empty["spec"]["storageClassName"], "");
    let ingress = json!({"metadata": {"name": "i"}, "spec": {"defaultBackend":
        {"service": {"name": "s", "port": {"number": 80}}}}});
    let path = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    let ingress = create(&control, path, &ingress).await;
    assert_eq!(ingress["spec"]["ingressClassName"], "naru");
}

#[tokio::test]
async fn a_claim_stays_as_long_as_a_pod_mounts_it() {
    let control = Control::start(&[]).await;
    let made = create(&control, CLAIMS, &claim("data")).await;
    let expected = json!(["kubernetes.io/pvc-protection"]);
    assert_eq!(made["metadata"]["finalizers"], expected);
    let mut user = pod("user");
    user["spec"]["volumes"] = json!([{"name": "v",
        "persistentVolumeClaim": {"claimName": "data"}}]);
    create(&control, PODS, &user).await;
    create(&control, CLAIMS, &claim("idle")).await;
    for name in ["data", "idle"] {
        let path = format!("{CLAIMS}/{name}");
        control.delete(&path, &Value::Null).await.expect(200);
    }
    eventually("the claim that nobody mounts is gone", || async {
        let gone = control.get(&format!("{CLAIMS}/idle")).await.code == 404;
        gone.then_some(())
    })
    .await;
    control.get(&format!("{CLAIMS}/data")).await.expect(200);
    control
        .delete(&format!("{PODS}/user"), &Value::Null)
        .await
        .expect(200);
    eventually("the other follows its pod", || async {
        let gone = control.get(&format!("{CLAIMS}/data")).await.code == 404;
        gone.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_claim_grows_once_it_is_bound_and_if_its_class_lets_it() {
    let control = Control::start(&[]).await;
    for (name, expands) in [("fixed", false), ("elastic", true)] {
        let class = json!({"metadata": {"name": name}, "provisioner": "a.io/b",
            "allowVolumeExpansion": expands});
        create(&control, "/apis/storage.k8s.io/v1/storageclasses", &class).await;
    }
    let more = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    for (name, class) in [("a", Some("elastic")), ("b", Some("fixed")), ("c", None)] {
        let mut claim = claim(name);
        if let Some(class) = class {
            claim["spec"]["storageClassName"] = class.into();
        }
        create(&control, CLAIMS, &claim).await;
        let path = format!("{CLAIMS}/{name}");
        let early = control.patch(&path, MERGE_PATCH, &more).await;
        let why = early.refused(403, "Forbidden");
        assert!(why.contains("only bound persistent volume claims"), "{why}");
        let bound = json!({"status": {"phase": "Bound"}});
        let status = format!("{path}/status");
        control
            .patch(&status, MERGE_PATCH, &bound)
            .await
            .expect(200);
        let grown = control.patch(&path, MERGE_PATCH, &more).await;
        if class == Some("elastic") {
            grown.expect(200);
        } else {
            let why = grown.refused(403, "Forbidden");
            assert!(why.contains("must support resize"), "{why}");
        }
        // Anything else may change.
        let note = json!({"metadata": {"labels": {"a": "b"}}});
        control.patch(&path, MERGE_PATCH, &note).await.expect(200);
    }
}
