//! An apply: the writer's whole opinion about an object, laid over what is there.

use serde_json::Value;

use super::conflict::refusal;
use super::entry::Entry;
use super::managers::owned_difference;
use super::{Managers, UNOWNED, Writer, last_applied, take};
use crate::api::status::Result;
use crate::api::value::text;
use crate::schema::ownership::{FieldSet, Node, fields_of, merge, prune};

/// The manager that owns what was there before anybody was recorded.
const BEFORE: &str = "before-first-apply";

/// What somebody applies.
pub(in crate::api) struct Applying<'a> {
    /// The opinion.
    pub(in crate::api) config: &'a Value,
    /// Whose it is.
    pub(in crate::api) writer: &'a Writer,
    /// The version of the opinion and of the object.
    pub(in crate::api) version: &'a str,
    /// Whether what managers own of other versions says nothing about this one.
    pub(in crate::api) apart: bool,
    /// Whether it takes what others own.
    pub(in crate::api) force: bool,
    /// Whether the kind has a status of its own.
    pub(in crate::api) has_status: bool,
    /// Now.
    pub(in crate::api) time: &'a str,
}

/// The object that comes of it, with its managers; `live` is null where there is none yet.
///
/// # Errors
/// 409 that names everything that others own and that would change.
pub(in crate::api) fn apply(node: Node<'_>, live: &Value, what: &Applying<'_>) -> Result<Value> {
    let mut live = live.clone();
    let mut managers = Managers::parse(take_if_object(&mut live).as_ref());
    if managers.0.is_empty() && !live.is_null() {
        let before = Writer {
            manager: BEFORE.to_owned(),
            subresource: "",
        };
        let nothing = Value::Object(serde_json::Map::new());
        managers.update(node, (&nothing, &live), what.version, &before, what.time);
    }
    let mut entry = what.entry(node);
    let index = managers.0.iter().position(|have| have.is_same(&entry));
    let before = index.map(|index| managers.0.remove(index));
    let aside = match what.apart {
        true => managers.set_aside(what.version),
        false => Vec::new(),
    };
    let before = before.filter(|before| !what.apart || before.version == what.version);
    if let Some(before) = before
        .as_ref()
        .filter(|before| before.fields == entry.fields)
    {
        entry.time.clone_from(&before.time);
    }
    let mut merged = match &live {
        Value::Null => what.config.clone(),
        live => merge(node, live, what.config),
    };
    if let Some(before) = before {
        let others = Managers(aside.clone()).owned();
        let owned = managers.owned().union(&others).union(&entry.fields);
        prune(node, &mut merged, &before.fields, &owned);
    }
    settle(node, &live, &merged, &mut managers, what)?;
    if !entry.fields.is_empty() {
        managers.0.push(entry);
    }
    managers.0.extend(aside);
    last_applied::follow(&mut merged, what);
    let list = managers.to_value();
    crate::api::value::metadata(&mut merged)
        .extend(list.map(|list| ("managedFields".into(), list)));
    Ok(merged)
}

/// Lets the others give way, or refuses.
fn settle(
    node: Node<'_>,
    live: &Value,
    merged: &Value,
    managers: &mut Managers,
    what: &Applying<'_>,
) -> Result<()> {
    let nothing = Value::Object(serde_json::Map::new());
    let live = if live.is_null() { &nothing } else { live };
    let difference = owned_difference(node, live, merged);
    let conflicts = managers.give_way(&difference);
    if conflicts.is_empty() || what.force {
        return Ok(());
    }
    let earlier = last_applied::fields(node, live, what);
    let conflicts: Vec<_> = conflicts
        .into_iter()
        .filter_map(|mut conflict| {
            conflict.fields = conflict.fields.difference(&earlier);
            (!conflict.fields.is_empty()).then_some(conflict)
        })
        .collect();
    if conflicts.is_empty() {
        return Ok(());
    }
    Err(refusal(&conflicts))
}

impl Applying<'_> {
    fn entry(&self, node: Node<'_>) -> Entry {
        Entry {
            manager: self.writer.manager.clone(),
            applies: true,
            version: self.version.to_owned(),
            subresource: self.writer.subresource.to_owned(),
            time: self.time.to_owned(),
            fields: self.fields(node),
        }
    }

    /// What the configuration says, as far as it may: the status belongs to its subresource.
    fn fields(&self, node: Node<'_>) -> FieldSet {
        let said = fields_of(node, self.config).without(UNOWNED);
        let said = said.without_itself("metadata");
        match (self.writer.subresource, self.has_status) {
            ("status", _) => said.only("status"),
            (_, true) => said.without(&[&["status"]]),
            _ => said,
        }
    }
}

fn take_if_object(value: &mut Value) -> Option<Value> {
    if value.is_object() && !text(value, "/metadata/name").is_empty() {
        return take(value);
    }
    None
}
