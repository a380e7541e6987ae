//! Strategic merge patches: JSON merge patches that know which lists merge, and by which key.
//!
//! The patch is a part of the object. Maps merge, null deletes, a list replaces the stored one
//! unless its field merges: then elements with the same key merge, and new ones are added. Four
//! directives ride in the patch: `$patch: delete|replace|merge` in an object,
//! `$retainKeys` in an object, `$deleteFromPrimitiveList/FIELD` and `$setElementOrder/FIELD` beside
//! a field. None of them ever reaches the stored object.
//!
//! Reference: the strategic merge patch of the Kubernetes API conventions, as kubectl produces it.
//! A field without schema merges like one without strategies, so that it reaches the check for
//! unknown fields, which says more than a failed merge could.

mod list;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use super::table::{Body, Definition, Field, Id, Patch, Table, Type};

/// The directive inside an object.
const PATCH: &str = "$patch";
/// The names of the members that stay.
const RETAIN_KEYS: &str = "$retainKeys";
/// Prefix of a list of scalars to delete.
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
/// Prefix of the order that a list shall have.
const SET_ORDER: &str = "$setElementOrder/";

type Members = Map<String, Value>;

/// Why a patch can't be applied. The path is that of the field in the object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// There is no such kind.
    #[error("no schema for {0}")]
    UnknownKind(String),
    /// The patch or the object is no JSON object.
    #[error("a strategic merge patch must be a JSON object")]
    NotAnObject,
    /// `$patch` has a value without a meaning here.
    #[error("{path}: unknown patch directive $patch: {directive}")]
    Directive {
        /// Where.
        path: String,
        /// Its value.
        directive: String,
    },
    /// A directive has a value of the wrong type.
    #[error("{path}: {directive} must be a list")]
    DirectiveType {
        /// Where.
        path: String,
        /// The directive's key.
        directive: String,
    },
    /// An element of a merged list lacks its key.
    #[error("{path}: an element of the list has no merge key {key}")]
    NoMergeKey {
        /// The list.
        path: String,
        /// The key.
        key: &'static str,
    },
    /// Objects and scalars are mixed in a merged list.
    #[error("{path}: the elements of the list are of different types")]
    MixedList {
        /// The list.
        path: String,
    },
    /// A member is set that `$retainKeys` does not keep.
    #[error("{path}: {key} is set but not among $retainKeys")]
    NotRetained {
        /// The object.
        path: String,
        /// The member.
        key: String,
    },
    /// `$setElementOrder` contradicts the list beside it.
    #[error("{path}: the order of the list does not match $setElementOrder")]
    Order {
        /// The list.
        path: String,
    },
}

/// Applies a strategic merge patch to an object of that kind.
///
/// On an error `current` is partly patched and must be thrown away.
pub fn strategic_merge(
    group: &str,
    version: &str,
    kind: &str,
    current: &mut Value,
    patch: &Value,
) -> Result<(), MergeError> {
    let schema = Schema::of_kind(group, version, kind)
        .ok_or_else(|| MergeError::UnknownKind(format!("{group}/{version}, Kind={kind}")))?;
    let (Value::Object(current), Value::Object(patch)) = (current, patch) else {
        return Err(MergeError::NotAnObject);
    };
    let merged = merge_members(std::mem::take(current), patch.clone(), schema, &Path::Root)?;
    *current = merged;
    Ok(())
}

/// Where the merge is, for errors only: nothing is allocated while all goes well.
enum Path<'a> {
    Root,
    Member(&'a Path<'a>, &'a str),
}

impl std::fmt::Display for Path<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Path::Root => out.write_str("<root>"),
            Path::Member(Path::Root, name) => out.write_str(name),
            Path::Member(parent, name) => write!(out, "{parent}.{name}"),
        }
    }
}

/// What is known about a value: its definition, the type of all its members, or nothing.
#[derive(Clone, Copy)]
enum Schema {
    Definition(&'static Definition),
    MapOf(&'static Type),
    Unknown,
}

impl Schema {
    fn of_kind(group: &str, version: &str, kind: &str) -> Option<Schema> {
        let id = Table::get().kind(group, version, kind)?;
        Some(Schema::of_id(id))
    }

    fn of_id(id: Id) -> Schema {
        match Table::get().definition(id) {
            Definition {
                body: Body::Scalar(_),
                ..
            } => Schema::Unknown,
            definition => Schema::Definition(definition),
        }
    }

    fn of_type(r#type: &'static Type) -> Schema {
        match r#type {
            Type::Reference(id) => Schema::of_id(*id),
            Type::Map(member) => Schema::MapOf(member),
            Type::List(element) => Schema::of_type(element),
            Type::Scalar(_) => Schema::Unknown,
        }
    }

    /// Schema and strategies of a member; for a list, the schema is that of its elements.
    fn member(self, name: &str) -> (Schema, Patch) {
        match self {
            Schema::Definition(definition) => definition.field(name).map_or(
                (Schema::Unknown, Patch::default()),
                |field: &'static Field| (Schema::of_type(&field.r#type), field.patch),
            ),
            Schema::MapOf(member) => (Schema::of_type(member), Patch::default()),
            Schema::Unknown => (Schema::Unknown, Patch::default()),
        }
    }
}

/// Merges a patch into the members of an object.
fn merge_members(
    mut current: Members,
    mut patch: Members,
    schema: Schema,
    path: &Path<'_>,
) -> Result<Members, MergeError> {
    match patch
        .remove(PATCH)
        .as_ref()
        .map(|directive| directive.as_str().unwrap_or_default())
    {
        None | Some("merge") => {}
        Some("replace") => return Ok(without_directives(patch)),
        Some("delete") => return Ok(Members::new()),
        Some(directive) => {
            let directive = directive.to_owned();
            return Err(MergeError::Directive {
                path: path.to_string(),
                directive,
            });
        }
    }
    retain_keys(&mut current, &mut patch, path)?;
    ordered_lists(&mut current, &mut patch, schema, path)?;
    for (key, value) in patch {
        match key.strip_prefix(DELETE_FROM) {
            Some(field) => delete_from(&mut current, field, &value, path)?,
            None => merge_member(&mut current, key, value, schema, path)?,
        }
    }
    Ok(current)
}

/// Merges one member.
fn merge_member(
    current: &mut Members,
    key: String,
    value: Value,
    schema: Schema,
    path: &Path<'_>,
) -> Result<(), MergeError> {
    if value.is_null() {
        current.remove(&key);
        return Ok(());
    }
    let (member_schema, strategy) = schema.member(&key);
    let at = Path::Member(path, &key);
    let merged = match (current.remove(&key), value) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            Some(Value::Object(merge_members(old, new, member_schema, &at)?))
        }
        (Some(Value::Array(old)), Value::Array(new)) if strategy.merge => Some(Value::Array(
            list::merge(old, new, member_schema, strategy.key, &at)?,
        )),
        (_, new) => stripped(new),
    };
    current.extend(merged.map(|merged| (key, merged)));
    Ok(())
}

/// `$retainKeys`: only the named members of the stored object stay.
fn retain_keys(
    current: &mut Members,
    patch: &mut Members,
    path: &Path<'_>,
) -> Result<(), MergeError> {
    let Some(directive) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let Value::Array(names) = directive else {
        return Err(not_a_list(path, RETAIN_KEYS));
    };
    let kept = |key: &str| names.iter().any(|name| name.as_str() == Some(key));
    let is_directive = |key: &str| key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER);
    let stray = patch
        .iter()
        .find(|(key, value)| !value.is_null() && !is_directive(key) && !kept(key));
    if let Some((key, _)) = stray {
        return Err(MergeError::NotRetained {
            path: path.to_string(),
            key: key.clone(),
        });
    }
    current.retain(|key, _| kept(key));
    Ok(())
}

/// `$setElementOrder/FIELD`: merges the field's list and puts it into the given order.
fn ordered_lists(
    current: &mut Members,
    patch: &mut Members,
    schema: Schema,
    path: &Path<'_>,
) -> Result<(), MergeError> {
    let directives: Vec<_> = patch
        .keys()
        .filter(|key| key.starts_with(SET_ORDER))
        .cloned()
        .collect();
    for directive in directives {
        let Some(Value::Array(order)) = patch.remove(&directive) else {
            return Err(not_a_list(path, &directive));
        };
        let field = &directive[SET_ORDER.len()..];
        let at = Path::Member(path, field);
        let (element, strategy) = schema.member(field);
        // A null beside the order deletes the list, like any null.
        if patch.get(field).is_some_and(Value::is_null) {
            continue;
        }
        let old = take_list(current, field);
        let new = take_list(patch, field);
        let merged = list::merge_ordered(old, new, &order, element, strategy, &at)?;
        current.extend(merged.map(|merged| (field.to_owned(), Value::Array(merged))));
    }
    Ok(())
}

fn take_list(members: &mut Members, field: &str) -> Option<Vec<Value>> {
    match members.remove(field) {
        Some(Value::Array(list)) => Some(list),
        _ => None,
    }
}

/// `$deleteFromPrimitiveList/FIELD`: takes scalars out of a list.
fn delete_from(
    current: &mut Members,
    field: &str,
    doomed: &Value,
    path: &Path<'_>,
) -> Result<(), MergeError> {
    let Value::Array(doomed) = doomed else {
        return Err(not_a_list(&Path::Member(path, field), DELETE_FROM));
    };
    if let Some(Value::Array(list)) = current.get_mut(field) {
        list.retain(|element| !doomed.contains(element));
    }
    Ok(())
}

fn not_a_list(path: &Path<'_>, directive: &str) -> MergeError {
    MergeError::DirectiveType {
        path: path.to_string(),
        directive: directive.to_owned(),
    }
}

/// A value of the patch that has nothing to merge with, as it is stored; none if it is only a
/// directive to delete.
fn stripped(value: Value) -> Option<Value> {
    match value {
        Value::Object(members) if members.get(PATCH).is_some_and(|verb| verb == "delete") => None,
        Value::Object(members) => Some(Value::Object(without_directives(members))),
        Value::Array(elements) => Some(Value::Array(
            elements.into_iter().filter_map(stripped_element).collect(),
        )),
        scalar => Some(scalar),
    }
}

/// In a list, an element that is nothing but `$patch: replace` is a directive to the whole list.
fn stripped_element(element: Value) -> Option<Value> {
    let only_directive = |members: &Members| members.len() == 1 && members.contains_key(PATCH);
    match &element {
        Value::Object(members) if only_directive(members) => None,
        _ => stripped(element),
    }
}

/// The members without directives and without nulls, which delete what is not there.
fn without_directives(members: Members) -> Members {
    let is_directive = |key: &str| {
        key == PATCH
            || key == RETAIN_KEYS
            || key.starts_with(DELETE_FROM)
            || key.starts_with(SET_ORDER)
    };
    let stored = members
        .into_iter()
        .filter(|(key, value)| !is_directive(key) && !value.is_null());
    stored
        .filter_map(|(key, value)| Some((key, stripped(value)?)))
        .collect()
}
