//! What the writer of a new object owns, written straight as `FieldsV1`.
//!
//! The same as the comparison with nothing would give ([`super::compare`]), without the sets between:
//! creations are the most frequent writes, and most of them have one owner.

use serde_json::{Map, Value};

use super::compare::parts;
use super::node::Node;
use super::set::ITSELF;

/// Everything that `value` has, as `FieldsV1`, but for the members `apart` by their paths.
pub fn written(node: Node<'_>, value: &Value, apart: &[&[&str]]) -> Map<String, Value> {
    let mut fields = Map::new();
    for part in parts(node, value).into_iter().flatten() {
        let name = part.step.strip_prefix("f:").filter(|_| !part.is_item);
        let inside: Vec<&[&str]> = apart
            .iter()
            .filter(|path| path.first().copied() == name && name.is_some())
            .map(|path| &path[1..])
            .collect();
        if inside.iter().any(|path| path.is_empty()) {
            continue;
        }
        let mut below = written(part.node, part.value, &inside);
        // Who owns some members of a struct does not own the struct.
        if !inside.is_empty() && below.is_empty() {
            continue;
        }
        if inside.is_empty() && !below.is_empty() {
            below.insert(ITSELF.to_owned(), Value::Object(Map::new()));
        }
        fields.insert(part.step.into(), Value::Object(below));
    }
    fields
}
