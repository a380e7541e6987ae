//! The columns that kinds have in common, and how to write one in a line.

use serde_json::Value;

use super::kind::Column;
use super::value::text;

/// The first column of nearly every kind.
pub(crate) const NAME: Column = Column {
    name: "Name",
    r#type: "string",
    format: "name",
    priority: 0,
};
/// The time since creation.
pub(crate) const AGE: Column = string("Age");

/// The time of creation, for kinds that show that instead.
pub(crate) const CREATED: Column = Column {
    name: "Created At",
    r#type: "date",
    format: "",
    priority: 0,
};

/// A text column that is always shown.
pub(crate) const fn string(name: &'static str) -> Column {
    Column {
        name,
        r#type: "string",
        format: "",
        priority: 0,
    }
}

/// A text column of `-o wide`.
pub(crate) const fn wide(name: &'static str) -> Column {
    Column {
        name,
        r#type: "string",
        format: "",
        priority: 1,
    }
}

/// A number column that is always shown.
pub(crate) const fn integer(name: &'static str) -> Column {
    Column {
        name,
        r#type: "integer",
        format: "",
        priority: 0,
    }
}

/// The object's name as a cell.
pub(crate) fn name(object: &Value) -> Value {
    text(object, "/metadata/name").into()
}

/// The text, or `<none>` where there is none.
pub(crate) fn or_none(cell: impl Into<String>) -> Value {
    let cell = cell.into();
    Value::from(if cell.is_empty() {
        "<none>".to_owned()
    } else {
        cell
    })
}

/// The time of creation as a cell.
pub(crate) fn created(object: &Value) -> Value {
    text(object, "/metadata/creationTimestamp").into()
}

/// The text, or `<unset>` where there is none.
pub(crate) fn unset(cell: &str) -> Value {
    let cell = if cell.is_empty() { "<unset>" } else { cell };
    cell.into()
}

/// A column of true and false.
pub(crate) const fn boolean(name: &'static str) -> Column {
    Column {
        name,
        r#type: "boolean",
        format: "",
        priority: 0,
    }
}
