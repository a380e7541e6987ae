//! Names everything that breaks a rule of the schema.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{OWN, flag, formats, member};
use crate::registry::kind::{FieldError, FieldErrorReason as Reason};

/// Every fault of an object; its metadata is the server's to check.
pub fn faults(schema: &Value, object: &Value) -> Vec<FieldError> {
    let mut walk = Walk {
        faults: Vec::new(),
        path: String::new(),
    };
    walk.value(schema, object, true);
    walk.faults
}

struct Walk {
    faults: Vec<FieldError>,
    path: String,
}

impl Walk {
    fn push(&mut self, reason: Reason, message: String) {
        let field = self.path.clone();
        self.faults.push(FieldError {
            field,
            reason,
            message,
        });
    }

    fn invalid(&mut self, value: &Value, rule: &str) {
        self.push(Reason::Invalid, format!("{value}: {rule}"));
    }

    fn value(&mut self, schema: &Value, value: &Value, whole: bool) {
        if value.is_null() {
            if !flag(schema, "nullable") {
                self.invalid(value, "must not be null");
            }
            return;
        }
        if !self.has_type(schema, value) {
            return;
        }
        self.rules(schema, value);
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let own = whole || flag(schema, "x-kubernetes-embedded-resource");
                    if own && OWN.contains(&name.as_str()) {
                        continue;
                    }
                    if let Some(schema) = member(schema, name) {
                        let length = self.descend(name);
                        self.value(schema, value, false);
                        self.path.truncate(length);
                    }
                }
            }
            Value::Array(items) => {
                let schema = schema.get("items").unwrap_or(&Value::Null);
                for (index, item) in items.iter().enumerate() {
                    let length = self.path.len();
                    self.path.push_str(&format!("[{index}]"));
                    self.value(schema, item, false);
                    self.path.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn descend(&mut self, name: &str) -> usize {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        length
    }

    fn has_type(&mut self, schema: &Value, value: &Value) -> bool {
        let fits = match schema["type"].as_str() {
            _ if flag(schema, "x-kubernetes-int-or-string") => value.is_i64() || value.is_string(),
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_i64() || value.as_f64().is_some_and(|n| n.fract() == 0.0),
            Some("number") => value.is_number(),
            _ => true,
        };
        if !fits {
            let wanted = schema["type"].as_str().unwrap_or("integer or string");
            self.invalid(value, &format!("must be of type {wanted}"));
        }
        fits
    }

    /// What a schema says beside types; the schemas of `allOf` and its like say nothing else.
    fn rules(&mut self, schema: &Value, value: &Value) {
        if let Some(choices) = schema["enum"].as_array()
            && !choices.contains(value)
        {
            let choices: Vec<_> = choices.iter().map(Value::to_string).collect();
            let list = choices.join(", ");
            self.push(
                Reason::NotSupported,
                format!("{value}: supported values: {list}"),
            );
        }
        match value {
            Value::Number(number) => self.number(schema, value, number.as_f64().unwrap_or(0.0)),
            Value::String(text) => self.text(schema, value, text),
            Value::Array(items) => self.list(schema, items),
            Value::Object(members) => self.members(schema, members),
            _ => {}
        }
        self.combined(schema, value);
    }

    fn number(&mut self, schema: &Value, value: &Value, number: f64) {
        if let Some(most) = schema["maximum"].as_f64() {
            let strict = flag(schema, "exclusiveMaximum");
            if number > most || (strict && number >= most) {
                let rule = if strict {
                    "less than"
                } else {
                    "less than or equal to"
                };
                self.invalid(value, &format!("should be {rule} {}", schema["maximum"]));
            }
        }
        if let Some(least) = schema["minimum"].as_f64() {
            let strict = flag(schema, "exclusiveMinimum");
            if number < least || (strict && number <= least) {
                let rule = if strict {
                    "greater than"
                } else {
                    "greater than or equal to"
                };
                self.invalid(value, &format!("should be {rule} {}", schema["minimum"]));
            }
        }
        if let Some(step) = schema["multipleOf"].as_f64()
            && step > 0.0
            && (number / step).fract() != 0.0
        {
            self.invalid(
                value,
                &format!("should be a multiple of {}", schema["multipleOf"]),
            );
        }
        let fits = match schema["format"].as_str() {
            Some("int32") => value
                .as_i64()
                .is_none_or(|number| i32::try_from(number).is_ok()),
            _ => true,
        };
        if !fits {
            self.invalid(value, "must fit into 32 bits");
        }
    }

    fn text(&mut self, schema: &Value, value: &Value, text: &str) {
        let length = text.chars().count() as u64;
        if schema["maxLength"]
            .as_u64()
            .is_some_and(|most| length > most)
        {
            self.invalid(
                value,
                &format!("may not be longer than {}", schema["maxLength"]),
            );
        }
        if schema["minLength"]
            .as_u64()
            .is_some_and(|least| length < least)
        {
            self.invalid(
                value,
                &format!("should be at least {} chars long", schema["minLength"]),
            );
        }
        if let Some(pattern) = schema["pattern"].as_str()
            && !formats::matches(pattern, text)
        {
            self.invalid(value, &format!("should match '{pattern}'"));
        }
        if let Some(format) = schema["format"].as_str()
            && !formats::fits(format, text)
        {
            self.invalid(value, &format!("must be of the form {format:?}"));
        }
    }

    fn list(&mut self, schema: &Value, items: &[Value]) {
        let count = items.len() as u64;
        if schema["maxItems"].as_u64().is_some_and(|most| count > most) {
            let rule = format!("must have at most {} items", schema["maxItems"]);
            self.invalid(&count.into(), &rule);
        }
        if schema["minItems"]
            .as_u64()
            .is_some_and(|least| count < least)
        {
            let rule = format!("should have at least {} items", schema["minItems"]);
            self.invalid(&count.into(), &rule);
        }
        let keys = schema["x-kubernetes-list-map-keys"].as_array();
        let identity = |item: &Value| match (schema["x-kubernetes-list-type"].as_str(), keys) {
            (Some("map"), Some(keys)) => {
                let of = |key: &Value| item.get(key.as_str().unwrap_or_default()).cloned();
                Some(
                    keys.iter()
                        .map(of)
                        .map(Option::unwrap_or_default)
                        .collect::<Value>()
                        .to_string(),
                )
            }
            (Some("set"), _) => Some(item.to_string()),
            _ if flag(schema, "uniqueItems") => Some(item.to_string()),
            _ => None,
        };
        let mut seen = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            if let Some(identity) = identity(item)
                && !seen.insert(identity)
            {
                let length = self.path.len();
                self.path.push_str(&format!("[{index}]"));
                self.push(Reason::Duplicate, item.to_string());
                self.path.truncate(length);
            }
        }
    }

    fn members(&mut self, schema: &Value, members: &serde_json::Map<String, Value>) {
        let count = members.len() as u64;
        if schema["maxProperties"]
            .as_u64()
            .is_some_and(|most| count > most)
        {
            let rule = format!("must have at most {} properties", schema["maxProperties"]);
            self.invalid(&count.into(), &rule);
        }
        if schema["minProperties"]
            .as_u64()
            .is_some_and(|least| count < least)
        {
            let rule = format!(
                "should have at least {} properties",
                schema["minProperties"]
            );
            self.invalid(&count.into(), &rule);
        }
        let required = schema["required"].as_array();
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(name) {
                let length = self.descend(name);
                self.push(Reason::Required, String::new());
                self.path.truncate(length);
            }
        }
    }

    fn combined(&mut self, schema: &Value, value: &Value) {
        let list = |name: &str| schema[name].as_array().cloned().unwrap_or_default();
        for part in list("allOf") {
            self.also(&part, value);
        }
        let fitting = |parts: &[Value]| parts.iter().filter(|part| fits(part, value)).count();
        let any = list("anyOf");
        if !any.is_empty() && fitting(&any) == 0 {
            self.invalid(value, "must validate at least one schema (anyOf)");
        }
        let one = list("oneOf");
        if !one.is_empty() && fitting(&one) != 1 {
            self.invalid(value, "must validate one and only one schema (oneOf)");
        }
        if schema.get("not").is_some_and(|not| fits(not, value)) {
            self.invalid(value, "must not validate the schema (not)");
        }
    }

    /// The rules of a further schema for the same value.
    fn also(&mut self, schema: &Value, value: &Value) {
        let mut schema = schema.clone();
        if value.is_null() {
            schema["nullable"] = true.into();
        }
        self.value(&schema, value, false);
    }
}

fn fits(schema: &Value, value: &Value) -> bool {
    let mut walk = Walk {
        faults: Vec::new(),
        path: String::new(),
    };
    walk.also(schema, value);
    walk.faults.is_empty()
}
