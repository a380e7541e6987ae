//! Drops what the schema does not have and fills in defaults.

use serde_json::Value;

use super::{OWN, flag, member, takes_any_member};

/// Completes an object; its metadata is not touched. Idempotent.
pub fn complete(schema: &Value, object: &mut Value) {
    walk(schema, object, true);
}

fn walk(schema: &Value, value: &mut Value, whole_object: bool) {
    match value {
        Value::Object(members) => {
            let any = takes_any_member(schema);
            let own = whole_object || flag(schema, "x-kubernetes-embedded-resource");
            members.retain(|name, value| {
                let known = member(schema, name);
                let nullable = known.is_some_and(|known| flag(known, "nullable"));
                let has_default = known.is_some_and(|known| known.get("default").is_some());
                let kept = any || known.is_some() || (own && OWN.contains(&name.as_str()));
                kept && !(value.is_null() && !nullable && (has_default || known.is_some()))
            });
            defaults(schema, members);
            for (name, value) in members.iter_mut() {
                if own && OWN.contains(&name.as_str()) {
                    continue;
                }
                if let Some(schema) = member(schema, name) {
                    walk(schema, value, false);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter_mut().for_each(|item| walk(schema, item, false));
            }
        }
        _ => {}
    }
}

fn defaults(schema: &Value, members: &mut serde_json::Map<String, Value>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, schema) in properties.into_iter().flatten() {
        if let Some(default) = schema.get("default")
            && !members.contains_key(name)
        {
            members.insert(name.clone(), default.clone());
        }
    }
}
