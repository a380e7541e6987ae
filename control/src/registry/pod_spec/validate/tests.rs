use serde_json::{Value, json};

use super::*;
use crate::registry::kind::FieldErrorReason;
use crate::registry::pod_spec::pod_defaults;

fn faults_of(pod_spec: Value) -> Vec<crate::registry::kind::FieldError> {
    let mut pod = json!({ "spec": pod_spec });
    pod_defaults(&mut pod);
    let mut faults = Faults::default();
    spec(&At::root(&pod).get("spec"), &mut faults);
    faults.into_list()
}

#[track_caller]
fn case(pod_spec: Value, expected: &[&str]) {
    let faults = faults_of(pod_spec);
    let mut paths = Faults::paths(&faults);
    paths.sort_unstable();
    assert_eq!(paths, expected, "{faults:#?}");
}

/// A spec with one good container, completed by `more`.
fn with_container(more: Value) -> Value {
    let mut container = json!({"name": "a", "image": "b"});
    container
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!({"containers": [container]})
}

#[test]
fn a_plain_pod_is_valid() {
    case(with_container(json!({})), &[]);
}

#[test]
fn containers_are_required_with_name_and_image() {
    case(json!({}), &["spec.containers"]);
    case(
        json!({"containers": [{"name": "A_", "image": " x"}, {}]}),
        &[
            "spec.containers[0].image",
            "spec.containers[0].name",
            "spec.containers[1].image",
            "spec.containers[1].name",
        ],
    );
}

#[test]
fn names_repeat_nowhere() {
    let faults = faults_of(json!({
        "containers": [{"name": "a", "image": "x"}],
        "initContainers": [{"name": "a", "image": "x"}],
        "volumes": [{"name": "v"}, {"name": "v"}],
    }));
    assert_eq!(
        Faults::paths(&faults),
        ["spec.volumes[1].name", "spec.containers[0].name"]
    );
    assert!(
        faults
            .iter()
            .all(|fault| fault.reason == FieldErrorReason::Duplicate)
    );
}

#[test]
fn ports_are_checked() {
    case(
        with_container(json!({"ports": [
            {"containerPort": 0, "name": "http"}, {"containerPort": 70000, "name": "http"},
            {"name": "-"}, {"containerPort": 80, "protocol": "ICMP", "hostIP": "x"}]})),
        &[
            "spec.containers[0].ports[0].containerPort",
            "spec.containers[0].ports[1].containerPort",
            "spec.containers[0].ports[1].name",
            "spec.containers[0].ports[2].containerPort",
            "spec.containers[0].ports[2].name",
            "spec.containers[0].ports[3].hostIP",
            "spec.containers[0].ports[3].protocol",
        ],
    );
}

#[test]
fn environment_has_one_source_per_variable() {
    case(
        with_container(json!({"env": [
            {"name": ""}, {"name": "A=B"}, {"name": "X", "valueFrom": {}},
            {"name": "X", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "spec.secrets"}}},
            {"name": "X", "valueFrom": {"secretKeyRef": {"name": "s"}}},
            {"name": "OK", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}}],
            "envFrom": [{}, {"configMapRef": {"name": "c"}}]})),
        &[
            "spec.containers[0].envFrom[0]",
            "spec.containers[0].env[0].name",
            "spec.containers[0].env[1].name",
            "spec.containers[0].env[2].valueFrom",
            "spec.containers[0].env[3].valueFrom",
            "spec.containers[0].env[4].valueFrom.fieldRef.fieldPath",
            "spec.containers[0].env[5].valueFrom.secretKeyRef.key",
        ],
    );
}

#[test]
fn requests_stay_below_limits() {
    case(
        with_container(json!({"resources": {"limits": {"cpu": "1", "memory": "-1"},
            "requests": {"cpu": "1500m", "memory": "-2"}}})),
        &[
            "spec.containers[0].resources.limits[memory]",
            "spec.containers[0].resources.requests[cpu]",
            "spec.containers[0].resources.requests[memory]",
        ],
    );
}

#[test]
fn mounts_name_volumes() {
    let mut pod = with_container(json!({"volumeMounts": [
        {"name": "v", "mountPath": "/a"}, {"name": "w", "mountPath": "/a"},
        {"name": "v", "subPath": "../x"}]}));
    pod["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
    case(
        pod,
        &[
            "spec.containers[0].volumeMounts[1].mountPath",
            "spec.containers[0].volumeMounts[1].name",
            "spec.containers[0].volumeMounts[2].mountPath",
            "spec.containers[0].volumeMounts[2].subPath",
        ],
    );
}

#[test]
fn volumes_have_one_complete_source() {
    let mut pod = with_container(json!({}));
    pod["volumes"] = json!([
        {"name": "a", "emptyDir": {}, "hostPath": {"path": "/"}},
        {"name": "b", "hostPath": {"type": "Tape"}},
        {"name": "c", "configMap": {"items": [{"key": "k", "path": "/abs"}]}},
        {"name": "d", "secret": {"defaultMode": 1000}},
        {"name": "e", "projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 1}}]}},
    ]);
    case(
        pod,
        &[
            "spec.volumes[0].hostPath",
            "spec.volumes[1].hostPath.path",
            "spec.volumes[1].hostPath.type",
            "spec.volumes[2].configMap.items[0].path",
            "spec.volumes[2].configMap.name",
            "spec.volumes[3].secret.defaultMode",
            "spec.volumes[3].secret.secretName",
            "spec.volumes[4].projected.sources[0].serviceAccountToken.expirationSeconds",
            "spec.volumes[4].projected.sources[0].serviceAccountToken.path",
        ],
    );
}

#[test]
fn probes_have_one_action() {
    case(
        with_container(json!({
            "livenessProbe": {"successThreshold": 2, "tcpSocket": {"port": 1}},
            "readinessProbe": {"exec": {"command": ["x"]}, "grpc": {"port": 1}},
            "startupProbe": {"periodSeconds": -1},
            "lifecycle": {"preStop": {"httpGet": {"port": "no such port name"}}}})),
        &[
            "spec.containers[0].lifecycle.preStop.httpGet.port",
            "spec.containers[0].livenessProbe.successThreshold",
            "spec.containers[0].readinessProbe.grpc",
            "spec.containers[0].startupProbe",
            "spec.containers[0].startupProbe.periodSeconds",
        ],
    );
}

#[test]
fn scheduling_fields_are_checked() {
    let mut pod = with_container(json!({}));
    pod["nodeSelector"] = json!({"a b": "c"});
    pod["tolerations"] = json!([{"operator": "Equal"}, {"operator": "Exists", "value": "x"},
        {"key": "k", "effect": "Never", "tolerationSeconds": 5}, {"operator": "Exists"}]);
    pod["restartPolicy"] = json!("Sometimes");
    pod["dnsPolicy"] = json!("None");
    case(
        pod,
        &[
            "spec.dnsConfig.nameservers",
            "spec.nodeSelector",
            "spec.restartPolicy",
            "spec.tolerations[0].operator",
            "spec.tolerations[1].operator",
            "spec.tolerations[2].effect",
            "spec.tolerations[2].effect",
        ],
    );
}

#[test]
fn templates_match_their_selector() {
    let object = json!({"selector": {"matchLabels": {"app": "web"}}, "template": {
        "metadata": {"labels": {"app": "api"}},
        "spec": {"containers": [{"name": "a", "image": "b"}], "restartPolicy": "Never"}}});
    let root = At::root(&object);
    let mut faults = Faults::default();
    template(
        &root.get("template"),
        &root.get("selector"),
        &["Always"],
        &mut faults,
    );
    let faults = faults.into_list();
    let expected = ["template.metadata.labels", "template.spec.restartPolicy"];
    assert_eq!(Faults::paths(&faults), expected);
}

#[test]
fn resize_policies_name_each_resource_once() {
    let policy =
        |resource: &str, restart: &str| json!({"resourceName": resource, "restartPolicy": restart});
    let with = |policies: Value| with_container(json!({"resizePolicy": policies}));
    let good = json!([
        policy("cpu", "NotRequired"),
        policy("memory", "RestartContainer")
    ]);
    case(with(good.clone()), &[]);
    let at =
        |index: usize, field: &str| format!("spec.containers[0].resizePolicy[{index}].{field}");
    let wrong = json!([policy("disk", "Perhaps")]);
    case(
        with(wrong),
        &[&at(0, "resourceName"), &at(0, "restartPolicy")],
    );
    let twice = json!([policy("cpu", "NotRequired"), policy("cpu", "NotRequired")]);
    case(with(twice), &[&at(1, "resourceName")]);
    let mut never = with(good);
    never["restartPolicy"] = "Never".into();
    case(never, &[&at(1, "restartPolicy")]);
}
