//! The difference of two JSON values as a JSON merge patch (RFC 7386).
//!
//! Controllers write differences, never whole objects: fields that a cache dropped or that this
//! version does not know survive every write, and an unchanged object is no write at all.

use serde_json::{Map, Value};

/// The merge patch that turns `old` into `new`; `None` when they are equal.
pub fn diff(old: &Value, new: &Value) -> Option<Value> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let patch = diff_objects(old, new);
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        _ => (old != new).then(|| new.clone()),
    }
}

fn diff_objects(old: &Map<String, Value>, new: &Map<String, Value>) -> Map<String, Value> {
    let removed = old
        .keys()
        .filter(|key| !new.contains_key(*key))
        .map(|key| (key.clone(), Value::Null));
    let changed = new.iter().filter_map(|(key, value)| {
        let patch = match old.get(key) {
            Some(before) => diff(before, value)?,
            None => value.clone(),
        };
        Some((key.clone(), patch))
    });
    removed.chain(changed).collect()
}

#[cfg(test)]
mod tests {
    use super::diff;
    use serde_json::json;

    #[test]
    fn equal_values_need_no_write() {
        assert_eq!(
            diff(
                &json!({"a": [1], "b": {"c": 1}}),
                &json!({"a": [1], "b": {"c": 1}})
            ),
            None
        );
    }

    #[test]
    fn a_patch_names_only_what_changed() {
        let old = json!({"spec": {"replicas": 1, "paused": true}, "status": {"replicas": 1, "readyReplicas": 1}});
        let new = json!({"spec": {"replicas": 2, "paused": true}, "status": {"replicas": 1}});
        let want = json!({"spec": {"replicas": 2}, "status": {"readyReplicas": null}});
        assert_eq!(diff(&old, &new), Some(want));
    }

    #[test]
    fn lists_are_replaced_whole_and_new_objects_are_sent_whole() {
        let patch = diff(&json!({"l": [1, 2]}), &json!({"l": [2], "o": {"x": 1}}));
        assert_eq!(patch, Some(json!({"l": [2], "o": {"x": 1}})));
    }
}
