//! Names what the schema does not have.

use serde_json::Value;

use super::{OWN, flag, member, takes_any_member};

/// The paths of all members that would be dropped.
pub fn unknown(schema: &Value, object: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    walk(schema, object, true, "", &mut paths);
    paths
}

fn walk(schema: &Value, value: &Value, whole: bool, path: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            let own = whole || flag(schema, "x-kubernetes-embedded-resource");
            for (name, value) in members {
                if own && OWN.contains(&name.as_str()) {
                    continue;
                }
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{name}");
                match member(schema, name) {
                    Some(schema) => walk(schema, value, false, &path, into),
                    None if takes_any_member(schema) => {}
                    None => into.push(path),
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else {
                return;
            };
            for (index, item) in items.iter().enumerate() {
                walk(schema, item, false, &format!("{path}[{index}]"), into);
            }
        }
        _ => {}
    }
}
