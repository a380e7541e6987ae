//! What is in an object, and what differs between two.

use serde_json::Value;

use super::node::{Form, Node};
use super::set::FieldSet;
use super::step;

/// What an object has that another has not, or otherwise.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Only in the new one.
    pub added: FieldSet,
    /// Only in the old one.
    pub removed: FieldSet,
    /// In both, with different values.
    pub modified: FieldSet,
}

impl Difference {
    /// What a writer of the new object has set.
    pub fn set(&self) -> FieldSet {
        self.added.clone().union(&self.modified)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.modified.is_empty()
    }

    fn put(&mut self, step: &str, below: Difference) {
        self.added.put(step.into(), below.added);
        self.removed.put(step.into(), below.removed);
        self.modified.put(step.into(), below.modified);
    }
}

/// The fields that an object has.
pub fn fields_of(node: Node<'_>, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    match parts(node, value) {
        None => set.member = true,
        Some(parts) => {
            for part in parts {
                let mut below = fields_of(part.node, part.value);
                let empty = part
                    .value
                    .as_object()
                    .is_some_and(serde_json::Map::is_empty);
                below.member |= part.is_item || empty || part.value.is_null();
                set.put(part.step, below);
            }
        }
    }
    set
}

/// What differs between two objects of a kind.
pub fn compare(node: Node<'_>, old: &Value, new: &Value) -> Difference {
    between(node, Some(old), Some(new))
}

fn between(node: Node<'_>, old: Option<&Value>, new: Option<&Value>) -> Difference {
    let mut difference = Difference::default();
    if old == new {
        return difference;
    }
    let is_empty = |value: &Value| match value {
        Value::Object(members) => members.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        _ => false,
    };
    let both_empty = old.is_none_or(is_empty) && new.is_none_or(is_empty);
    let old_parts = old.map(|old| parts(node, old));
    let new_parts = new.map(|new| parts(node, new));
    let leaf = matches!(old_parts, Some(None)) || matches!(new_parts, Some(None));
    match (old, new) {
        (None, _) => difference.added.member = true,
        (_, None) => difference.removed.member = true,
        _ if leaf || both_empty => difference.modified.member = true,
        _ => {}
    }
    if leaf && old.is_some() && new.is_some() {
        return difference;
    }
    let old_parts = old_parts.flatten().unwrap_or_default();
    let mut new_parts = new_parts.flatten().unwrap_or_default();
    for old in &old_parts {
        let index = new_parts.iter().position(|new| new.step == old.step);
        let new = index.map(|index| new_parts.remove(index));
        let below = between(old.node, Some(old.value), new.as_ref().map(|new| new.value));
        difference.put(&old.step, below);
    }
    for new in &new_parts {
        let below = between(new.node, None, Some(new.value));
        difference.put(&new.step, below);
    }
    difference
}

/// A member or element with an owner of its own.
pub(super) struct Part<'v, 's> {
    pub(super) step: Box<str>,
    pub(super) node: Node<'s>,
    pub(super) value: &'v Value,
    /// Whether the schema names it; otherwise it is the entry of a map or an element.
    pub(super) declared: bool,
    /// Whether it is an element of a list.
    pub(super) is_item: bool,
}

/// The parts of a value, none if it has one owner.
pub(super) fn parts<'v, 's>(node: Node<'s>, value: &'v Value) -> Option<Vec<Part<'v, 's>>> {
    let element = node.element();
    let item = |step, value| Part {
        step,
        node: element,
        value,
        declared: false,
        is_item: true,
    };
    match (node.form(value), value) {
        (Form::Members, Value::Object(members)) => {
            let parts = members.iter().map(|(name, value)| {
                let (node, declared) = node.member(name);
                Part {
                    step: step::field(name),
                    node,
                    value,
                    declared,
                    is_item: false,
                }
            });
            Some(parts.collect())
        }
        (Form::Keyed(keys), Value::Array(elements)) => {
            let parts = elements
                .iter()
                .map(|value| Some(item(node.step(&keys, value)?, value)));
            parts.collect()
        }
        (Form::Set, Value::Array(elements)) => {
            let parts = elements.iter().map(|value| item(step::value(value), value));
            Some(parts.collect())
        }
        _ => None,
    }
}
