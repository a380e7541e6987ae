//! Lays what somebody applies over what is there.

use serde_json::Value;

use super::compare::{Part, parts};
use super::node::{Form, Node};

/// `live` with everything that `applied` says; lists with keys and sets keep the elements that
/// `applied` does not name, and take the order of those that it does.
pub fn merge(node: Node<'_>, live: &Value, applied: &Value) -> Value {
    match (node.form(applied), live, applied) {
        (Form::Members, Value::Object(live), Value::Object(applied)) => {
            let mut merged = live.clone();
            for (name, value) in applied {
                let value = match live.get(name) {
                    Some(live) => merge(node.member(name).0, live, value),
                    None => value.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Form::Keyed(_) | Form::Set, Value::Array(_), Value::Array(_)) => {
            merge_list(node, live, applied).unwrap_or_else(|| applied.clone())
        }
        _ => applied.clone(),
    }
}

/// None where an element cannot be told from the others. What only `live` has comes as early as the
/// elements that both have let it: before what only `applied` has.
fn merge_list(node: Node<'_>, live: &Value, applied: &Value) -> Option<Value> {
    let (live, applied) = (parts(node, live)?, parts(node, applied)?);
    let counterpart = |part: &Part<'_, '_>| live.iter().find(|have| have.step == part.step);
    let is_applied = |have: &Part<'_, '_>| applied.iter().any(|part| part.step == have.step);
    let mut merged = Vec::new();
    let mut rest = live.iter().peekable();
    for (index, part) in applied.iter().enumerate() {
        let mut coming = applied[index..].iter();
        let next_shared = coming.find(|part| counterpart(part).is_some());
        // An element that both have, and whose turn it is not, comes when it is `applied`'s turn.
        let is_next = |have: &Part<'_, '_>| next_shared.is_some_and(|next| next.step == have.step);
        while let Some(have) = rest.next_if(|have| !is_next(have)) {
            if !is_applied(have) {
                merged.push(have.value.clone());
            }
        }
        rest.next_if(|have| have.step == part.step);
        merged.push(match counterpart(part) {
            Some(have) => merge(part.node, have.value, part.value),
            None => part.value.clone(),
        });
    }
    let left = rest.filter(|have| !is_applied(have));
    merged.extend(left.map(|have| have.value.clone()));
    Some(Value::Array(merged))
}
