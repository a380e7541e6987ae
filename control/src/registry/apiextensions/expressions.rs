//! Whether the rules in CEL of a version's schema are well typed: against the schema that they stand
//! in, in the words of Kubernetes.

use serde_json::Value;

use crate::cel::{Program, Scope, Type, of_schema};
use crate::registry::rules::{At, Faults};

/// What objects are called in errors about types.
const SELF: &str = "selfType";

/// The rules of one version, whose schema is structural.
pub(super) fn version(version: &At<'_>, faults: &mut Faults) {
    let schema = version.dig(&["schema", "openAPIV3Schema"]);
    below(&schema, true, None, faults);
}

/// The rules of a schema and of all below it. `uncorrelated` is the place, if any, from which on no
/// old value can be told to belong to a new one.
fn below(schema: &At<'_>, root: bool, uncorrelated: Option<&str>, faults: &mut Faults) {
    let here = |unless: bool| uncorrelated.or((!unless).then_some(schema.path()));
    let values = schema.get("additionalProperties");
    if values.value().is_object() {
        inner(&values, uncorrelated, faults);
    }
    let whole = schema.get("x-kubernetes-map-type").text() == "atomic";
    for (_, property) in schema.get("properties").entries() {
        inner(&property, here(!whole), faults);
    }
    let items = schema.get("items");
    if items.is_set() {
        let keyed = schema.get("x-kubernetes-list-type").text() == "map";
        inner(&items, here(keyed), faults);
    }
    let rules = schema.get("x-kubernetes-validations");
    if rules.is_empty() {
        return;
    }
    let seen = of_schema(schema.value(), root, SELF).unwrap_or(Type::Dyn);
    for rule in rules.each() {
        checked(&rule, &seen, uncorrelated, faults);
    }
}

fn inner(schema: &At<'_>, uncorrelated: Option<&str>, faults: &mut Faults) {
    let root = *schema.get("x-kubernetes-embedded-resource").value() == true;
    below(schema, root, uncorrelated, faults);
}

/// A rule about values of type `seen` comes to true or false, its message to a text.
fn checked(rule: &At<'_>, seen: &Type, uncorrelated: Option<&str>, faults: &mut Faults) {
    let optional = rule.get("optionalOldSelf");
    let before = if *optional.value() == true {
        Type::optional(seen.clone())
    } else {
        seen.clone()
    };
    let scope = Scope::of([("self", seen.clone()), ("oldSelf", before)]);
    let text = rule.get("rule");
    let program = match Program::check(text.text(), &scope) {
        Ok((program, found)) if found.is(&Type::Bool) => program,
        Ok(_) => {
            let why = "cel expression must evaluate to a bool";
            return faults.invalid_shown(&text, &shown(rule.value()), why);
        }
        Err(why) => return faults.invalid_shown(&text, &shown(rule.value()), &why),
    };
    message(rule, &scope, faults);
    if program.uses("oldSelf") {
        if let Some(place) = uncorrelated {
            let why = format!(
                "oldSelf cannot be used on the uncorrelatable portion of the schema within {place}"
            );
            faults.invalid(&text, &why);
        }
    } else if optional.is_set() {
        let why = "may not be set if oldSelf is not used in rule";
        faults.invalid(&optional, why);
    }
}

fn message(rule: &At<'_>, scope: &Scope, faults: &mut Faults) {
    let spoken = rule.get("messageExpression");
    if spoken.is_empty() {
        return;
    }
    let why = match Program::check(spoken.text(), scope) {
        Ok((_, found)) if found.is(&Type::String) => return,
        Ok(_) => "messageExpression must evaluate to a string".to_owned(),
        Err(why) => format!("messageExpression {why}"),
    };
    faults.invalid_shown(&spoken, &shown(rule.value()), &why);
}

/// A rule as Kubernetes shows it.
fn shown(rule: &Value) -> String {
    let text = |key: &str| Value::from(rule[key].as_str().unwrap_or_default());
    format!(
        r#"{{"Rule":{},"Message":{},"MessageExpression":{},"Reason":{},"FieldPath":{},"OptionalOldSelf":{}}}"#,
        text("rule"),
        text("message"),
        text("messageExpression"),
        rule["reason"],
        text("fieldPath"),
        rule["optionalOldSelf"]
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is told of a schema, each fault with its path below the schema.
    fn faults(schema: &Value) -> Vec<String> {
        let version_of = json!({"schema": {"openAPIV3Schema": schema}});
        let mut faults = Faults::default();
        version(&At::root(&version_of), &mut faults);
        let line = |fault: crate::registry::kind::FieldError| {
            let path = fault.field.replace("schema.openAPIV3Schema.", "");
            format!("{path}: {}", fault.message)
        };
        faults.into_list().into_iter().map(line).collect()
    }

    fn ruled(of: Value, rule: Value) -> Value {
        let mut of = of;
        of["x-kubernetes-validations"] = json!([rule]);
        of
    }

    #[test]
    fn a_rule_with_a_fault_is_told_with_its_place() {
        let number = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
        let told = faults(&ruled(number.clone(), json!({"rule": "self.b == 1"})));
        let rule = r#"{"Rule":"self.b == 1","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}"#;
        let why =
            "compilation failed: ERROR: <input>:1:5: undefined field 'b'\n | self.b == 1\n | ....^";
        assert_eq!(
            told,
            [format!("x-kubernetes-validations[0].rule: {rule}: {why}")]
        );
        let told = faults(&ruled(number.clone(), json!({"rule": "self.a"})));
        assert!(
            told[0].ends_with("}: cel expression must evaluate to a bool"),
            "{told:?}"
        );
        let spoken = |text: &str| {
            let rule = json!({"rule": "self.a > 1", "messageExpression": text});
            faults(&ruled(number.clone(), rule))
        };
        assert_eq!(spoken("'a is ' + string(self.a)"), Vec::<String>::new());
        let told = spoken("self.a");
        assert!(told[0].starts_with("x-kubernetes-validations[0].messageExpression: "));
        assert!(
            told[0].ends_with("}: messageExpression must evaluate to a string"),
            "{told:?}"
        );
        let told = spoken("'a' + self.a");
        assert!(
            told[0].contains("}: messageExpression compilation failed: ERROR: "),
            "{told:?}"
        );
    }

    #[test]
    fn old_values_are_looked_at_where_they_are_known_to_belong() {
        let text = ruled(
            json!({"type": "string"}),
            json!({"rule": "self == oldSelf"}),
        );
        let object = |more: Value| {
            let mut object = json!({"type": "object", "properties": {"a": text.clone()}});
            let members = object.as_object_mut().unwrap();
            members.extend(more.as_object().unwrap().clone());
            object
        };
        assert_eq!(faults(&object(json!({}))), Vec::<String>::new());
        let atomic = object(json!({"x-kubernetes-map-type": "atomic"}));
        let why = "properties[a].x-kubernetes-validations[0].rule: \"self == oldSelf\": oldSelf cannot \
            be used on the uncorrelatable portion of the schema within schema.openAPIV3Schema";
        assert_eq!(faults(&atomic), [why]);
        let list = |kind: &str| {
            let list = json!({"type": "array", "x-kubernetes-list-type": kind,
                "x-kubernetes-list-map-keys": ["a"], "items": object(json!({}))});
            json!({"type": "object", "properties": {"list": list}})
        };
        assert_eq!(faults(&list("map")), Vec::<String>::new());
        let told = faults(&list("set"));
        assert!(
            told[0].ends_with("within schema.openAPIV3Schema.properties[list]"),
            "{told:?}"
        );
        let map = json!({"type": "object", "additionalProperties": text});
        assert_eq!(faults(&map), Vec::<String>::new());
        let optional = |text: &str| json!({"rule": text, "optionalOldSelf": true});
        let of = json!({"type": "string"});
        let good = optional("oldSelf.orValue(self) == self");
        assert_eq!(faults(&ruled(of.clone(), good)), Vec::<String>::new());
        let told = faults(&ruled(of, optional("self != ''")));
        let why = "x-kubernetes-validations[0].optionalOldSelf: true: may not be set if oldSelf is not \
            used in rule";
        assert_eq!(told, [why]);
    }
}
