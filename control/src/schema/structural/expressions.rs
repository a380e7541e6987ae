//! Rules in CEL (`x-kubernetes-validations`), compiled once for each state of a definition.
//!
//! A value that an update leaves as it was is not looked at again, so that a stricter rule does not
//! stop writers from changing something else. A rule that names `oldSelf` is about changes: it is
//! asked where there is a value to compare with, found by its name or by the keys of its list, or
//! always, if it wants its old value as an optional.

use std::collections::HashMap;

use serde_json::Value;

use super::flag;
use crate::cel::{Budget, Program, Variables, optional, typed};
use crate::registry::kind::{FieldError, FieldErrorReason as Reason};

/// What rules may look at.
const DECLARED: &[&str] = &["self", "oldSelf"];

/// The rules of a schema and of everything below it.
#[derive(Debug, Default)]
pub struct Rules {
    own: Vec<Rule>,
    properties: HashMap<String, Rules>,
    items: Option<Box<Rules>>,
    members: Option<Box<Rules>>,
}

#[derive(Debug)]
struct Rule {
    program: Program,
    /// What is said where there is no better.
    message: String,
    spoken: Option<Program>,
    reason: Reason,
    /// Below the value, from its dot on.
    field: String,
    optional: bool,
}

impl Rule {
    /// None for what does not compile, which is refused where it is written.
    fn read(rule: &Value) -> Option<Rule> {
        let text = |key: &str| rule[key].as_str().unwrap_or_default();
        let written = text("rule");
        let message = match text("message") {
            "" => format!("failed rule: {}", written.trim()),
            message => message.to_owned(),
        };
        let reason = match text("reason") {
            "FieldValueForbidden" => Reason::Forbidden,
            "FieldValueRequired" => Reason::Required,
            "FieldValueDuplicate" => Reason::Duplicate,
            _ => Reason::Invalid,
        };
        Some(Rule {
            program: Program::compile(written, DECLARED).ok()?,
            message,
            spoken: Program::compile(text("messageExpression"), DECLARED).ok(),
            reason,
            field: text("fieldPath").to_owned(),
            optional: flag(rule, "optionalOldSelf"),
        })
    }

    /// What the rule sees; none where it does not apply.
    fn variables(&self, schema: &Value, new: &Value, old: Option<&Value>) -> Option<Variables> {
        let mut seen = vec![("self".to_owned(), typed(schema, new))];
        if self.program.uses("oldSelf") {
            let old = old.map(|old| typed(schema, old));
            let old = if self.optional { optional(old) } else { old? };
            seen.push(("oldSelf".to_owned(), old));
        }
        Some(seen)
    }

    fn message(&self, seen: &Variables, budget: &mut Budget<'_>) -> String {
        let spoken = self.spoken.as_ref();
        let spoken = spoken.and_then(|program| program.text(seen, budget).ok());
        let spoken = spoken.filter(|text| !text.trim().is_empty() && !text.contains('\n'));
        spoken.unwrap_or_else(|| self.message.clone())
    }
}

impl Rules {
    /// The rules in a schema.
    pub fn of(schema: &Value) -> Rules {
        let below = |key: &str| {
            let schema = schema.get(key).filter(|it| it.is_object())?;
            let rules = Rules::of(schema);
            (!rules.is_empty()).then(|| Box::new(rules))
        };
        let own = schema["x-kubernetes-validations"].as_array();
        let properties = schema["properties"].as_object().into_iter().flatten();
        let properties = properties.map(|(name, schema)| (name.clone(), Rules::of(schema)));
        Rules {
            own: own.into_iter().flatten().filter_map(Rule::read).collect(),
            properties: properties.filter(|(_, rules)| !rules.is_empty()).collect(),
            items: below("items"),
            members: below("additionalProperties"),
        }
    }

    fn is_empty(&self) -> bool {
        self.own.is_empty()
            && self.properties.is_empty()
            && self.items.is_none()
            && self.members.is_none()
    }

    /// Every rule that an object breaks, which keeps to `schema` otherwise.
    pub fn faults(&self, schema: &Value, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut walk = Walk::default();
        walk.value(self, schema, new, old);
        walk.faults
    }
}

#[derive(Default)]
struct Walk {
    budget: Budget<'static>,
    faults: Vec<FieldError>,
    path: String,
}

impl Walk {
    fn value(&mut self, rules: &Rules, schema: &Value, new: &Value, old: Option<&Value>) {
        if old == Some(new) || new.is_null() {
            return;
        }
        for rule in &rules.own {
            self.rule(rule, schema, new, old);
        }
        match new {
            Value::Object(members) => self.members(rules, schema, members, old),
            Value::Array(items) => self.items(rules, schema, items, old),
            _ => {}
        }
    }

    fn members(
        &mut self,
        rules: &Rules,
        schema: &Value,
        members: &serde_json::Map<String, Value>,
        old: Option<&Value>,
    ) {
        for (name, value) in members {
            let property = rules.properties.get(name);
            let Some(rules) = property.or(rules.members.as_deref()) else {
                continue;
            };
            let Some(schema) = super::member(schema, name) else {
                continue;
            };
            let length = self.path.len();
            let dot = if length == 0 { "" } else { "." };
            self.path.push_str(&format!("{dot}{name}"));
            let old = old.and_then(|old| old.get(name));
            self.value(rules, schema, value, old);
            self.path.truncate(length);
        }
    }

    fn items(&mut self, rules: &Rules, schema: &Value, items: &[Value], old: Option<&Value>) {
        let (Some(rules), Some(below)) = (rules.items.as_deref(), schema.get("items")) else {
            return;
        };
        for (index, item) in items.iter().enumerate() {
            let length = self.path.len();
            self.path.push_str(&format!("[{index}]"));
            self.value(rules, below, item, before(schema, item, old));
            self.path.truncate(length);
        }
    }

    fn rule(&mut self, rule: &Rule, schema: &Value, new: &Value, old: Option<&Value>) {
        let Some(seen) = rule.variables(schema, new, old) else {
            return;
        };
        let message = match rule.program.holds(&seen, &mut self.budget) {
            Ok(true) => return,
            Ok(false) => rule.message(&seen, &mut self.budget),
            Err(why) => format!("{why} evaluating rule: {}", rule.message),
        };
        let kind = schema["type"].as_str().unwrap_or("value");
        let message = match rule.reason {
            Reason::Invalid => format!("{kind:?}: {message}"),
            _ => message,
        };
        let field = format!("{}{}", self.path, rule.field);
        self.faults.push(FieldError {
            field: field.trim_start_matches('.').to_owned(),
            reason: rule.reason,
            message,
        });
    }
}

/// What an item of a list was before: only lists with keys can tell.
fn before<'a>(schema: &Value, item: &Value, old: Option<&'a Value>) -> Option<&'a Value> {
    if schema["x-kubernetes-list-type"] != "map" {
        return None;
    }
    let keys = schema["x-kubernetes-list-map-keys"].as_array()?;
    let same = |other: &&Value| {
        let mut keys = keys.iter().filter_map(Value::as_str);
        keys.all(|key| other.get(key) == item.get(key))
    };
    old?.as_array()?.iter().find(same)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({"type": "object", "properties": {"spec": {"type": "object",
            "x-kubernetes-validations": [
                {"rule": "self.min <= self.max", "message": "min must not exceed max"},
                {"rule": "self.max < 100", "messageExpression": "'max is ' + string(self.max)",
                    "reason": "FieldValueForbidden", "fieldPath": ".max"}],
            "properties": {
                "min": {"type": "integer"}, "max": {"type": "integer"},
                "name": {"type": "string", "x-kubernetes-validations": [
                    {"rule": "self == oldSelf", "message": "is immutable"}]},
                "once": {"type": "string", "x-kubernetes-validations": [
                    {"rule": "oldSelf.hasValue() || self == 'first'", "optionalOldSelf": true}]},
                "ports": {"type": "array", "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object",
                        "properties": {"name": {"type": "string"}, "port": {"type": "integer",
                            "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}}}}}}}})
    }

    fn faults(new: &Value, old: Option<&Value>) -> Vec<String> {
        let (schema, wrap) = (schema(), |spec: &Value| json!({"spec": spec}));
        let old = old.map(wrap);
        let faults = Rules::of(&schema).faults(&schema, &wrap(new), old.as_ref());
        let line = |fault: FieldError| format!("{}: {}", fault.field, fault.message);
        faults.into_iter().map(line).collect()
    }

    #[test]
    fn rules_are_asked_of_new_values() {
        assert!(faults(&json!({"min": 1, "max": 2, "name": "a"}), None).is_empty());
        assert_eq!(
            faults(&json!({"min": 300, "max": 200}), None),
            [
                "spec: \"object\": min must not exceed max",
                "spec.max: max is 200"
            ]
        );
        assert_eq!(
            faults(&json!({"max": 1}), None),
            ["spec: \"object\": no such key: min evaluating rule: min must not exceed max"]
        );
    }

    #[test]
    fn rules_of_changes_are_asked_where_there_was_something() {
        let old = json!({"min": 1, "max": 2, "name": "a", "ports": [{"name": "x", "port": 5}]});
        let new = json!({"min": 1, "max": 2, "name": "b", "ports": [{"name": "y", "port": 1},
            {"name": "x", "port": 4}]});
        assert_eq!(
            faults(&new, Some(&old)),
            [
                "spec.name: \"string\": is immutable",
                "spec.ports[1].port: \"integer\": failed rule: self >= oldSelf"
            ]
        );
        let once = |value: &str| json!({"min": 1, "max": 1, "once": value});
        assert!(faults(&once("first"), None).is_empty());
        assert_eq!(faults(&once("second"), None).len(), 1);
        assert!(faults(&once("second"), Some(&once("first"))).is_empty());
    }

    #[test]
    fn what_an_update_leaves_alone_is_not_looked_at() {
        let bad = json!({"spec": {"min": 2, "max": 1}, "status": {}});
        let mut changed = bad.clone();
        changed["status"] = json!({"a": 1});
        let schema = schema();
        let rules = Rules::of(&schema);
        assert!(rules.faults(&schema, &changed, Some(&bad)).is_empty());
        changed["spec"]["min"] = 3.into();
        assert_eq!(rules.faults(&schema, &changed, Some(&bad)).len(), 1);
    }
}
