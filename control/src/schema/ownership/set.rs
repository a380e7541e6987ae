//! A set of fields of an object, as `FieldsV1` writes it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::step;

/// The name under which `FieldsV1` says that a path itself is meant, beside what is below it.
pub(super) const ITSELF: &str = ".";

/// A tree of steps ([`step`]); each node may be a member of the set or only lead to members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Whether the path up to here is in the set.
    pub(super) member: bool,
    /// What is below.
    pub(super) below: BTreeMap<Box<str>, FieldSet>,
}

impl FieldSet {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }

    /// Reads `FieldsV1`; none if it is none.
    pub fn parse(fields: &Value) -> Option<FieldSet> {
        let members = fields.as_object()?;
        let mut set = FieldSet::default();
        for (name, value) in members {
            if name == ITSELF {
                set.member = true;
                continue;
            }
            let mut below = FieldSet::parse(value)?;
            below.member |= value.as_object().is_some_and(Map::is_empty);
            set.below.insert(step::normal(name)?, below);
        }
        Some(set)
    }

    /// Writes `FieldsV1`.
    pub fn to_value(&self) -> Value {
        let below = self.below.iter();
        let mut members: Map<String, Value> = below
            .map(|(step, set)| (step.to_string(), set.to_value()))
            .collect();
        if self.member && !self.below.is_empty() {
            members.insert(ITSELF.to_owned(), json!({}));
        }
        Value::Object(members)
    }

    /// What is below a step, none if nothing.
    pub(super) fn child(&self, step: &str) -> Option<&FieldSet> {
        self.below.get(step)
    }

    /// Puts what is below a step, unless that is nothing.
    pub(super) fn put(&mut self, step: Box<str>, below: FieldSet) {
        if !below.is_empty() {
            self.below.insert(step, below);
        }
    }

    /// All of both.
    pub fn union(mut self, other: &FieldSet) -> FieldSet {
        self.member |= other.member;
        for (step, set) in &other.below {
            let mine = self.below.remove(step).unwrap_or_default();
            self.below.insert(step.clone(), mine.union(set));
        }
        self
    }

    /// What is in this set and not in the other.
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        let mut rest = FieldSet {
            member: self.member && !other.member,
            below: BTreeMap::new(),
        };
        for (step, set) in &self.below {
            let left = match other.child(step) {
                Some(taken) => set.difference(taken),
                None => set.clone(),
            };
            rest.put(step.clone(), left);
        }
        rest
    }

    /// What is in both.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let mut both = FieldSet {
            member: self.member && other.member,
            below: BTreeMap::new(),
        };
        for (step, set) in &self.below {
            if let Some(theirs) = other.child(step) {
                both.put(step.clone(), set.intersection(theirs));
            }
        }
        both
    }

    /// Takes out the paths and everything below them; a path is a list of field names.
    pub fn without(mut self, paths: &[&[&str]]) -> FieldSet {
        for path in paths {
            self.cut(path);
        }
        self
    }

    fn cut(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        let step = step::field(first);
        if rest.is_empty() {
            self.below.remove(&step);
        } else if let Some(below) = self.below.get_mut(&step) {
            below.cut(rest);
            if below.is_empty() {
                self.below.remove(&step);
            }
        }
    }

    /// Takes the path of one field out, and leaves what is below it.
    pub fn without_itself(mut self, name: &str) -> FieldSet {
        let step = step::field(name);
        if let Some(below) = self.below.get_mut(&step) {
            below.member = false;
            if below.is_empty() {
                self.below.remove(&step);
            }
        }
        self
    }

    /// Only what is at or below one field.
    pub fn only(&self, name: &str) -> FieldSet {
        let mut set = FieldSet::default();
        let step = step::field(name);
        if let Some(below) = self.below.get(&step) {
            set.put(step, below.clone());
        }
        set
    }

    /// The paths of all members, as messages write them: `.spec.containers[name="a"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect(&mut String::new(), &mut paths);
        paths
    }

    fn collect(&self, path: &mut String, into: &mut Vec<String>) {
        if self.member {
            into.push(path.clone());
        }
        for (step, set) in &self.below {
            let length = path.len();
            path.push_str(&step::shown(step));
            set.collect(path, into);
            path.truncate(length);
        }
    }
}
