//! Validation of Pods. Of a stored pod's spec hardly anything may change: a pod is replaced, not
//! edited.

use serde_json::{Map, Value};

use crate::registry::kind::FieldError;
use crate::registry::pod_spec::{pod_defaults, validate_spec};
use crate::registry::rules::{At, Faults, immutable, range};
use crate::registry::value::{int, list, put, text};

/// What may change in the spec of a stored pod.
const MUTABLE: &str = "pod updates may not change fields other than \
    `spec.containers[*].image`, `spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, \
    `spec.tolerations` (only additions to existing tolerations)";

/// Every fault of a new or updated Pod.
pub(super) fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    match old {
        None => {
            validate_spec(&spec, &mut faults);
            let ephemeral = spec.get("ephemeralContainers");
            if !ephemeral.is_empty() {
                faults.forbidden(&ephemeral, "cannot be set on create");
            }
        }
        Some(old) if new.get("spec") == old.get("spec") => {}
        Some(old) => {
            validate_spec(&spec, &mut faults);
            // A pod may be older than a default.
            let mut old = old.clone();
            pod_defaults(&mut old);
            update(&spec, &At::root(&old).get("spec"), &mut faults);
        }
    }
    faults.into_list()
}

fn update(new: &At<'_>, old: &At<'_>, faults: &mut Faults) {
    deadline(
        &new.get("activeDeadlineSeconds"),
        &old.get("activeDeadlineSeconds"),
        faults,
    );
    tolerations(&new.get("tolerations"), &old.get("tolerations"), faults);
    let same_containers = ["containers", "initContainers"].map(|containers| {
        let (new, old) = (new.get(containers), old.get(containers));
        if new.len() != old.len() {
            faults.forbidden(&new, "pod updates may not add or remove containers");
        }
        new.len() == old.len()
    });
    let comparable = same_containers.iter().all(|same| *same);
    if comparable && frozen(new.value(), old.value()) != frozen(old.value(), old.value()) {
        faults.forbidden(new, MUTABLE);
    }
    if !old.get("nodeName").is_empty() {
        immutable(&new.get("nodeName"), &old.get("nodeName"), faults);
    }
}

/// A deadline may be set and come closer, never move away.
fn deadline(new: &At<'_>, old: &At<'_>, faults: &mut Faults) {
    let Some(old) = old.int() else { return };
    match new.int() {
        None => faults.invalid(new, "must not update from a positive integer to nil value"),
        Some(_) => range(new, 0..=old, faults),
    }
}

/// Tolerations may be added.
fn tolerations(new: &At<'_>, old: &At<'_>, faults: &mut Faults) {
    let without_seconds = |toleration: &Value| {
        let mut toleration = toleration.clone();
        put(&mut toleration, "tolerationSeconds", None);
        toleration
    };
    let kept: Vec<_> = new
        .each()
        .map(|toleration| without_seconds(toleration.value()))
        .collect();
    if !old
        .each()
        .all(|toleration| kept.contains(&without_seconds(toleration.value())))
    {
        faults.forbidden(
            new,
            "existing toleration can not be modified except its tolerationSeconds",
        );
    }
}

/// The spec with what may change taken from the stored pod, without empty members.
fn frozen(spec: &Value, old: &Value) -> Value {
    let mut frozen = spec.clone();
    for field in ["activeDeadlineSeconds", "tolerations"] {
        put(&mut frozen, field, old.get(field).cloned());
    }
    // A pod without a node may get one: that is what binding is.
    if text(old, "/nodeName").is_empty() {
        put(&mut frozen, "nodeName", None);
    }
    if int(spec, "/terminationGracePeriodSeconds") == Some(1) {
        let grace = old.get("terminationGracePeriodSeconds").cloned();
        let negative = int(old, "/terminationGracePeriodSeconds").is_some_and(i64::is_negative);
        put(
            &mut frozen,
            "terminationGracePeriodSeconds",
            grace.filter(|_| negative).or(Some(1.into())),
        );
    }
    for containers in ["containers", "initContainers"] {
        let old = list(old, &format!("/{containers}"));
        let images = old.iter().map(|container| container.get("image").cloned());
        let new = frozen
            .get_mut(containers)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten();
        new.zip(images)
            .for_each(|(container, image)| put(container, "image", image));
    }
    without_empty(frozen)
}

/// Null, `[]` and `{}` mean the same as nothing.
pub(super) fn without_empty(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members
                .into_iter()
                .map(|(key, value)| (key, without_empty(value)));
            Value::Object(
                members
                    .filter(|(_, value)| !is_empty(value))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(elements) => Value::Array(elements.into_iter().map(without_empty).collect()),
        scalar => scalar,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Value {
        let mut pod = json!({"spec": {"containers": [{"name": "a", "image": "1"}],
            "tolerations": [{"key": "a", "operator": "Exists"}]}});
        crate::registry::pod_spec::pod_defaults(&mut pod);
        pod
    }

    #[track_caller]
    fn case(change: impl FnOnce(&mut Value), expected: &[&str]) {
        let old = pod();
        let mut new = old.clone();
        change(&mut new["spec"]);
        let faults = validate(&new, Some(&old));
        assert_eq!(Faults::paths(&faults), expected, "{faults:#?}");
    }

    #[test]
    fn what_may_change_may_change() {
        case(|_| {}, &[]);
        case(|spec| spec["containers"][0]["image"] = json!("2"), &[]);
        case(|spec| spec["activeDeadlineSeconds"] = json!(5), &[]);
        case(|spec| spec["nodeName"] = json!("node1"), &[]);
        case(|spec| spec["initContainers"] = json!([]), &[]);
        case(
            |spec| {
                spec["tolerations"] = json!([{"key": "a", "operator": "Exists"},
                {"key": "b", "operator": "Exists"}])
            },
            &[],
        );
    }

    #[test]
    fn nothing_else_may_change() {
        case(
            |spec| spec["containers"][0]["args"] = json!(["x"]),
            &["spec"],
        );
        case(|spec| spec["restartPolicy"] = json!("Never"), &["spec"]);
        case(
            |spec| spec["tolerations"] = json!([]),
            &["spec.tolerations"],
        );
        case(
            |spec| {
                spec["containers"] =
                    json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}])
            },
            &["spec.containers"],
        );
        case(
            |spec| spec["ephemeralContainers"] = json!([{"name": "look", "image": "b"}]),
            &["spec"],
        );
    }

    #[test]
    fn a_pod_that_is_older_than_a_default_can_be_written() {
        let mut old = pod();
        let container = &mut old["spec"]["containers"][0];
        container["resources"] = json!({"requests": {"cpu": "1"}});
        let mut new = old.clone();
        crate::registry::pod_spec::pod_defaults(&mut new);
        assert_ne!(new, old);
        assert_eq!(validate(&new, Some(&old)), []);
        new["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "2".into();
        assert_eq!(Faults::paths(&validate(&new, Some(&old))), ["spec"]);
    }

    #[test]
    fn a_pod_is_not_born_with_ephemeral_containers() {
        let mut new = pod();
        new["spec"]["ephemeralContainers"] = json!([{"name": "look", "image": "b"}]);
        let faults = validate(&new, None);
        assert_eq!(Faults::paths(&faults), ["spec.ephemeralContainers"]);
    }

    #[test]
    fn a_bound_pod_stays_where_it_is() {
        let mut old = pod();
        old["spec"]["nodeName"] = json!("node1");
        let mut new = old.clone();
        new["spec"]["nodeName"] = json!("node2");
        let faults = validate(&new, Some(&old));
        assert_eq!(Faults::paths(&faults), ["spec", "spec.nodeName"]);
    }

    #[test]
    fn a_deadline_only_comes_closer() {
        let mut old = pod();
        old["spec"]["activeDeadlineSeconds"] = json!(10);
        let mut new = old.clone();
        new["spec"]["activeDeadlineSeconds"] = json!(20);
        assert_eq!(
            Faults::paths(&validate(&new, Some(&old))),
            ["spec.activeDeadlineSeconds"]
        );
    }
}
