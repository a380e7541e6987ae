//! What a client may not set: the status of a kind with a status subresource, and the generation.

use serde_json::Value;

use super::value::put;

/// For kinds in which a client may set everything.
pub(crate) fn nothing(_new: &mut Value, _old: Option<&Value>) {}

/// Keeps the stored status, or drops it on creation.
pub(crate) fn status(new: &mut Value, old: Option<&Value>) {
    put(
        new,
        "status",
        old.and_then(|old| old.get("status")).cloned(),
    );
}

/// Sets the generation to 1 on creation and raises it when anything but metadata and status changed.
pub(crate) fn generation(new: &mut Value, old: Option<&Value>) {
    let stored = |old: &Value| old.pointer("/metadata/generation").and_then(Value::as_i64);
    let generation = match old {
        None => 1,
        Some(old) => stored(old).unwrap_or(1) + i64::from(!same_content(new, old)),
    };
    if let Some(metadata) = new.get_mut("metadata") {
        put(metadata, "generation", Some(generation.into()));
    }
}

/// Both: what most kinds with a spec and a status need.
pub(crate) fn status_and_generation(new: &mut Value, old: Option<&Value>) {
    status(new, old);
    generation(new, old);
}

fn same_content(new: &Value, old: &Value) -> bool {
    let content = |object: &'_ Value| -> Vec<(String, Value)> {
        let members = object.as_object().into_iter().flatten();
        let content = members
            .filter(|(key, value)| {
                !matches!(key.as_str(), "metadata" | "status" | "apiVersion" | "kind")
                    && !value.is_null()
            })
            .map(|(key, value)| (key.clone(), value.clone()));
        let mut content: Vec<_> = content.collect();
        content.sort_by(|a, b| a.0.cmp(&b.0));
        content
    };
    content(new) == content(old)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_client_cannot_write_status() {
        let mut created = json!({"metadata": {}, "spec": {}, "status": {"replicas": 9}});
        status_and_generation(&mut created, None);
        assert_eq!(created, json!({"metadata": {"generation": 1}, "spec": {}}));

        let old = json!({"metadata": {"generation": 3}, "spec": {}, "status": {"replicas": 2}});
        let mut updated = json!({"metadata": {}, "spec": {}, "status": {"replicas": 9}});
        status_and_generation(&mut updated, Some(&old));
        assert_eq!(updated, old);
    }

    #[test]
    fn only_a_changed_spec_raises_the_generation() {
        let old = json!({"metadata": {"generation": 3}, "spec": {"replicas": 1}});
        let mut labelled = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 1}});
        generation(&mut labelled, Some(&old));
        assert_eq!(labelled["metadata"]["generation"], 3);
        let mut scaled = json!({"metadata": {"generation": 99}, "spec": {"replicas": 2}});
        generation(&mut scaled, Some(&old));
        assert_eq!(scaled["metadata"]["generation"], 4);
    }
}
