//! Takes away what an applier no longer applies and nobody else owns.

use serde_json::Value;

use super::compare::{Part, parts};
use super::node::Node;
use super::set::FieldSet;

/// `value` without the fields that were in `last` and are in `owned` no more.
pub fn prune(node: Node<'_>, value: &mut Value, last: &FieldSet, owned: &FieldSet) {
    let Some(there) = parts(node, value) else {
        return;
    };
    let nothing = FieldSet::default();
    let mut kept = Vec::new();
    for part in there {
        let before = last.child(&part.step).unwrap_or(&nothing);
        let now = owned.child(&part.step).unwrap_or(&nothing);
        if holds(before, &part) && !holds(now, &part) {
            kept.push(None);
            continue;
        }
        let mut value = part.value.clone();
        if !before.below.is_empty() {
            prune(part.node, &mut value, before, now);
        }
        kept.push(Some(value));
    }
    match value {
        Value::Object(members) => {
            let mut kept = kept.into_iter();
            members.retain(|_, member| match kept.next().flatten() {
                Some(value) => {
                    *member = value;
                    true
                }
                None => false,
            });
        }
        Value::Array(elements) => *elements = kept.into_iter().flatten().collect(),
        _ => {}
    }
}

/// Whether a set has the part, or, for one that the schema names, anything in it.
fn holds(set: &FieldSet, part: &Part<'_, '_>) -> bool {
    set.member || (part.declared && !set.below.is_empty())
}
