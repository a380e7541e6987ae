//! Whether a version's schema is structural: types everywhere, and what the server cannot do named.

use serde_json::Value;

use crate::registry::rules::{At, Faults, one_of, required};
use crate::registry::value::{list, text};

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];

/// The rules of one version.
pub(super) fn version(version: &At<'_>, faults: &mut Faults) {
    let schema = version.dig(&["schema", "openAPIV3Schema"]);
    if !schema.is_set() {
        return faults.required(&schema, "schemas are required");
    }
    if schema.get("type").text() != "object" {
        if schema.get("type").is_set() {
            faults.invalid(&schema.get("type"), "must be object at the root");
        } else {
            faults.required(&schema.get("type"), "must not be empty at the root");
        }
    }
    below(&schema, faults);
    for column in version.get("additionalPrinterColumns").each() {
        required(&column.get("name"), faults);
        required(&column.get("jsonPath"), faults);
        let types = &["boolean", "date", "integer", "number", "string"];
        required(&column.get("type"), faults);
        one_of(&column.get("type"), types, faults);
    }
    for field in version.get("selectableFields").each() {
        let path = field.get("jsonPath");
        if !path.text().starts_with('.') {
            faults.invalid(&path, "must be a simple path that begins with '.'");
        }
    }
    let scale = version.dig(&["subresources", "scale"]);
    if scale.is_set() {
        for (key, root) in [
            ("specReplicasPath", ".spec."),
            ("statusReplicasPath", ".status."),
        ] {
            let path = scale.get(key);
            if required(&path, faults) && !path.text().starts_with(root) {
                faults.invalid(&path, &format!("should be a json path under {root}"));
            }
        }
    }
}

/// The rules of what stands below a schema.
fn below(schema: &At<'_>, faults: &mut Faults) {
    for (_, property) in schema.get("properties").entries() {
        value(&property, faults);
    }
    let additional = schema.get("additionalProperties");
    if additional.value().is_object() {
        if !schema.get("properties").is_empty() {
            faults.forbidden(
                &additional,
                "additionalProperties and properties are mutual exclusive",
            );
        }
        value(&additional, faults);
    }
    let items = schema.get("items");
    if items.is_set() {
        value(&items, faults);
    } else if schema.get("type").text() == "array" {
        faults.required(&items, "must be specified");
    }
    let keys = schema.get("x-kubernetes-list-map-keys");
    if schema.get("x-kubernetes-list-type").text() == "map" {
        required(&keys, faults);
    }
    if let Some(pattern) = schema.get("pattern").value().as_str()
        && let Err(error) = regex::Regex::new(pattern)
    {
        let error = error.to_string();
        let why = error.lines().last().unwrap_or_default();
        faults.invalid(
            &schema.get("pattern"),
            &format!("must be a valid regular expression: {why}"),
        );
    }
}

fn value(schema: &At<'_>, faults: &mut Faults) {
    let set = |name: &str| *schema.get(name).value() == true;
    let any = set("x-kubernetes-int-or-string") || set("x-kubernetes-preserve-unknown-fields");
    let kind = schema.get("type");
    if kind.is_set() {
        one_of(&kind, TYPES, faults);
    } else if !any {
        faults.required(&kind, "must not be empty for specified object fields");
    }
    below(schema, faults);
}

/// What a definition asks for and the server does not do.
pub(super) fn in_vain(definition: &Value) -> Vec<String> {
    let versions = list(definition, "/spec/versions").iter();
    let with_rules = versions.filter(|version| {
        let schema = version.pointer("/schema/openAPIV3Schema");
        schema.is_some_and(has_expressions)
    });
    with_rules
        .map(|version| {
            let name = text(version, "/name");
            format!("spec.versions[{name}].schema: x-kubernetes-validations are not evaluated yet")
        })
        .collect()
}

fn has_expressions(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            let own = members.get("x-kubernetes-validations");
            own.is_some_and(|rules| rules.as_array().is_some_and(|rules| !rules.is_empty()))
                || members.values().any(has_expressions)
        }
        Value::Array(items) => items.iter().any(has_expressions),
        _ => false,
    }
}
