//! Secret: bytes by name, with a type that says which names must be there.

use serde_json::Value;

use super::age::age;
use super::column::{AGE, NAME, integer, name, string};
use super::kind::Kind;
use super::value::{default_text, members, text};

/// Secret of v1.
pub(super) static KIND: Kind = Kind {
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    columns: &[NAME, string("Type"), integer("Data"), AGE],
    cells,
    default: |secret| default_text(secret, "type", "Opaque"),
    fields: &[("type", |secret| text(secret, "/type").to_owned())],
    ..Kind::PLAIN
};

fn cells(object: &Value, now: i64) -> Vec<Value> {
    let entries = members(object, "/data").count();
    vec![
        name(object),
        text(object, "/type").into(),
        entries.into(),
        age(object, now),
    ]
}
