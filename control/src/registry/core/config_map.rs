//! ConfigMap: text and bytes by name.

use serde_json::Value;

use super::data_keys;
use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, integer, name};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::rules::{At, Faults};
use crate::registry::value::members;

/// ConfigMap of v1.
pub(in crate::registry) static KIND: Kind = Kind {
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    columns: &[NAME, integer("Data"), AGE],
    cells,
    validate,
    ..Kind::PLAIN
};

fn cells(object: &Value, now: i64) -> Vec<Value> {
    let entries = members(object, "/data").count() + members(object, "/binaryData").count();
    vec![name(object), entries.into(), age(object, now)]
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let root = At::root(new);
    let (data, binary) = (root.get("data"), root.get("binaryData"));
    data_keys::keys(&data, &mut faults);
    data_keys::keys(&binary, &mut faults);
    for (key, at) in binary.entries() {
        if data.get(key).is_set() {
            faults.invalid_value(&at, &key.into(), "duplicate of key present in data");
        }
    }
    data_keys::size(&[data], &[binary], &mut faults);
    if let Some(old) = old {
        data_keys::immutability(new, old, &["data", "binaryData"], &mut faults);
    }
    faults.into_list()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_and_immutability_are_checked() {
        let map = json!({"data": {"a b": "", "ok": ""}, "binaryData": {"ok": "", "..x": ""}});
        let faults = validate(&map, None);
        assert_eq!(
            Faults::paths(&faults),
            ["data[a b]", "binaryData[..x]", "binaryData[ok]"]
        );
        let old = json!({"immutable": true, "data": {"a": "1"}});
        assert_eq!(validate(&old, Some(&old)), []);
        let faults = validate(&json!({"data": {"a": "2"}}), Some(&old));
        assert_eq!(Faults::paths(&faults), ["immutable", "data"]);
    }

    #[test]
    fn a_megabyte_is_enough() {
        let map = json!({"data": {"a": "x".repeat((1 << 20) + 1)}});
        assert_eq!(Faults::paths(&validate(&map, None)), ["data"]);
    }
}
