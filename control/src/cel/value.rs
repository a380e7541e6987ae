//! Objects as expressions see them.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use kube_cel::cel::Value;
use kube_cel::cel::objects::{Key, Map};
use serde_json::Value as Json;

use super::escape::{escape, is_reserved};

/// A value of which nothing is known but itself. A member whose name is a word of CEL's own is there
/// under its escaped name, too.
pub(crate) fn of_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => number_of(number),
        Json::String(text) => Value::String(Arc::new(text.clone())),
        Json::Array(items) => Value::List(Arc::new(items.iter().map(of_json).collect())),
        Json::Object(members) => {
            let plain = members
                .iter()
                .map(|(name, value)| (name.clone(), of_json(value)));
            let reserved = members.iter().filter(|(name, _)| is_reserved(name));
            let escaped = reserved.map(|(name, value)| (escape(name), of_json(value)));
            map(plain.chain(escaped))
        }
    }
}

fn number_of(number: &serde_json::Number) -> Value {
    match (number.as_i64(), number.as_u64()) {
        (Some(number), _) => Value::Int(number),
        (None, Some(number)) => Value::UInt(number),
        _ => Value::Float(number.as_f64().unwrap_or_default()),
    }
}

fn map(members: impl Iterator<Item = (String, Value)>) -> Value {
    let members = members.map(|(name, value)| (Key::String(Arc::new(name)), value));
    let members: HashMap<Key, Value> = members.collect();
    Value::Map(Map {
        map: Arc::new(members),
    })
}

/// What an expression made, as JSON. A member that stands beside itself under its escaped name, as
/// [`of_json`] has it, is there once.
///
/// # Errors
/// When it is nothing that JSON has.
pub(crate) fn to_json(value: &Value) -> Result<Json, String> {
    match value {
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Map(map) => {
            let named = |name: &str| map.get(&Key::String(Arc::new(name.to_owned()))).is_some();
            let twin = |name: &str| {
                let word = name.strip_prefix("__").and_then(|it| it.strip_suffix("__"));
                word.is_some_and(|word| is_reserved(word) && named(word))
            };
            let members = map.map.iter().map(|(key, value)| match key {
                Key::String(name) => Ok((name.to_string(), to_json(value)?)),
                other => Err(format!("the key {other} of a map is no string")),
            });
            let members = members.filter(|it| !matches!(it, Ok((name, _)) if twin(name)));
            Ok(Json::Object(members.collect::<Result<_, String>>()?))
        }
        Value::Null => Ok(Json::Null),
        Value::Bool(truth) => Ok((*truth).into()),
        Value::Int(number) => Ok((*number).into()),
        Value::UInt(number) => Ok((*number).into()),
        Value::Float(number) => Ok((*number).into()),
        Value::String(text) => Ok(text.as_str().into()),
        Value::Bytes(bytes) => {
            let encoded = base64::engine::general_purpose::STANDARD.encode(bytes.as_slice());
            Ok(encoded.into())
        }
        Value::Timestamp(time) => Ok(time.to_rfc3339().into()),
        other => Err(format!("a value of type {} is no JSON", other.type_of())),
    }
}

/// A map of values.
pub(crate) fn map_of(members: HashMap<String, Value>) -> Value {
    map(members.into_iter())
}

/// A value of a structural schema: what the schema calls a property is there under its escaped name,
/// members of maps under their own; times, durations and bytes are such.
pub(crate) fn typed(schema: &Json, json: &Json) -> Value {
    let kind = schema["type"].as_str().unwrap_or_default();
    match json {
        Json::String(text) => text_of(schema["format"].as_str().unwrap_or_default(), text),
        Json::Number(number) => match kind {
            "number" => Value::Float(number.as_f64().unwrap_or_default()),
            "integer" => Value::Int(number.as_i64().unwrap_or_default()),
            _ => number_of(number),
        },
        Json::Array(items) => {
            let schema = schema.get("items").unwrap_or(&Json::Null);
            let items = items.iter().map(|item| typed(schema, item)).collect();
            Value::List(Arc::new(items))
        }
        Json::Object(members) => {
            let properties = schema.get("properties");
            let any = schema.get("additionalProperties");
            let member = |(name, value): (&String, &Json)| {
                let property = properties.and_then(|all| all.get(name));
                match property.or(any) {
                    Some(schema) if property.is_some() => (escape(name), typed(schema, value)),
                    Some(schema) => (name.clone(), typed(schema, value)),
                    None => (name.clone(), of_json(value)),
                }
            };
            map(members.iter().map(member))
        }
        other => of_json(other),
    }
}

fn text_of(format: &str, text: &str) -> Value {
    let plain = || Value::String(Arc::new(text.to_owned()));
    match format {
        "byte" => {
            let decoded = base64::engine::general_purpose::STANDARD.decode(text);
            decoded.map_or_else(|_| plain(), |bytes| Value::Bytes(Arc::new(bytes)))
        }
        "date-time" | "date" => converted("timestamp", text).unwrap_or_else(plain),
        "duration" => converted("duration", text).unwrap_or_else(plain),
        _ => plain(),
    }
}

/// What one of CEL's own functions makes of a text.
fn converted(function: &str, text: &str) -> Option<Value> {
    let program = super::Program::compile(&format!("{function}(text)"), &["text"]).ok()?;
    let variables = vec![("text".to_owned(), Value::String(Arc::new(text.to_owned())))];
    program.run(&variables, &mut super::Budget::default()).ok()
}

/// A value that may be missing, as CEL's own optional.
pub(crate) fn optional(value: Option<Value>) -> Value {
    let text = match value {
        Some(_) => "optional.of(value)",
        None => "optional.none()",
    };
    let variables = value.map(|value| ("value".to_owned(), value));
    let variables = variables.into_iter().collect();
    let program = super::Program::compile(text, &["value"]);
    let made = program.and_then(|it| it.run(&variables, &mut super::Budget::default()));
    made.unwrap_or(Value::Null)
}
