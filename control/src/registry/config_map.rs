//! ConfigMap: text and bytes by name.

use serde_json::Value;

use super::age::age;
use super::column::{AGE, NAME, integer, name};
use super::kind::Kind;
use super::value::members;

/// ConfigMap of v1.
pub(super) static KIND: Kind = Kind {
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    columns: &[NAME, integer("Data"), AGE],
    cells,
    ..Kind::PLAIN
};

fn cells(object: &Value, now: i64) -> Vec<Value> {
    let entries = members(object, "/data").count() + members(object, "/binaryData").count();
    vec![name(object), entries.into(), age(object, now)]
}
