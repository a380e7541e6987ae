//! `pods/ephemeralcontainers`: containers that join a pod which is there already, to look into it.

use serde_json::Value;

use crate::registry::kind::{FieldError, OwnPart};
use crate::registry::pod_spec::{validate_ephemeral_additions, validate_spec};
use crate::registry::rules::{At, Faults};
use crate::registry::value::{child, present, put};

/// Where a pod has them.
const LIST: &str = "ephemeralContainers";
/// The annotation of the API's image of a pod that a node has by itself.
pub(super) const MIRROR: &str = "/metadata/annotations/kubernetes.io~1config.mirror";

/// The subresource.
pub(super) const PART: OwnPart = OwnPart {
    name: "ephemeralcontainers",
    select: |spec| {
        if let Some(members) = spec.as_object_mut() {
            members.retain(|field, _| field == LIST);
        }
    },
    merge,
    validate,
};

fn merge(old: &Value, written: &Value) -> Value {
    let mut new = old.clone();
    let list = written.pointer(&format!("/spec/{LIST}")).cloned();
    if let Some(spec) = child(&mut new, "spec") {
        put(spec, LIST, list);
    }
    new
}

fn validate(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut faults = Faults::default();
    if present(old, MIRROR) {
        let nowhere = At::root(&Value::Null);
        faults.forbidden(&nowhere, "static pods do not support ephemeral containers");
        return faults.into_list();
    }
    let spec = At::root(new).get("spec");
    validate_spec(&spec, &mut faults);
    let before = At::root(old).get("spec").get(LIST);
    validate_ephemeral_additions(&spec.get(LIST), &before, &mut faults);
    faults.into_list()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::kind::FieldErrorReason;

    fn pod(ephemeral: Value) -> Value {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "web", "image": "w"}],
            "initContainers": [{"name": "first", "image": "w"}],
            "volumes": [{"name": "data", "emptyDir": {}}],
            "ephemeralContainers": ephemeral}});
        crate::registry::pod_spec::pod_defaults(&mut pod);
        pod
    }

    #[track_caller]
    fn case(old: Value, new: Value, expected: &[&str]) -> Vec<FieldError> {
        let old = pod(old);
        let new = merge(&old, &pod(new));
        let faults = validate(&new, &old);
        let mut paths = Faults::paths(&faults);
        paths.sort_unstable();
        assert_eq!(paths, expected, "{faults:#?}");
        faults
    }

    #[test]
    fn containers_can_be_added() {
        let one = json!({"name": "look", "image": "busybox", "stdin": true, "tty": true,
            "targetContainerName": "web", "env": [{"name": "A", "value": "b"}],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]});
        let other = json!({"name": "listen", "image": "tcpdump", "targetContainerName": "first"});
        case(json!([]), json!([one]), &[]);
        case(json!([one]), json!([other, one]), &[]);
    }

    #[test]
    fn those_that_are_there_stay_as_they_are() {
        let one = json!({"name": "look", "image": "busybox"});
        let gone = case(json!([one]), json!([]), &["spec.ephemeralContainers"]);
        let said = r#"existing ephemeral containers "look" may not be removed"#;
        assert_eq!(gone[0].message, said);
        let changed = json!({"name": "look", "image": "alpine"});
        let faults = case(
            json!([one]),
            json!([changed]),
            &["spec.ephemeralContainers"],
        );
        let said = r#"existing ephemeral containers "look" may not be changed"#;
        assert_eq!(faults[0].message, said);
    }

    #[test]
    fn a_debugger_is_no_part_of_the_workload() {
        let probe = json!({"exec": {"command": ["true"]}});
        let wrong = json!({"name": "look", "image": "b", "ports": [{"containerPort": 1}],
            "livenessProbe": probe, "readinessProbe": probe, "startupProbe": probe,
            "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
            "resources": {"limits": {"cpu": "1"}}, "restartPolicy": "Always",
            "volumeMounts": [{"name": "data", "mountPath": "/data", "subPath": "x"}]});
        let at = |field: &str| format!("spec.ephemeralContainers[0].{field}");
        let paths = [
            "lifecycle",
            "livenessProbe",
            "ports",
            "readinessProbe",
            "resources",
            "restartPolicy",
            "startupProbe",
            "volumeMounts[0].subPath",
        ]
        .map(at);
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let faults = case(json!([]), json!([wrong]), &paths);
        let said = "cannot be set for an Ephemeral Container";
        assert!(faults.iter().all(|fault| fault.message == said));
    }

    #[test]
    fn names_are_unique_and_targets_are_there() {
        let twice = json!([{"name": "web", "image": "b"}]);
        let faults = case(json!([]), twice, &["spec.ephemeralContainers[0].name"]);
        assert_eq!(faults[0].reason, FieldErrorReason::Duplicate);
        let other = json!([{"name": "a", "image": "b"},
            {"name": "b", "image": "b", "targetContainerName": "a"}]);
        let path = "spec.ephemeralContainers[1].targetContainerName";
        let faults = case(json!([]), other, &[path]);
        assert_eq!(faults[0].reason, FieldErrorReason::NotFound);
    }

    #[test]
    fn nothing_else_is_written_and_a_static_pod_takes_none() {
        let old = pod(json!([]));
        let mut written = pod(json!([{"name": "look", "image": "b"}]));
        written["spec"]["containers"][0]["image"] = "other".into();
        written["metadata"]["labels"] = json!({"a": "b"});
        let new = merge(&old, &written);
        assert_eq!(new["spec"]["containers"], old["spec"]["containers"]);
        assert_eq!(new["metadata"], old["metadata"]);
        let mut mirror = old;
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "hash"});
        let said = validate(&merge(&mirror, &written), &mirror);
        assert_eq!(
            said[0].message,
            "static pods do not support ephemeral containers"
        );
    }
}
