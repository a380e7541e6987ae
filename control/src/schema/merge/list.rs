//! Lists in a strategic merge: matching elements by key, and the order of the result.
//!
//! Order matters to users (containers, environment) although the merge thinks in sets. The rule:
//! elements that the patch names follow the patch's order, the others keep theirs, and where the
//! two meet, the stored list decides.

use serde_json::{Map, Value};

use super::{MergeError, PATCH, Path, Schema, merge_members, stripped};
use crate::schema::table::Patch;

/// Merges a patch list into a stored one; `key` is empty for lists of scalars.
pub(super) fn merge(
    old: Vec<Value>,
    new: Vec<Value>,
    element: Schema,
    key: &'static str,
    path: &Path<'_>,
) -> Result<Vec<Value>, MergeError> {
    if new.is_empty() {
        return Ok(old);
    }
    let before = old.clone();
    let (merged, named) = if key.is_empty() {
        only_scalars(&new, path)?;
        (union(old, &new), new)
    } else {
        merge_keyed(old, new, element, key, path)?
    };
    Ok(order(merged, &named, &before, key))
}

/// Merges a list that comes with `$setElementOrder`; none if there is no list on either side.
pub(super) fn merge_ordered(
    old: Option<Vec<Value>>,
    new: Option<Vec<Value>>,
    wanted: &[Value],
    element: Schema,
    strategy: Patch,
    path: &Path<'_>,
) -> Result<Option<Vec<Value>>, MergeError> {
    check_order(
        new.as_deref().unwrap_or_default(),
        wanted,
        strategy.key,
        path,
    )?;
    let before = old.clone().unwrap_or_default();
    let merged = match (old, new) {
        (None, None) => return Ok(None),
        (Some(old), None) => old,
        (None, Some(new)) => new.into_iter().filter_map(stripped).collect(),
        (Some(old), Some(new)) if strategy.merge => merge(old, new, element, strategy.key, path)?,
        (Some(_), Some(new)) => new.into_iter().filter_map(stripped).collect(),
    };
    Ok(Some(order(merged, wanted, &before, strategy.key)))
}

/// The patch may not contradict the order that it asks for.
fn check_order(
    new: &[Value],
    wanted: &[Value],
    key: &str,
    path: &Path<'_>,
) -> Result<(), MergeError> {
    let lives = |element: &&Value| element.get(PATCH).is_none();
    let mut places = new
        .iter()
        .filter(lives)
        .map(|element| position(wanted, element, key));
    let mut last = 0;
    let fits = places.all(|place| {
        let fits = place.is_some_and(|place| place >= last);
        last = place.unwrap_or(last);
        fits
    });
    if fits {
        Ok(())
    } else {
        Err(MergeError::Order {
            path: path.to_string(),
        })
    }
}

fn only_scalars(list: &[Value], path: &Path<'_>) -> Result<(), MergeError> {
    match list.iter().any(Value::is_object) {
        true => Err(MergeError::MixedList {
            path: path.to_string(),
        }),
        false => Ok(()),
    }
}

/// The stored scalars and the new ones, each once.
fn union(old: Vec<Value>, new: &[Value]) -> Vec<Value> {
    let mut union: Vec<Value> = Vec::with_capacity(old.len() + new.len());
    for element in old.into_iter().chain(new.iter().cloned()) {
        if !union.contains(&element) {
            union.push(element);
        }
    }
    union
}

/// Merges objects by their key. Returns the result and the elements that the patch named.
fn merge_keyed(
    mut old: Vec<Value>,
    new: Vec<Value>,
    element: Schema,
    key: &'static str,
    path: &Path<'_>,
) -> Result<(Vec<Value>, Vec<Value>), MergeError> {
    let no_key = || MergeError::NoMergeKey {
        path: path.to_string(),
        key,
    };
    let mut named = Vec::new();
    let mut replace = false;
    for item in new {
        let Value::Object(members) = item else {
            return Err(MergeError::MixedList {
                path: path.to_string(),
            });
        };
        match directive(&members, path)? {
            Directive::Replace => replace = true,
            Directive::Delete => {
                let doomed = members.get(key).ok_or_else(no_key)?;
                old.retain(|element| element.get(key) != Some(doomed));
            }
            Directive::None if members.contains_key(key) => named.push(Value::Object(members)),
            Directive::None => return Err(no_key()),
        }
    }
    if replace {
        old.clear();
    }
    let merged = merge_elements(old, &named, element, key, path)?;
    Ok((merged, named))
}

/// What an element of a patch list asks for.
enum Directive {
    None,
    Delete,
    Replace,
}

fn directive(members: &Map<String, Value>, path: &Path<'_>) -> Result<Directive, MergeError> {
    match members
        .get(PATCH)
        .map(|directive| directive.as_str().unwrap_or_default())
    {
        None | Some("merge") => Ok(Directive::None),
        Some("delete") => Ok(Directive::Delete),
        Some("replace") => Ok(Directive::Replace),
        Some(directive) => {
            let directive = directive.to_owned();
            Err(MergeError::Directive {
                path: path.to_string(),
                directive,
            })
        }
    }
}

fn merge_elements(
    mut merged: Vec<Value>,
    named: &[Value],
    element: Schema,
    key: &str,
    path: &Path<'_>,
) -> Result<Vec<Value>, MergeError> {
    for new in named {
        let stored = merged.iter_mut().find(|old| old.get(key) == new.get(key));
        match (stored, new) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                *old = merge_members(std::mem::take(old), new.clone(), element, path)?;
            }
            _ => merged.extend(stripped(new.clone())),
        }
    }
    Ok(merged)
}

/// Puts a merged list into order: named elements as in `wanted`, the rest as in `before`.
fn order(merged: Vec<Value>, wanted: &[Value], before: &[Value], key: &str) -> Vec<Value> {
    let place = |list: &[Value], element: &Value| position(list, element, key);
    let (mut named, mut rest): (Vec<_>, Vec<_>) = merged
        .into_iter()
        .partition(|element| place(wanted, element).is_some());
    named.sort_by_key(|element| place(wanted, element));
    rest.sort_by_key(|element| place(before, element).unwrap_or(usize::MAX));

    let mut ordered = Vec::with_capacity(named.len() + rest.len());
    let (mut named, mut rest) = (named.into_iter().peekable(), rest.into_iter().peekable());
    while let (Some(next_named), Some(next_rest)) = (named.peek(), rest.peek()) {
        let rest_first = match (place(before, next_rest), place(before, next_named)) {
            (Some(rest_place), Some(named_place)) => rest_place < named_place,
            _ => false,
        };
        ordered.extend(if rest_first {
            rest.next()
        } else {
            named.next()
        });
    }
    ordered.extend(named);
    ordered.extend(rest);
    ordered
}

/// Where a list has the element, by key or by value.
fn position(list: &[Value], element: &Value, key: &str) -> Option<usize> {
    if key.is_empty() {
        return list.iter().position(|other| other == element);
    }
    let wanted = element.get(key)?;
    list.iter().position(|other| other.get(key) == Some(wanted))
}
