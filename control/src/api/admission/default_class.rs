//! DefaultStorageClass and DefaultIngressClass: the class of what names none. Of several defaults the
//! youngest counts, and of several of the same age the first by name.

use serde_json::Value;

use crate::api::server::Server;
use crate::api::value::{name, object, text};

/// Where a class calls itself the default.
const STORAGE_DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
const INGRESS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
/// The annotations of before there was a field.
const STORAGE_OLD: &str = "volume.beta.kubernetes.io/storage-class";
const INGRESS_OLD: &str = "kubernetes.io/ingress.class";

/// Gives a new claim the default StorageClass. An empty name asks for none.
pub(super) fn complete_claim(server: &Server, claim: &mut Value) {
    if names_none(claim, "storageClassName", STORAGE_OLD) {
        let class = find(server, "storage.k8s.io", "storageclasses", STORAGE_DEFAULT);
        set(claim, "storageClassName", class);
    }
}

/// Gives a new Ingress the default IngressClass.
pub(super) fn complete_ingress(server: &Server, ingress: &mut Value) {
    if names_none(ingress, "ingressClassName", INGRESS_OLD) {
        let group = "networking.k8s.io";
        let class = find(server, group, "ingressclasses", INGRESS_DEFAULT);
        set(ingress, "ingressClassName", class);
    }
}

fn names_none(value: &Value, field: &str, annotation: &str) -> bool {
    let annotations = value.pointer("/metadata/annotations");
    let by_note = annotations.is_some_and(|notes| notes.get(annotation).is_some());
    let by_field = value.pointer(&format!("/spec/{field}"));
    !by_note && by_field.is_none_or(Value::is_null)
}

fn set(value: &mut Value, field: &str, class: Option<String>) {
    if let Some(class) = class {
        object(value, "spec").insert(field.into(), class.into());
    }
}

fn find(server: &Server, group: &str, plural: &str, annotation: &str) -> Option<String> {
    let classes = server.kinds.of(group, plural)?;
    let all = server.store.snapshot(classes.resource).objects;
    choose(all.iter().map(|(_, class)| class.value()), annotation)
}

fn choose(classes: impl Iterator<Item = Value>, annotation: &str) -> Option<String> {
    let is_default = |class: &Value| {
        let notes = class.pointer("/metadata/annotations");
        notes.and_then(|notes| notes.get(annotation)) == Some(&"true".into())
    };
    let age = |class: &Value| text(class, "/metadata/creationTimestamp").to_owned();
    let order = |one: &Value, other: &Value| {
        let younger = age(other).cmp(&age(one));
        younger.then_with(|| name(one).cmp(name(other)))
    };
    let chosen = classes.filter(is_default).min_by(order)?;
    Some(name(&chosen).to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_youngest_default_counts_and_an_empty_name_is_a_name() {
        let class = |name: &str, time: &str, default: &str| {
            json!({"metadata": {"name": name, "creationTimestamp": time,
                "annotations": {STORAGE_DEFAULT: default}}})
        };
        let all = [
            class("old", "2024-01-01T00:00:00Z", "true"),
            class("b", "2025-01-01T00:00:00Z", "true"),
            class("a", "2025-01-01T00:00:00Z", "true"),
            class("no", "2026-01-01T00:00:00Z", "false"),
        ];
        let chosen = choose(all.into_iter(), STORAGE_DEFAULT);
        assert_eq!(chosen.as_deref(), Some("a"));
        assert_eq!(choose(std::iter::empty(), STORAGE_DEFAULT), None);
        let asks = |claim: Value| names_none(&claim, "storageClassName", STORAGE_OLD);
        assert!(asks(json!({"spec": {}})));
        assert!(!asks(json!({"spec": {"storageClassName": ""}})));
        let noted = json!({"metadata": {"annotations": {STORAGE_OLD: "x"}}, "spec": {}});
        assert!(!asks(noted));
    }
}
