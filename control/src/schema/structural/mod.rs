//! Objects of custom kinds against the structural schema that their definition brings along.
//!
//! The schema is kept as the JSON that it is, without its prose ([`compact`]); three walks along it
//! do the work: [`complete`] drops what the schema does not have and fills in defaults, [`unknown`]
//! names what would be dropped, [`faults`] names everything that breaks a rule; what keeps to it has to
//! keep to the rules in CEL, too ([`Rules`]).

mod complete;
mod expressions;
mod faults;
mod formats;
#[cfg(test)]
mod tests;
mod unknown;

pub use complete::complete;
pub use expressions::Rules;
pub use faults::faults;
pub use unknown::unknown;

use serde_json::Value;

/// Members of every object that the server itself knows, whatever the schema says.
const OWN: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// The schema without what only people read.
pub fn compact(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            let kept = members.iter().filter(|(name, value)| {
                let prose = matches!(name.as_str(), "description" | "title" | "example");
                !(prose && value.is_string()) && name.as_str() != "externalDocs"
            });
            kept.map(|(name, value)| (name.clone(), compact_member(name, value)))
                .collect()
        }
        Value::Array(items) => items.iter().map(compact).collect(),
        other => other.clone(),
    }
}

/// Properties may have any name, and values of `default` and `enum` are no schemas.
fn compact_member(name: &str, value: &Value) -> Value {
    match (name, value) {
        ("properties" | "patternProperties" | "definitions", Value::Object(members)) => members
            .iter()
            .map(|(name, schema)| (name.clone(), compact(schema)))
            .collect(),
        ("default" | "enum", value) => value.clone(),
        (_, value) => compact(value),
    }
}

fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name) == Some(&Value::Bool(true))
}

/// Whether anything may stand below this.
fn keeps_unknown(schema: &Value) -> bool {
    flag(schema, "x-kubernetes-preserve-unknown-fields")
}

/// The schema of a member: by its name, or of any member.
fn member<'s>(schema: &'s Value, name: &str) -> Option<&'s Value> {
    let named = schema.get("properties").and_then(|all| all.get(name));
    let any = schema.get("additionalProperties");
    named.or_else(|| any.filter(|any| any.is_object()))
}

/// Whether members of any name are taken as they are.
fn takes_any_member(schema: &Value) -> bool {
    keeps_unknown(schema) || flag(schema, "additionalProperties")
}
