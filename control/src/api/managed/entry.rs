//! One entry of `metadata.managedFields`.

use serde_json::{Map, Value};

use super::Writer;
use crate::api::value::text;
use crate::schema::ownership::FieldSet;

/// What one manager owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name.
    pub(super) manager: String,
    /// Whether it applies; otherwise it updates.
    pub(super) applies: bool,
    /// The version in which it wrote.
    pub(super) version: String,
    /// The subresource that it writes, empty for the object itself.
    pub(super) subresource: String,
    /// When its set changed last.
    pub(super) time: String,
    /// Its fields.
    pub(super) fields: FieldSet,
}

impl Entry {
    /// Whether another entry is of the same manager, writing in the same way.
    pub(super) fn is_same(&self, other: &Entry) -> bool {
        (&self.manager, self.applies, &self.subresource)
            == (&other.manager, other.applies, &other.subresource)
            && (self.applies || self.version == other.version)
    }

    /// The entries of an object; none if a part of them makes no sense.
    pub(super) fn parse_all(list: &Value) -> Option<Vec<Entry>> {
        list.as_array()?.iter().map(Entry::parse).collect()
    }

    fn parse(entry: &Value) -> Option<Entry> {
        let of = |key: &str| text(entry, &format!("/{key}")).to_owned();
        let applies = match of("operation").as_str() {
            "Apply" => true,
            "Update" => false,
            _ => return None,
        };
        if of("fieldsType") != "FieldsV1" {
            return None;
        }
        Some(Entry {
            manager: of("manager"),
            applies,
            version: of("apiVersion"),
            subresource: of("subresource"),
            time: of("time"),
            fields: FieldSet::parse(entry.get("fieldsV1")?)?,
        })
    }

    /// The entry of a plain writer that owns nothing yet.
    pub(super) fn of(writer: &Writer, version: &str, time: &str) -> Entry {
        Entry {
            manager: writer.manager.clone(),
            applies: false,
            version: version.to_owned(),
            subresource: writer.subresource.to_owned(),
            time: time.to_owned(),
            fields: FieldSet::default(),
        }
    }

    pub(super) fn to_value(&self) -> Value {
        let bare = Entry {
            manager: self.manager.clone(),
            version: self.version.clone(),
            subresource: self.subresource.clone(),
            time: self.time.clone(),
            fields: FieldSet::default(),
            ..*self
        };
        bare.with_fields(self.fields.to_value())
    }

    /// The entry as it is written, with these `FieldsV1` in place of its own.
    pub(super) fn with_fields(self, fields: Value) -> Value {
        let operation = if self.applies { "Apply" } else { "Update" };
        let mut entry = Map::new();
        let mut put = |key: &str, value: Value| drop(entry.insert(key.to_owned(), value));
        put("manager", self.manager.into());
        put("operation", operation.into());
        put("apiVersion", self.version.into());
        put("fieldsType", "FieldsV1".into());
        put("fieldsV1", fields);
        for (key, text) in [("time", self.time), ("subresource", self.subresource)] {
            if !text.is_empty() {
                put(key, text.into());
            }
        }
        Value::Object(entry)
    }

    /// The manager as messages name it.
    pub(super) fn shown(&self) -> String {
        let mut shown = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            shown.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if !self.applies {
            shown.push_str(&format!(" using {}", self.version));
        }
        shown
    }
}
