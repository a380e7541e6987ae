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
        "objct.spec.replicas == 1",
        "params.most == 1",
        "object.spec.replicas",
        "request.nothing == ''",
        "variables.nothing == 1",
        "authorizer.knows == authorizer.requestsResource && nobody",
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

/// Whether each of these holds for a deployment `asks` in `default` that the server's administrator or
/// `user` makes.
async fn holds_for(control: &Control, user: Option<&str>, texts: &[(&str, bool)]) {
    let checks = texts.iter().map(|(text, holds)| {
        let expression = if *holds {
            (*text).to_owned()
        } else {
            format!("!({text})")
        };
        json!({"expression": expression})
    });
    let asking = policy("asks", json!({"validations": checks.collect::<Vec<_>>()}));
    install(control, &asking, &binding("asks", "asks", json!({}))).await;
    let path = format!("{DEPLOYMENTS}?dryRun=All");
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(user.map(|user| ("impersonate-user", user)));
    let asks = deployment("asks", 1).to_string();
    let made = control
        .send(http::Method::POST, &path, &headers, asks)
        .await;
    made.expect(201);
    for plural in [
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
    ] {
        let path = format!("{GROUP}/{plural}/asks");
        control.delete(&path, &Value::Null).await.expect(200);
    }
}

#[tokio::test]
async fn expressions_ask_what_somebody_may_do() {
    let control = Control::start(&[]).await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"metadata": {"name": "deployer"}, "rules": [
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["create", "get"]},
        {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["update"],
            "resourceNames": ["asks"]}]});
    create(&control, &format!("{rbac}/clusterroles"), &role).await;
    let subjects = json!([
        {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"},
        {"kind": "ServiceAccount", "namespace": "default", "name": "robot"}]);
    let bound = json!({"metadata": {"name": "deployers"}, "subjects": subjects,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "deployer"}});
    let bindings = format!("{rbac}/namespaces/default/rolebindings");
    create(&control, &bindings, &bound).await;
    let deployments = "authorizer.group('apps').resource('deployments')";
    let robot = "authorizer.serviceAccount('default', 'robot')";
    let may = |what: &str, verb: &str| format!("{what}.check('{verb}').allowed()");
    let here = format!("{deployments}.namespace('default')");
    let of_robot = format!("{robot}.group('apps').resource('deployments').namespace('default')");
    let scale = |name: &str| format!("{here}.name('{name}').subresource('scale')");
    let both = format!("{} && {}", may(&here, "get"), may(&of_robot, "create"));
    let asked = [
        (may("authorizer.requestResource", "create"), true),
        (may("authorizer.requestResource", "delete"), false),
        (may(&here, "create"), true),
        (
            may(&format!("{deployments}.namespace('kube-system')"), "create"),
            false,
        ),
        (may(deployments, "create"), false),
        (may(&scale("asks"), "update"), true),
        (may(&scale("other"), "update"), false),
        (may("authorizer.path('/healthz')", "get"), true),
        (may("authorizer.path('/metrics')", "get"), false),
        (may(&of_robot, "create"), true),
        (may(&of_robot, "delete"), false),
        (
            may(
                "authorizer.serviceAccount('other', 'robot').group('apps').resource('deployments')\
              .namespace('default')",
                "create",
            ),
            false,
        ),
        (both, true),
        (
            format!("{here}.check('delete').reason() == '' && !{here}.check('delete').errored()"),
            true,
        ),
        (
            format!(
                "['get', 'create', 'delete'].filter(verb, {here}.check(verb).allowed()) == ['get', 'create']"
            ),
            true,
        ),
    ];
    let asked: Vec<_> = asked
        .iter()
        .map(|(text, holds)| (text.as_str(), *holds))
        .collect();
    holds_for(&control, Some("jane"), &asked).await;
    let all = [
        (may(&here, "delete"), true),
        (may(&of_robot, "delete"), false),
    ];
    let all: Vec<_> = all
        .iter()
        .map(|(text, holds)| (text.as_str(), *holds))
        .collect();
    holds_for(&control, None, &all).await;
}

#[tokio::test]
async fn questions_are_bounded_and_messages_ask_none() {
    let control = Control::start(&[]).await;
    let path = format!("{GROUP}/validatingadmissionpolicies");
    let speaks = policy(
        "speaks",
        json!({"validations": [{"expression": "false",
        "messageExpression": "string(authorizer.path('/x').check('get').allowed())"}]}),
    );
    let why = control.post(&path, &speaks).await.refused(422, "Invalid");
    assert!(
        why.contains("undeclared reference to 'authorizer'"),
        "{why}"
    );
    let numbers: Vec<String> = (0..40).map(|n| format!("'/{n}'")).collect();
    let many = format!(
        "[{}].all(path, authorizer.path(path).check('get').allowed())",
        numbers.join(", ")
    );
    let asks = policy("many", json!({"validations": [{"expression": many}]}));
    install(&control, &asks, &binding("many", "many", json!({}))).await;
    let told = control.post(DEPLOYMENTS, &deployment("a", 1)).await;
    let told = told.refused(422, "Invalid");
    assert!(told.contains("actual cost limit exceeded"), "{told}");
    let formless = "authorizer.check('get').allowed()";
    let formless = policy("f", json!({"validations": [{"expression": formless}]}));
    let why = control.post(&path, &formless).await.refused(422, "Invalid");
    let wanted = "found no matching overload for 'check' applied to \
        'kubernetes.authorization.Authorizer.(string)'";
    assert!(why.contains(wanted), "{why}");
}
