//! PodSecurity.

use super::*;
use support::http::MERGE_PATCH;

const RESTRICTED: &str = "violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != \
    false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), unrestricted \
    capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
    runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
    seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \
    \"RuntimeDefault\" or \"Localhost\")";

fn privileged(name: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["containers"][0]["securityContext"] = json!({"privileged": true});
    pod
}

#[tokio::test]
async fn a_namespace_decides_what_its_pods_may() {
    let control = Control::start(&["--pod-security-exempt", "namespace=free"]).await;
    let strict = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    namespace(&control, "strict", strict.clone()).await;
    namespace(&control, "free", strict).await;
    let pods = "/api/v1/namespaces/strict/pods";
    let why = control
        .post(pods, &pod("x"))
        .await
        .refused(403, "Forbidden");
    assert_eq!(why, format!("pods \"x\" is forbidden: {RESTRICTED}"));
    create(&control, "/api/v1/namespaces/free/pods", &privileged("x")).await;
    create(
        &control,
        "/api/v1/namespaces/default/pods",
        &privileged("x"),
    )
    .await;
    let hardened = json!({"metadata": {"name": "y"}, "spec": {"containers": [
        {"name": "c", "image": "i", "securityContext": {"allowPrivilegeEscalation": false,
            "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"}}}]}});
    create(&control, pods, &hardened).await;
}

#[tokio::test]
async fn writers_are_warned_of_workloads_and_stricter_namespaces() {
    let control = Control::start(&[]).await;
    let warn = json!({"pod-security.kubernetes.io/warn": "baseline",
        "pod-security.kubernetes.io/warn-version": "v1.30"});
    namespace(&control, "shop", warn).await;
    let mut deployment = support::deployment("web", 0, "i");
    deployment["spec"]["template"]["spec"]["hostNetwork"] = true.into();
    let path = "/apis/apps/v1/namespaces/shop/deployments";
    let made = control.post(path, &deployment).await;
    let expected = "would violate PodSecurity \\\"baseline:v1.30\\\": host namespaces \
        (hostNetwork=true)";
    assert_eq!(
        made.warnings().last().unwrap(),
        &format!("299 - \"{expected}\"")
    );
    made.expect(201);
    let made = control
        .post("/api/v1/namespaces/shop/pods", &privileged("p"))
        .await;
    assert!(made.warnings()[0].contains("privileged (container"));
    made.expect(201);
    let stricter =
        json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
    let done = control
        .patch("/api/v1/namespaces/shop", MERGE_PATCH, &stricter)
        .await;
    assert_eq!(done.warnings().len(), 2, "{:?}", done.warnings());
    assert!(done.warnings()[1].contains("p: privileged"));
    done.expect(200);
    let wrong = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "hard"}}});
    let why = control
        .patch("/api/v1/namespaces/shop", MERGE_PATCH, &wrong)
        .await;
    let why = why.refused(422, "Invalid");
    assert!(
        why.contains("must be one of privileged, baseline, restricted"),
        "{why}"
    );
}
