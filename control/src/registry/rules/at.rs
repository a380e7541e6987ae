//! A place in an object, with the path that names it to users.

use serde_json::Value;

static NOTHING: Value = Value::Null;

/// A value and its path, such as `spec.containers[0].image`. Absent values read as null.
#[derive(Clone)]
pub(crate) struct At<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> At<'a> {
    /// The object itself, whose path is empty.
    pub(crate) fn root(object: &'a Value) -> At<'a> {
        At {
            value: object,
            path: String::new(),
        }
    }

    /// The member of that name.
    pub(crate) fn get(&self, key: &str) -> At<'a> {
        let dot = if self.path.is_empty() { "" } else { "." };
        let value = self.value.get(key).unwrap_or(&NOTHING);
        At {
            value,
            path: format!("{}{dot}{key}", self.path),
        }
    }

    /// The entry of a map, which is written in brackets.
    pub(crate) fn entry(&self, key: &str) -> At<'a> {
        let value = self.value.get(key).unwrap_or(&NOTHING);
        At {
            value,
            path: format!("{}[{key}]", self.path),
        }
    }

    /// The member behind several names.
    pub(crate) fn dig(&self, keys: &[&str]) -> At<'a> {
        keys.iter().fold(self.clone(), |at, key| at.get(key))
    }

    /// The elements of a list.
    pub(crate) fn each(&self) -> impl Iterator<Item = At<'a>> {
        let elements = self.value.as_array().into_iter().flatten().enumerate();
        elements.map(|(index, value)| At {
            value,
            path: format!("{}[{index}]", self.path),
        })
    }

    /// The entries of a map, by key.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a str, At<'a>)> {
        let members = self.value.as_object().into_iter().flatten();
        members.map(|(key, _)| (key.as_str(), self.entry(key)))
    }

    /// The path.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The value.
    pub(crate) fn value(&self) -> &'a Value {
        self.value
    }

    /// Whether there is a value at all.
    pub(crate) fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// Whether there is nothing: no value, or an empty text, list or map.
    pub(crate) fn is_empty(&self) -> bool {
        match self.value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(elements) => elements.is_empty(),
            Value::Object(members) => members.is_empty(),
            _ => false,
        }
    }

    /// The text, empty if it is none.
    pub(crate) fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    /// The whole number.
    pub(crate) fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// How many elements a list has.
    pub(crate) fn len(&self) -> usize {
        self.value.as_array().map_or(0, Vec::len)
    }
}
