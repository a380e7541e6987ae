//! All managers of one object.

use serde_json::{Value, json};

use super::conflict::Conflict;
use super::entry::Entry;
use super::{UNOWNED, Writer};
use crate::schema::ownership::{Difference, FieldSet, Node, compare};

/// Entries of plain writers, at most; the oldest are put together beyond that.
const MAX_UPDATERS: usize = 10;
/// The name of those that were put together.
const ANCIENT: &str = "ancient-changes";

/// The managers of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::api) struct Managers(pub(super) Vec<Entry>);

impl Managers {
    /// Reads `metadata.managedFields`; what makes no sense counts as nothing.
    pub(in crate::api) fn parse(list: Option<&Value>) -> Managers {
        Managers(list.and_then(Entry::parse_all).unwrap_or_default())
    }

    /// The managers that a client wants an object to have: those of `given`, none at all where that
    /// is a list with one empty entry, and those of `old` where it says nothing or makes no sense.
    pub(in crate::api) fn chosen(given: Option<&Value>, old: &Managers) -> Managers {
        let Some(list) = given
            .and_then(Value::as_array)
            .filter(|list| !list.is_empty())
        else {
            return old.clone();
        };
        if *list == [json!({})] {
            return Managers::default();
        }
        let entries = given.and_then(Entry::parse_all);
        entries.map_or_else(|| old.clone(), Managers)
    }

    /// Writes `metadata.managedFields`, none where there are none.
    pub(in crate::api) fn to_value(&self) -> Option<Value> {
        if self.0.is_empty() {
            return None;
        }
        let mut entries: Vec<_> = self.0.iter().collect();
        let order = |entry: &&Entry| (!entry.applies, entry.time.clone(), entry.manager.clone());
        entries.sort_by_key(order);
        Some(entries.into_iter().map(Entry::to_value).collect())
    }

    /// Records a plain write: what it changed belongs to `writer` alone.
    pub(in crate::api) fn update(
        &mut self,
        node: Node<'_>,
        objects: (&Value, &Value),
        version: &str,
        writer: &Writer,
        time: &str,
    ) {
        let difference = owned_difference(node, objects.0, objects.1);
        if difference.is_empty() {
            return;
        }
        let mut entry = Entry::of(writer, version, time);
        let index = self.0.iter().position(|have| have.is_same(&entry));
        let before = index.map(|index| self.0.remove(index));
        drop(self.give_way(&difference));
        if let Some(before) = before {
            entry.fields = before.fields;
        }
        entry.fields = entry
            .fields
            .difference(&difference.removed)
            .union(&difference.set());
        if !entry.fields.is_empty() {
            self.0.push(entry);
        }
        self.cap();
    }

    /// Takes out those who did not write in `version`.
    pub(super) fn set_aside(&mut self, version: &str) -> Vec<Entry> {
        let (here, aside) = self.0.drain(..).partition(|entry| entry.version == version);
        self.0 = here;
        aside
    }

    /// Takes from everybody what changed, and tells who lost what.
    pub(super) fn give_way(&mut self, difference: &Difference) -> Vec<Conflict> {
        let changed = difference.set();
        let mut conflicts = Vec::new();
        for entry in &mut self.0 {
            let lost = entry.fields.intersection(&changed);
            if !lost.is_empty() {
                conflicts.push(Conflict::new(entry, lost.clone()));
            }
            let gone = lost.union(&difference.removed);
            entry.fields = entry.fields.difference(&gone);
        }
        self.0.retain(|entry| !entry.fields.is_empty());
        conflicts
    }

    /// Everything that anybody owns.
    pub(super) fn owned(&self) -> FieldSet {
        let entries = self.0.iter();
        entries.fold(FieldSet::default(), |all, entry| all.union(&entry.fields))
    }

    /// Puts the oldest plain writers together where there are too many.
    fn cap(&mut self) {
        let updaters = self.0.iter().filter(|entry| !entry.applies).count();
        if updaters <= MAX_UPDATERS {
            return;
        }
        let (mut updaters, mut rest): (Vec<_>, Vec<_>) =
            self.0.drain(..).partition(|entry| !entry.applies);
        updaters.sort_by(|one, other| one.time.cmp(&other.time));
        let surplus = updaters.len() - MAX_UPDATERS + 1;
        let old: Vec<_> = updaters.drain(..surplus).collect();
        if let Some(newest) = old.last() {
            let mut ancient = newest.clone();
            ANCIENT.clone_into(&mut ancient.manager);
            ancient.subresource.clear();
            ancient.fields = Managers(old).owned();
            rest.push(ancient);
        }
        rest.extend(updaters);
        self.0 = rest;
    }
}

/// What differs, apart from what has no owner.
pub(super) fn owned_difference(node: Node<'_>, old: &Value, new: &Value) -> Difference {
    let all = compare(node, old, new);
    let owned = |set: FieldSet| set.without(UNOWNED).without_itself("metadata");
    Difference {
        added: owned(all.added),
        removed: owned(all.removed),
        modified: owned(all.modified),
    }
}
