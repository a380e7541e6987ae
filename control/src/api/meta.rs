//! ObjectMeta: what the server fills in, what it keeps, and what it accepts.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::value::{self, items, metadata, text};
use crate::registry::kind::{FieldError, FieldErrorReason, Kind, NameForm};
use crate::registry::rules::{
    LABEL, QUALIFIED, SEGMENT, SERVICE, SUBDOMAIN, is_dns_label, is_dns_subdomain, is_label_value,
    is_path_segment, is_qualified_name, is_service_label,
};
use crate::registry::value::at;

/// Bytes of all annotations together, as in Kubernetes.
const MAX_ANNOTATIONS: usize = 256 << 10;
/// Characters that generateName may contribute to a name.
const MAX_GENERATED_PREFIX: usize = 58;

/// Fills in what the server decides at creation: uid, time, name from generateName.
pub(super) fn stamp(object: &mut Value, namespace: Option<&str>, now: Timestamp) {
    let metadata = metadata(object);
    for key in [
        "managedFields",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "resourceVersion",
        "generation",
    ] {
        metadata.remove(key);
    }
    match namespace {
        Some(namespace) => metadata.insert("namespace".into(), namespace.into()),
        None => metadata.remove("namespace"),
    };
    metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".into(), value::timestamp(now).into());
    drop_empty(metadata);
    generate_name(metadata);
}

fn generate_name(metadata: &mut Map<String, Value>) {
    let named = metadata
        .get("name")
        .and_then(Value::as_str)
        .is_some_and(|name| !name.is_empty());
    let prefix = metadata
        .get("generateName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !named && !prefix.is_empty() {
        let prefix: String = prefix.chars().take(MAX_GENERATED_PREFIX).collect();
        metadata.insert("name".into(), format!("{prefix}{}", random_suffix()).into());
    }
}

/// Five characters that spell no word.
fn random_suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let random = uuid::Uuid::new_v4();
    let pick = |byte: &u8| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]);
    random.as_bytes()[..5].iter().map(pick).collect()
}

/// Carries over from `old` what a client may not change.
pub(super) fn keep(new: &mut Value, old: &Value) {
    let kept = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
        "namespace",
        "name",
    ];
    let old = old.get("metadata").cloned().unwrap_or_default();
    let metadata = metadata(new);
    metadata.remove("managedFields");
    metadata.remove("selfLink");
    for key in kept {
        match old.get(key) {
            Some(value) => metadata.insert(key.to_owned(), value.clone()),
            None => metadata.remove(key),
        };
    }
    if let Some(version) = old.get("resourceVersion") {
        metadata.insert("resourceVersion".into(), version.clone());
    }
    drop_empty(metadata);
}

/// Nulls and empty collections mean the same as absence.
fn drop_empty(metadata: &mut Map<String, Value>) {
    for key in ["labels", "annotations"] {
        if let Some(map) = metadata.get_mut(key).and_then(Value::as_object_mut) {
            map.retain(|_, value| !value.is_null());
        }
    }
    metadata.retain(|_, value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    });
}

/// Adds or removes a finalizer.
pub(super) fn set_finalizer(object: &mut Value, finalizer: &str, wanted: bool) {
    let mut finalizers = value::finalizers(object);
    finalizers.retain(|have| *have != finalizer);
    if wanted {
        finalizers.push(finalizer);
    }
    let finalizers = json!(finalizers);
    metadata(object).insert("finalizers".into(), finalizers);
    drop_empty(metadata(object));
}

/// Marks the object as deleted from `now` on, with `grace` seconds to go.
pub(super) fn mark_deleted(object: &mut Value, now: Timestamp, grace: i64) {
    let end = now + jiff::SignedDuration::from_secs(grace);
    let metadata = metadata(object);
    metadata.insert("deletionTimestamp".into(), value::timestamp(end).into());
    metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
        metadata.insert("generation".into(), (generation + 1).into());
    }
}

/// Every fault of the metadata.
pub(super) fn validate(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut faults = Vec::new();
    name(kind, object, &mut faults);
    labels(object, &mut faults);
    annotations(object, &mut faults);
    finalizers(object, &mut faults);
    owners(object, &mut faults);
    faults
}

fn fault(field: impl Into<String>, reason: FieldErrorReason, message: &str) -> FieldError {
    FieldError {
        field: field.into(),
        reason,
        message: message.to_owned(),
    }
}

fn name(kind: &Kind, object: &Value, faults: &mut Vec<FieldError>) {
    let name = value::name(object);
    let (good, rule) = match kind.names {
        NameForm::Label => (is_dns_label(name), LABEL),
        NameForm::ServiceLabel => (is_service_label(name), SERVICE),
        NameForm::Subdomain => (is_dns_subdomain(name), SUBDOMAIN),
        NameForm::PathSegment => (is_path_segment(name), SEGMENT),
    };
    if name.is_empty() {
        let message = "name or generateName is required";
        faults.push(fault("metadata.name", FieldErrorReason::Required, message));
    } else if !good {
        let message = format!("{name:?}: {rule}");
        faults.push(fault("metadata.name", FieldErrorReason::Invalid, &message));
    }
}

fn labels(object: &Value, faults: &mut Vec<FieldError>) {
    for (key, value) in members(object, "/metadata/labels") {
        if !is_qualified_name(key) {
            let message = format!("{key:?}: {QUALIFIED}");
            faults.push(fault(
                "metadata.labels",
                FieldErrorReason::Invalid,
                &message,
            ));
        }
        let good = value.as_str().is_some_and(is_label_value);
        if !good {
            let message = format!(
                "{value}: a valid label must be an empty string or consist of \
                alphanumeric characters, '-', '_' or '.', start and end with an alphanumeric \
                character, and have at most 63 characters"
            );
            faults.push(fault(
                "metadata.labels",
                FieldErrorReason::Invalid,
                &message,
            ));
        }
    }
}

fn annotations(object: &Value, faults: &mut Vec<FieldError>) {
    let mut size = 0;
    for (key, value) in members(object, "/metadata/annotations") {
        size += key.len() + value.as_str().map_or(0, str::len);
        if !is_qualified_name(&key.to_ascii_lowercase()) {
            let message = format!("{key:?}: {QUALIFIED}");
            faults.push(fault(
                "metadata.annotations",
                FieldErrorReason::Invalid,
                &message,
            ));
        }
        if !value.is_string() {
            let message = format!("{value}: must be a string");
            faults.push(fault(
                "metadata.annotations",
                FieldErrorReason::Invalid,
                &message,
            ));
        }
    }
    if size > MAX_ANNOTATIONS {
        let message = format!("must have at most {MAX_ANNOTATIONS} bytes");
        faults.push(fault(
            "metadata.annotations",
            FieldErrorReason::Invalid,
            &message,
        ));
    }
}

fn finalizers(object: &Value, faults: &mut Vec<FieldError>) {
    for finalizer in items(object, "/metadata/finalizers") {
        if !finalizer.as_str().is_some_and(is_qualified_name) {
            let message = format!("{finalizer}: {QUALIFIED}");
            faults.push(fault(
                "metadata.finalizers",
                FieldErrorReason::Invalid,
                &message,
            ));
        }
    }
}

fn owners(object: &Value, faults: &mut Vec<FieldError>) {
    let owners = items(object, "/metadata/ownerReferences");
    for (index, owner) in owners.iter().enumerate() {
        for key in ["apiVersion", "kind", "name", "uid"] {
            if text(owner, &format!("/{key}")).is_empty() {
                let field = format!("metadata.ownerReferences[{index}].{key}");
                faults.push(fault(
                    field,
                    FieldErrorReason::Required,
                    "must not be empty",
                ));
            }
        }
    }
    let controllers = owners
        .iter()
        .filter(|owner| owner["controller"] == true)
        .count();
    if controllers > 1 {
        let message = "only one reference can have controller set to true";
        faults.push(fault(
            "metadata.ownerReferences",
            FieldErrorReason::Invalid,
            message,
        ));
    }
}

fn members<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    at(object, pointer)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creation_fills_in_and_strips() {
        let mut object = json!({"metadata": {"generateName": "web-", "resourceVersion": "5",
            "managedFields": [{}], "uid": "mine", "labels": {}}});
        stamp(&mut object, Some("shop"), Timestamp::UNIX_EPOCH);
        assert!(value::name(&object).starts_with("web-"));
        assert_eq!(value::name(&object).len(), 9);
        assert_eq!(value::namespace(&object), "shop");
        assert_ne!(text(&object, "/metadata/uid"), "mine");
        assert_eq!(
            text(&object, "/metadata/creationTimestamp"),
            "1970-01-01T00:00:00Z"
        );
        for key in ["managedFields", "resourceVersion", "labels"] {
            assert!(object["metadata"].get(key).is_none(), "{key}");
        }
    }

    #[test]
    fn a_client_cannot_forge_identity_or_undo_deletion() {
        let old = json!({"metadata": {"name": "a", "uid": "1", "resourceVersion": "7",
            "deletionTimestamp": "t", "generation": 3}});
        let mut new = json!({"metadata": {"name": "b", "uid": "2", "generation": 9,
            "labels": {"x": "y"}}});
        keep(&mut new, &old);
        assert_eq!(
            new,
            json!({"metadata": {"name": "a", "uid": "1", "resourceVersion": "7",
            "deletionTimestamp": "t", "generation": 3, "labels": {"x": "y"}}})
        );
    }

    #[test]
    fn finalizers_come_and_go() {
        let mut object = json!({"metadata": {"name": "a"}});
        set_finalizer(&mut object, "orphan", true);
        set_finalizer(&mut object, "orphan", true);
        assert_eq!(value::finalizers(&object), ["orphan"]);
        set_finalizer(&mut object, "orphan", false);
        assert_eq!(object, json!({"metadata": {"name": "a"}}));
    }
}
