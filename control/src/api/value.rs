//! Small readers and writers of JSON objects.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::registry::value::at;

/// The text under a JSON pointer, empty where there is none.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    at(value, pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The number under a JSON pointer.
pub(super) fn integer(value: &Value, pointer: &str) -> Option<i64> {
    at(value, pointer).and_then(Value::as_i64)
}

/// The elements of the array under a JSON pointer.
pub(super) fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    at(value, pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The object under `key`, made where it is missing or something else.
pub(super) fn object<'a>(value: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !value.get(key).is_some_and(Value::is_object) {
        value[key] = Value::Object(Map::new());
    }
    value[key].as_object_mut().expect("made above")
}

/// `metadata`, made where it is missing.
pub(super) fn metadata(value: &mut Value) -> &mut Map<String, Value> {
    object(value, "metadata")
}

/// `metadata.name`.
pub(super) fn name(value: &Value) -> &str {
    text(value, "/metadata/name")
}

/// What a refusal calls a new object: by the prefix that its writer gave, where the server made up
/// the name, so that the same refusal reads the same each time.
pub(super) fn called(value: &Value) -> &str {
    match text(value, "/metadata/generateName") {
        "" => name(value),
        prefix => prefix,
    }
}

/// `metadata.namespace`.
pub(super) fn namespace(value: &Value) -> &str {
    text(value, "/metadata/namespace")
}

/// Finalizers of the object.
pub(super) fn finalizers(value: &Value) -> Vec<&str> {
    items(value, "/metadata/finalizers")
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

/// Whether the object is on its way out.
pub(super) fn is_deleting(value: &Value) -> bool {
    at(value, "/metadata/deletionTimestamp").is_some_and(Value::is_string)
}

/// A point in time as the API writes it: RFC 3339, whole seconds, UTC.
pub(super) fn timestamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `namespace/name`, or `name` for what lives in no namespace.
pub(super) fn key(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) if !namespace.is_empty() => format!("{namespace}/{name}"),
        _ => name.to_owned(),
    }
}
