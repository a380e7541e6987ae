//! Other shapes of objects: server-side tables and bare metadata.

use serde_json::{Value, json};

use crate::registry::kind::{Column, Kind};
use crate::store::Object;

/// What each row of a table carries of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

impl IncludeObject {
    /// Reads `includeObject`; metadata is the default.
    pub(super) fn parse(value: Option<&str>) -> Self {
        match value {
            Some("None") => Self::None,
            Some("Object") => Self::Object,
            _ => Self::Metadata,
        }
    }
}

/// A `meta.k8s.io/v1 Table`; `now` in seconds since the epoch.
pub(super) fn table(
    kind: &Kind,
    list_metadata: Value,
    objects: impl Iterator<Item = Value>,
    include: IncludeObject,
    now: i64,
) -> Value {
    let rows: Vec<Value> = objects
        .map(|object| row(kind, object, include, now))
        .collect();
    let columns: Vec<Value> = kind.columns.iter().map(column).collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_metadata,
        "columnDefinitions": columns, "rows": rows})
}

fn column(column: &Column) -> Value {
    json!({"name": column.name, "type": column.r#type, "format": column.format,
        "description": "", "priority": column.priority})
}

fn row(kind: &Kind, object: Value, include: IncludeObject, now: i64) -> Value {
    let cells = kind.row(&object, now);
    let object = match include {
        IncludeObject::None => return json!({"cells": cells}),
        IncludeObject::Metadata => metadata_only(&object),
        IncludeObject::Object => object,
    };
    json!({"cells": cells, "object": object})
}

/// The same of a stored object as text: its metadata is copied, not decoded.
pub(super) fn metadata_text(object: &Object) -> Vec<u8> {
    let head = br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#;
    let metadata = object.metadata();
    let metadata: &[u8] = if metadata.is_empty() { b"{}" } else { metadata };
    [head.as_slice(), metadata, b"}"].concat()
}

/// `meta.k8s.io/v1 PartialObjectMetadata` of an object.
pub(super) fn metadata_only(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"]})
}
