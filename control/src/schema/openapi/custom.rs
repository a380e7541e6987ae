//! Definitions of custom kinds, from the schemas that they were brought with.

use serde_json::{Map, Value, json};

use super::schemas::Dialect;
use crate::registry::kind::Kind;

/// A custom kind with its schema as its writer wrote it.
pub struct Described {
    /// The kind.
    pub kind: &'static Kind,
    /// Its schema, prose included.
    pub schema: Value,
}

/// What version 2 knows of a schema; the rest is left out there.
const IN_V2: &[&str] = &[
    "additionalProperties",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maximum",
    "minimum",
    "properties",
    "required",
    "type",
];

/// `com.example.v1.Kind` of `example.com`.
pub(super) fn name(kind: &Kind) -> String {
    let mut parts: Vec<_> = kind.group.split('.').rev().collect();
    parts.extend([kind.version, kind.kind]);
    parts.join(".")
}

/// The definitions of a kind and of its list.
pub(super) fn definitions(described: &Described, dialect: Dialect) -> [(String, Value); 2] {
    let (kind, place) = (described.kind, dialect.place());
    let reference = |name: &str| json!({"$ref": format!("{place}{name}")});
    let meta = |name: &str| reference(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}"));
    let gvk = |suffix: &str| {
        json!([{"group": kind.group, "version": kind.version,
            "kind": format!("{}{suffix}", kind.kind)}])
    };
    let mut schema = match dialect {
        Dialect::V2 => plain(&described.schema),
        Dialect::V3 => described.schema.clone(),
    };
    if !schema.is_object() {
        schema = json!({"type": "object"});
    }
    let own = json!({"apiVersion": {"type": "string"}, "kind": {"type": "string"},
        "metadata": meta("ObjectMeta")});
    let mut properties = schema.get("properties").and_then(Value::as_object).cloned();
    let properties = properties.get_or_insert_with(Map::new);
    properties.extend(own.as_object().cloned().unwrap_or_default());
    schema["properties"] = std::mem::take(properties).into();
    schema["x-kubernetes-group-version-kind"] = gvk("");
    let name = name(kind);
    let list = json!({"type": "object", "required": ["items"], "properties": {
        "apiVersion": {"type": "string"}, "kind": {"type": "string"},
        "metadata": meta("ListMeta"), "items": {"type": "array", "items": reference(&name)}},
        "x-kubernetes-group-version-kind": gvk("List")});
    [(format!("{name}List"), list), (name, schema)]
}

fn plain(schema: &Value) -> Value {
    let Some(members) = schema.as_object() else {
        return schema.clone();
    };
    let kept = members
        .iter()
        .filter(|(name, _)| IN_V2.contains(&name.as_str()) || name.starts_with("x-kubernetes-"));
    let kept = kept.map(|(name, value)| {
        let value = match (name.as_str(), value) {
            ("properties", Value::Object(members)) => members
                .iter()
                .map(|(name, schema)| (name.clone(), plain(schema)))
                .collect(),
            ("items" | "additionalProperties", value) => plain(value),
            (_, value) => value.clone(),
        };
        (name.clone(), value)
    });
    kept.collect()
}
