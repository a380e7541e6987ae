//! Lays what somebody applies over what is there.

use serde_json::Value;

use super::compare::parts;
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

/// None where an element cannot be told from the others.
fn merge_list(node: Node<'_>, live: &Value, applied: &Value) -> Option<Value> {
    let (live, applied) = (parts(node, live)?, parts(node, applied)?);
    let is_applied = |step: &str| applied.iter().any(|part| *part.step == *step);
    let mut merged = Vec::new();
    let mut rest = live.iter().peekable();
    for part in &applied {
        // What stands before the counterpart and is nobody's counterpart stays before it.
        if live.iter().any(|have| have.step == part.step) {
            while let Some(have) = rest.next_if(|have| have.step != part.step) {
                if !is_applied(&have.step) {
                    merged.push(have.value.clone());
                }
            }
            rest.next_if(|have| have.step == part.step);
        }
        let counterpart = live.iter().find(|have| have.step == part.step);
        merged.push(match counterpart {
            Some(have) => merge(part.node, have.value, part.value),
            None => part.value.clone(),
        });
    }
    let left = rest.filter(|have| !is_applied(&have.step));
    merged.extend(left.map(|have| have.value.clone()));
    Some(Value::Array(merged))
}
