//! MutatingAdmissionPolicy.

use super::*;
use support::http::MERGE_PATCH;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// A policy about Deployments, and its binding everywhere.
async fn install(control: &Control, name: &str, spec: Value, binding: Value) {
    let mut policy = json!({"reinvocationPolicy": "Never", "matchConstraints": {"resourceRules": [
        {"operations": ["CREATE", "UPDATE"], "apiGroups": ["apps"], "apiVersions": ["v1"],
            "resources": ["deployments"]}]}});
    merge(&mut policy, spec);
    let policy = json!({"metadata": {"name": name}, "spec": policy});
    let made = control
        .post(&format!("{GROUP}/mutatingadmissionpolicies"), &policy)
        .await;
    assert!(made.warnings().is_empty(), "{:?}", made.warnings());
    made.expect(201);
    let mut spec = json!({"policyName": name});
    merge(&mut spec, binding);
    let binding = json!({"metadata": {"name": name}, "spec": spec});
    let path = format!("{GROUP}/mutatingadmissionpolicybindings");
    create(control, &path, &binding).await;
}

fn merge(into: &mut Value, more: Value) {
    let members = into.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
}

fn apply(text: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": text}})
}

fn patch(text: &str) -> Value {
    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": text}})
}

fn deployment(name: &str, replicas: i32) -> Value {
    support::deployment(name, replicas, "i")
}

#[tokio::test]
async fn an_apply_lays_itself_over_the_object_and_owns_nothing() {
    let control = Control::start(&[]).await;
    let side = "Object{spec: Object.spec{template: Object.spec.template{spec: \
        Object.spec.template.spec{containers: [Object.spec.template.spec.containers{name: 'side', \
        image: 'side:' + string(object.spec.replicas)}]}}}}";
    let labels =
        "Object{metadata: Object.metadata{annotations: {'by': request.userInfo.username}}}";
    let spec = json!({"mutations": [apply(side), apply(labels)],
        "matchConditions": [{"name": "few", "expression": "object.spec.replicas < 5"}]});
    install(&control, "side", spec, json!({})).await;
    let made = control.post(DEPLOYMENTS, &deployment("a", 2)).await;
    let made = made.expect(201);
    let containers = &made["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers[0]["image"], "i");
    assert_eq!(containers[1]["image"], "side:2");
    // Defaults come afterwards, for what was added too.
    assert_eq!(
        containers[1]["terminationMessagePath"],
        "/dev/termination-log"
    );
    assert!(made["metadata"]["annotations"]["by"].is_string(), "{made}");
    let many = control.post(DEPLOYMENTS, &deployment("many", 5)).await;
    let containers = &many.expect(201)["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_patch_is_made_by_its_expression_with_parameters() {
    let control = Control::start(&[]).await;
    let limits = json!({"metadata": {"name": "limits"}, "data": {"most": "3"}});
    create(&control, MAPS, &limits).await;
    let cap = "object.spec.replicas > variables.most ? [\
        JSONPatch{op: 'test', path: '/spec/replicas', value: object.spec.replicas}, \
        JSONPatch{op: 'replace', path: '/spec/replicas', value: variables.most}, \
        JSONPatch{op: 'add', path: '/metadata/annotations', value: {'naru.dev/capped': 'yes'}}\
        ] : []";
    let never = "[JSONPatch{op: 'test', path: '/spec/replicas', value: 99}, \
        JSONPatch{op: 'remove', path: '/spec/replicas'}]";
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "variables": [{"name": "most", "expression": "int(params.data.most)"}],
        "mutations": [patch(cap), patch(never)]});
    let binding = json!({"paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"}});
    install(&control, "cap", spec, binding).await;
    let made = control.post(DEPLOYMENTS, &deployment("a", 9)).await;
    let made = made.expect(201);
    assert_eq!(made["spec"]["replicas"], 3);
    assert_eq!(made["metadata"]["annotations"]["naru.dev/capped"], "yes");
    let path = format!("{DEPLOYMENTS}/a");
    let more = json!({"spec": {"replicas": 7}});
    let changed = control.patch(&path, MERGE_PATCH, &more).await.expect(200);
    assert_eq!(changed["spec"]["replicas"], 3);
    let fewer = json!({"spec": {"replicas": 1}});
    let changed = control.patch(&path, MERGE_PATCH, &fewer).await.expect(200);
    assert_eq!(changed["spec"]["replicas"], 1);
}

#[tokio::test]
async fn what_cannot_be_applied_stops_the_write_unless_it_may_be_left_out() {
    let control = Control::start(&[]).await;
    let tolerations = "Object{spec: Object.spec{template: Object.spec.template{spec: \
        Object.spec.template.spec{tolerations: []}}}}";
    let spec = json!({"mutations": [apply(tolerations)],
        "matchConditions": [{"name": "n", "expression": "object.metadata.name == 'whole'"}]});
    install(&control, "whole", spec, json!({})).await;
    let why = control.post(DEPLOYMENTS, &deployment("whole", 1)).await;
    assert_eq!(
        why.refused(422, "Invalid"),
        "deployments.apps \"whole\" is forbidden: policy 'whole' with binding 'whole' denied \
         request: error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, \
         maps or structs: .spec.template.spec.tolerations"
    );
    let nonsense = "Object{spec: Object.spec{nonsense: 1}}";
    let spec = json!({"mutations": [apply(nonsense)],
        "matchConditions": [{"name": "n", "expression": "object.metadata.name == 'nonsense'"}]});
    install(&control, "nonsense", spec, json!({})).await;
    let why = control.post(DEPLOYMENTS, &deployment("nonsense", 1)).await;
    let why = why.refused(422, "Invalid");
    assert!(why.contains("spec.nonsense"), "{why}");
    let spec = json!({"failurePolicy": "Ignore", "mutations": [
        patch("[JSONPatch{op: 'remove', path: '/nothing'}]"), patch("[JSONPatch{op: 'remove', path: object.nothing}]"),
        patch("[JSONPatch{op: 'replace', path: '/spec/paused', value: true}]"),
        apply("Object{spec: Object.spec{replicas: 4}}")]});
    install(&control, "lenient", spec, json!({})).await;
    let made = control.post(DEPLOYMENTS, &deployment("other", 1)).await;
    assert_eq!(made.expect(201)["spec"]["replicas"], 4);
}

#[tokio::test]
async fn policies_go_by_their_names_and_once_more_where_they_want_to() {
    let control = Control::start(&[]).await;
    let add = |what: &str| {
        patch(&format!(
            "[JSONPatch{{op: 'add', path: '/spec/template/metadata/labels/' + \
             string(size(object.spec.template.metadata.labels)), value: '{what}'}}]"
        ))
    };
    let labelled = json!({"reinvocationPolicy": "IfNeeded", "mutations": [add("first")]});
    install(&control, "a-first", labelled, json!({})).await;
    let second = json!({"mutations": [add("second")]});
    install(&control, "b-second", second, json!({})).await;
    let made = control.post(DEPLOYMENTS, &deployment("a", 1)).await;
    let labels = made.expect(201)["spec"]["template"]["metadata"]["labels"].clone();
    let have = labels.as_object().unwrap().len();
    let nth = |back: usize| labels[(have - back).to_string()].clone();
    assert_eq!(
        [nth(3), nth(2), nth(1)],
        ["first", "second", "first"],
        "{labels}"
    );
    let name = json!({"mutations": [
        patch("[JSONPatch{op: 'replace', path: '/metadata/name', value: 'another'}]")]});
    install(&control, "c-name", name, json!({})).await;
    let made = control.post(DEPLOYMENTS, &deployment("b", 1)).await;
    assert_eq!(made.expect(201)["metadata"]["name"], "b");
}
