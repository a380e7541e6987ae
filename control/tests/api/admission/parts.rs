//! What has an object of its own beside the one that it belongs to: scales, bindings, evictions,
//! tokens, connections.

use super::*;
use support::eventually;
use support::hooks::{Hook, Say};
use support::http::MERGE_PATCH;

const HOOKS: &str = "/apis/admissionregistration.k8s.io/v1";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// Registers a hook for `resources`, of any group and version.
async fn register(control: &Control, sort: &str, hook: &Hook, resources: &[&str]) {
    let configuration = json!({"metadata": {"name": "parts"}, "webhooks": [{
        "name": "parts.naru.test", "clientConfig": hook.config(), "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"],
            "resources": resources}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}]});
    create(control, &format!("{HOOKS}/{sort}"), &configuration).await;
}

/// The only question so far, without what differs each time.
fn asked(hook: &Hook) -> Value {
    let mut seen = hook.seen();
    assert_eq!(seen.len(), 1, "{seen:#?}");
    seen.remove(0)
}

fn refuse() -> Say {
    Say::Response(json!({"allowed": false, "status": {"message": "no"}}))
}

async fn deployment(control: &Control) {
    let deployment = json!({"metadata": {"name": "web"}, "spec": {"replicas": 0,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    create(control, DEPLOYMENTS, &deployment).await;
}

/// A pod on a node that nobody can reach.
async fn bound_pod(control: &Control) {
    let node = json!({"metadata": {"name": "n"}});
    create(control, "/api/v1/nodes", &node).await;
    create(control, PODS, &pod("p")).await;
    let target = json!({"target": {"kind": "Node", "name": "n"}});
    let path = format!("{PODS}/p/binding");
    control.post(&path, &target).await.expect(201);
}

async fn replicas(control: &Control) -> Value {
    let found = control.get(&format!("{DEPLOYMENTS}/web")).await.expect(200);
    found["spec"]["replicas"].clone()
}

#[tokio::test]
async fn a_scale_is_shown_before_and_after_and_can_be_refused() {
    let control = Control::start(&[]).await;
    deployment(&control).await;
    let hook = Hook::start(|asked| match asked["object"]["spec"]["replicas"].as_i64() {
        Some(9) => refuse(),
        _ => Say::Response(json!({"allowed": true})),
    })
    .await;
    let sort = "validatingwebhookconfigurations";
    register(&control, sort, &hook, &["deployments/scale"]).await;
    let path = format!("{DEPLOYMENTS}/web/scale");
    let patch = json!({"spec": {"replicas": 9}});
    let why = control.patch(&path, MERGE_PATCH, &patch).await;
    let why = why.refused(400, "BadRequest");
    assert_eq!(
        why,
        "admission webhook \"parts.naru.test\" denied the request: no"
    );
    assert_eq!(replicas(&control).await, 0);
    let asked = asked(&hook);
    let kind = json!({"group": "autoscaling", "version": "v1", "kind": "Scale"});
    let resource = json!({"group": "apps", "version": "v1", "resource": "deployments"});
    assert_eq!((&asked["kind"], &asked["resource"]), (&kind, &resource));
    assert_eq!(
        (&asked["subResource"], &asked["operation"], &asked["name"]),
        (&json!("scale"), &json!("UPDATE"), &json!("web"))
    );
    assert_eq!(asked["oldObject"]["kind"], "Scale");
    assert_eq!(asked["oldObject"]["spec"]["replicas"], 0);
    assert_eq!(asked["object"]["spec"]["replicas"], 9);
    // The controller writes to the deployment, too.
    let scale = eventually("the scale is replaced", || async {
        let mut scale = control.get(&path).await.expect(200);
        scale["spec"]["replicas"] = 3.into();
        let done = control.put(&path, &scale).await;
        (done.code == 200).then_some(scale)
    })
    .await;
    assert_eq!(replicas(&control).await, 3);
    let stale = control.put(&path, &scale).await;
    stale.refused(409, "Conflict");
}

#[tokio::test]
async fn a_hook_may_change_a_scale() {
    let control = Control::start(&[]).await;
    deployment(&control).await;
    let most = json!([{"op": "replace", "path": "/spec/replicas", "value": 2}]);
    let hook = Hook::start(move |_| Say::patch(&most)).await;
    let sort = "mutatingwebhookconfigurations";
    register(&control, sort, &hook, &["deployments/scale"]).await;
    let patch = json!({"spec": {"replicas": 9}});
    let path = format!("{DEPLOYMENTS}/web/scale");
    let scale = control.patch(&path, MERGE_PATCH, &patch).await.expect(200);
    assert_eq!(scale["spec"]["replicas"], 2);
    assert_eq!(replicas(&control).await, 2);
}

#[tokio::test]
async fn bindings_evictions_and_tokens_can_be_refused() {
    let control = Control::start(&[]).await;
    create(&control, PODS, &pod("p")).await;
    let hook = Hook::start(|_| refuse()).await;
    let parts = [
        "pods/binding",
        "pods/eviction",
        "serviceaccounts/token",
        "pods/exec",
        "services/proxy",
    ];
    register(&control, "validatingwebhookconfigurations", &hook, &parts).await;
    let posts = [
        (
            format!("{PODS}/p/binding"),
            json!({"target": {"kind": "Node", "name": "n"}}),
        ),
        (
            "/api/v1/namespaces/default/bindings".to_owned(),
            json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}),
        ),
        (
            format!("{PODS}/p/eviction"),
            json!({"metadata": {"name": "p"}}),
        ),
        (
            "/api/v1/namespaces/default/serviceaccounts/default/token".to_owned(),
            json!({"spec": {}}),
        ),
    ];
    for (path, object) in &posts {
        let refused = control.post(path, object).await;
        refused.refused(400, "BadRequest");
    }
    let found = control.get(&format!("{PODS}/p")).await.expect(200);
    assert!(found["spec"]["nodeName"].is_null());
    assert!(found["metadata"]["deletionTimestamp"].is_null());
    let seen = hook.seen();
    let told = |asked: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let part = text(&asked["subResource"]);
        let kind = text(&asked["kind"]["kind"]);
        (part, kind, text(&asked["operation"]), text(&asked["name"]))
    };
    let told: Vec<_> = seen.iter().map(told).collect();
    let row = |part: &str, kind: &str, name: &str| {
        (part.into(), kind.into(), "CREATE".into(), name.into())
    };
    assert_eq!(
        told,
        [
            row("binding", "Binding", "p"),
            row("binding", "Binding", "p"),
            row("eviction", "Eviction", "p"),
            row("token", "TokenRequest", "default"),
        ]
    );
    assert!(seen.iter().all(|asked| asked["namespace"] == "default"));
}

#[tokio::test]
async fn connections_are_shown_with_their_options() {
    let control = Control::start(&[]).await;
    bound_pod(&control).await;
    let hook = Hook::start(|_| refuse()).await;
    let parts = ["pods/exec", "pods/portforward", "pods/proxy"];
    register(&control, "validatingwebhookconfigurations", &hook, &parts).await;
    let query = "command=rm&command=-rf&container=c&stdout=true";
    let path = format!("{PODS}/p/exec?{query}");
    let exec = control.post(&path, &json!({})).await;
    exec.refused(400, "BadRequest");
    let proxied = control.get(&format!("{PODS}/p/proxy/a/b?c=d")).await;
    proxied.refused(400, "BadRequest");
    let seen = hook.seen();
    assert_eq!(seen[0]["operation"], "CONNECT");
    assert_eq!(
        seen[0]["object"],
        json!({"apiVersion": "v1", "kind": "PodExecOptions", "command": ["rm", "-rf"],
            "container": "c", "stdout": true})
    );
    assert_eq!(
        (&seen[0]["oldObject"], &seen[0]["options"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        seen[1]["object"],
        json!({"apiVersion": "v1", "kind": "PodProxyOptions", "path": "/a/b"})
    );
}

#[tokio::test]
async fn a_policy_sees_what_a_connection_would_run() {
    let control = Control::start(&[]).await;
    bound_pod(&control).await;
    let policy = json!({"metadata": {"name": "quiet"}, "spec": {
        "matchConstraints": {"resourceRules": [{"operations": ["CONNECT"], "apiGroups": [""],
            "apiVersions": ["v1"], "resources": ["pods/exec"]}]},
        "validations": [{"expression": "!object.command.exists(it, it == 'sh') && \
            request.subResource == 'exec' && namespaceObject.metadata.name == 'default'",
            "message": "no shells"}]}});
    create(
        &control,
        &format!("{HOOKS}/validatingadmissionpolicies"),
        &policy,
    )
    .await;
    let binding = json!({"metadata": {"name": "quiet"},
        "spec": {"policyName": "quiet", "validationActions": ["Deny"]}});
    let bindings = format!("{HOOKS}/validatingadmissionpolicybindings");
    create(&control, &bindings, &binding).await;
    let exec = async |command: &str| {
        let path = format!("{PODS}/p/exec?command={command}&container=c&stdout=true");
        control.post(&path, &json!({})).await
    };
    let why = exec("sh").await.refused(422, "Invalid");
    assert_eq!(
        why,
        "pods \"p\" is forbidden: ValidatingAdmissionPolicy 'quiet' with binding 'quiet' denied \
         request: no shells"
    );
    // That nobody can reach its node is all that is wrong with the other one.
    let why = exec("date").await.refused(500, "InternalError");
    assert!(why.contains("node n has no known address"), "{why}");
}
