//! ValidatingAdmissionPolicy.

use super::*;
use support::http::MERGE_PATCH;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn policy(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    if spec.get("matchConstraints").is_none() {
        spec["matchConstraints"] = json!({"resourceRules": [{"operations": ["CREATE", "UPDATE"],
            "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}]});
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

fn binding(name: &str, policy: &str, extra: Value) -> Value {
    let mut spec = json!({"policyName": policy, "validationActions": ["Deny"]});
    spec.as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    json!({"metadata": {"name": name}, "spec": spec})
}

async fn install(control: &Control, policy: &Value, binding: &Value) {
    let made = control
        .post(&format!("{GROUP}/validatingadmissionpolicies"), policy)
        .await;
    assert!(made.warnings().is_empty(), "{:?}", made.warnings());
    made.expect(201);
    create(
        control,
        &format!("{GROUP}/validatingadmissionpolicybindings"),
        binding,
    )
    .await;
}

fn deployment(name: &str, replicas: i32) -> Value {
    support::deployment(name, replicas, "i")
}

#[tokio::test]
async fn a_policy_holds_where_it_is_bound() {
    let control = Control::start(&[]).await;
    let few = policy(
        "few",
        json!({"validations": [
        {"expression": "object.spec.replicas <= 5"},
        {"expression": "request.operation != 'UPDATE' || oldObject.spec.replicas > 0",
            "message": "what sleeps stays asleep", "reason": "Forbidden"}]}),
    );
    let path = format!("{GROUP}/validatingadmissionpolicies");
    create(&control, &path, &few).await;
    create(&control, DEPLOYMENTS, &deployment("before", 6)).await;
    let everywhere = binding("few-here", "few", json!({}));
    create(
        &control,
        &format!("{GROUP}/validatingadmissionpolicybindings"),
        &everywhere,
    )
    .await;
    let why = control
        .post(DEPLOYMENTS, &deployment("many", 6))
        .await
        .refused(422, "Invalid");
    assert_eq!(
        why,
        "deployments.apps \"many\" is forbidden: ValidatingAdmissionPolicy 'few' with binding \
         'few-here' denied request: failed expression: object.spec.replicas <= 5"
    );
    create(&control, DEPLOYMENTS, &deployment("none", 0)).await;
    let wake = json!({"spec": {"replicas": 1}});
    let why = control
        .patch(&format!("{DEPLOYMENTS}/none"), MERGE_PATCH, &wake)
        .await;
    let why = why.refused(403, "Forbidden");
    assert!(
        why.ends_with("denied request: what sleeps stays asleep"),
        "{why}"
    );
    let dry = format!("{DEPLOYMENTS}?dryRun=All");
    control
        .post(&dry, &deployment("dry", 9))
        .await
        .refused(422, "Invalid");
}

#[tokio::test]
async fn parameters_come_from_the_objects_own_namespace() {
    let control = Control::start(&[]).await;
    let most = policy(
        "most",
        json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "variables": [{"name": "most", "expression": "int(params.data.most)"}],
        "validations": [{"expression": "object.spec.replicas <= variables.most",
            "messageExpression": "'at most ' + params.data.most + ' in ' + \
                namespaceObject.metadata.name"}]}),
    );
    let by_name = json!({"paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"}});
    install(&control, &most, &binding("most", "most", by_name)).await;
    let why = control
        .post(DEPLOYMENTS, &deployment("a", 1))
        .await
        .refused(422, "Invalid");
    assert!(why.contains("no params found for policy binding"), "{why}");
    let limits = json!({"metadata": {"name": "limits"}, "data": {"most": "3"}});
    create(&control, MAPS, &limits).await;
    create(&control, DEPLOYMENTS, &deployment("a", 3)).await;
    let why = control
        .post(DEPLOYMENTS, &deployment("b", 4))
        .await
        .refused(422, "Invalid");
    assert!(
        why.ends_with("denied request: at most 3 in default"),
        "{why}"
    );
}

#[tokio::test]
async fn a_policy_may_warn_and_looks_only_at_what_it_is_about() {
    let control = Control::start(&[]).await;
    let spec = json!({
        "matchConditions": [{"name": "not-free", "expression":
            "!has(object.metadata.labels) || !('free' in object.metadata.labels)"}],
        "matchConstraints": {"resourceRules": [{"operations": ["*"], "apiGroups": [""],
            "apiVersions": ["v1"], "resources": ["configmaps"]}],
            "excludeResourceRules": [{"operations": ["*"], "apiGroups": ["*"],
                "apiVersions": ["*"], "resources": ["configmaps"], "resourceNames": ["spared"]}]},
        "validations": [{"expression": "request.operation == 'DELETE' || has(object.data.good)",
            "message": "not good"}]});
    let here = json!({"validationActions": ["Warn"], "matchResources": {"namespaceSelector":
        {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}});
    install(
        &control,
        &policy("good", spec),
        &binding("good", "good", here),
    )
    .await;
    let made = control.post(MAPS, &map("a")).await;
    assert_eq!(
        made.warnings(),
        [
            "299 - \"Validation failed for ValidatingAdmissionPolicy 'good' with binding 'good': \
          not good\""
        ]
    );
    made.expect(201);
    for quiet in [map("spared"), labelled("b", "x")] {
        let mut quiet = quiet;
        if quiet["metadata"].get("labels").is_some() {
            quiet["metadata"]["labels"]["free"] = "yes".into();
        }
        let made = control.post(MAPS, &quiet).await;
        assert!(made.warnings().is_empty(), "{:?}", made.warnings());
        made.expect(201);
    }
    let elsewhere = control
        .post("/api/v1/namespaces/kube-public/configmaps", &map("a"))
        .await;
    assert!(elsewhere.warnings().is_empty());
    control
        .delete(&format!("{MAPS}/a"), &Value::Null)
        .await
        .expect(200);
}

#[tokio::test]
async fn policies_that_cannot_be_evaluated_are_refused_or_fail() {
    let control = Control::start(&[]).await;
    let path = format!("{GROUP}/validatingadmissionpolicies");
    for text in [
        "object.spec >",
        "nobody.knows == 1",
        "authorizer.path('/x').check('get').allowed()",
    ] {
        let bad = policy("bad", json!({"validations": [{"expression": text}]}));
        let why = control.post(&path, &bad).await.refused(422, "Invalid");
        assert!(why.contains("spec.validations[0].expression"), "{why}");
    }
    let absent = policy(
        "absent",
        json!({"validations": [{"expression": "object.spec.nothing > 1"}]}),
    );
    install(&control, &absent, &binding("absent", "absent", json!({}))).await;
    let why = control
        .post(DEPLOYMENTS, &deployment("a", 1))
        .await
        .refused(422, "Invalid");
    assert!(
        why.contains("resulted in error: no such key: nothing"),
        "{why}"
    );
    let ignored = json!({"spec": {"failurePolicy": "Ignore"}});
    control
        .patch(&format!("{path}/absent"), MERGE_PATCH, &ignored)
        .await
        .expect(200);
    create(&control, DEPLOYMENTS, &deployment("a", 1)).await;
}
