//! Managed fields: who set which field of an object.
//!
//! Every write leaves a trace in `metadata.managedFields`. A plain write ([`Managers::update`]) gives
//! its writer what it changed; an apply ([`apply`]) gives its writer what it says, takes away what it
//! said before and no longer says, and is refused where it would change what others own. The sets of
//! fields are `schema::ownership`'s; here are the managers, their entries and their conflicts.

mod apply;
mod conflict;
mod entry;
mod last_applied;
mod managers;
#[cfg(test)]
mod tests;

pub(super) use apply::{Applying, apply};
pub(super) use managers::Managers;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use self::conflict::refusal;
use self::entry::Entry;
use self::managers::owned_difference;
use super::kinds::Target;
use super::status::Result;
use super::value::metadata;
use super::write::Part;
use crate::schema::ownership::{Node, written};

/// Characters of a manager's name, at most.
pub(super) const MAX_NAME: usize = 128;

/// Who writes, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Writer {
    /// The name under which the client wants to be known.
    pub(super) manager: String,
    /// The subresource that is written.
    pub(super) subresource: &'static str,
}

impl Writer {
    /// The writer of a request: its `fieldManager`, or the name of its program, or its user.
    pub(super) fn of(manager: Option<&str>, agent: Option<&str>, user: &str, part: Part) -> Writer {
        let program = agent.and_then(|agent| agent.split('/').next());
        let program = program.filter(|program| !program.is_empty());
        let user = user.strip_prefix("system:").unwrap_or(user);
        let name = manager.or(program).unwrap_or(user);
        Writer {
            manager: name.chars().take(MAX_NAME).collect(),
            subresource: match part {
                Part::Whole | Part::Raw => "",
                Part::Status => "status",
                Part::Finalize => "finalize",
                Part::Approval => "approval",
                Part::Own(own) => own.name,
            },
        }
    }

    /// The same through another subresource.
    pub(super) fn through(mut self, subresource: &'static str) -> Writer {
        self.subresource = subresource;
        self
    }
}

/// How a write is recorded.
#[derive(Clone, Copy)]
pub(super) enum Trace<'a> {
    /// What changed belongs to this writer.
    Update(&'a Writer),
    /// The object carries its managers with it. Those who wrote in other versions are still to be
    /// asked, unless the apply takes what they own by force.
    Applied { force: bool },
}

/// Records a write of `new` over `old`, neither of which holds managed fields; `given` are those that
/// the client sent, `had` those of the stored object.
pub(super) fn record(
    target: Target,
    trace: Trace<'_>,
    objects: (&Value, &Value),
    given: Option<Value>,
    had: Option<&Value>,
) -> Option<Value> {
    let writer = match trace {
        Trace::Applied { .. } => return given,
        Trace::Update(writer) => writer,
    };
    let now = super::value::timestamp(jiff::Timestamp::now());
    let (node, version) = (node(target), target.api_version());
    let is_new = objects.0.as_object().is_some_and(Map::is_empty);
    if is_new && given.is_none() && had.is_none() {
        return first(node, objects.1, &version, writer, &now);
    }
    let old = Managers::parse(had);
    let mut managers = Managers::chosen(given.as_ref(), &old);
    managers.update(node, objects, &version, writer, &now);
    managers.to_value()
}

/// The one entry of a new object: everything in it belongs to its writer.
fn first(
    node: Node<'_>,
    object: &Value,
    version: &str,
    writer: &Writer,
    time: &str,
) -> Option<Value> {
    let fields = written(node, object, UNOWNED);
    let entry = Entry::of(writer, version, time);
    (!fields.is_empty()).then(|| vec![entry.with_fields(Value::Object(fields))].into())
}

/// The versions in which managers wrote, each once.
pub(super) fn versions(list: Option<&Value>) -> BTreeSet<String> {
    let entries = Managers::parse(list).0.into_iter();
    entries.map(|entry| entry.version).collect()
}

/// Lets managers who wrote in `target`'s version give way to a write, whose `objects` are in it.
///
/// # Errors
/// 409 where that would change what they own, unless it is forced.
pub(super) fn settle_version(
    target: Target,
    list: Option<Value>,
    objects: (&Value, &Value),
    force: bool,
) -> Result<Option<Value>> {
    let mut managers = Managers::parse(list.as_ref());
    let aside = managers.set_aside(&target.api_version());
    let difference = owned_difference(node(target), objects.0, objects.1);
    let conflicts = managers.give_way(&difference);
    if !force && !conflicts.is_empty() {
        return Err(refusal(&conflicts));
    }
    managers.0.extend(aside);
    Ok(managers.to_value())
}

/// The schema by which a kind's objects are taken apart.
pub(super) fn node(target: Target) -> Node<'static> {
    let kind = target.kind;
    if let Some(custom) = kind.custom {
        return Node::custom(&custom.schema);
    }
    Node::of_kind(kind.group, kind.version, kind.kind)
}

/// Takes the entries out of an object.
pub(super) fn take(object: &mut Value) -> Option<Value> {
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    metadata.remove("managedFields")
}

/// Puts entries into an object that has none.
pub(super) fn put(object: &mut Value, entries: Option<Value>) {
    if let Some(entries) = entries {
        metadata(object).insert("managedFields".to_owned(), entries);
    }
}

/// Members of the metadata that have no owner.
const UNOWNED: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
    &["metadata", "deletionTimestamp"],
    &["metadata", "deletionGracePeriodSeconds"],
];
