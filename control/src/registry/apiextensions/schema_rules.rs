//! Whether a version's schema is structural: types everywhere, and what the server cannot do named.

use super::field_path;
use crate::registry::rules::{At, Faults, one_of, required};

const REASONS: &[&str] = &[
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
];
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
    for rule in schema.get("x-kubernetes-validations").each() {
        validation(schema, &rule, faults);
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

/// A rule in CEL has its parts; what its expressions say is looked at elsewhere.
fn validation(schema: &At<'_>, rule: &At<'_>, faults: &mut Faults) {
    let part = |key: &str| rule.get(key);
    let blank = |at: &At<'_>| !at.is_empty() && at.text().trim().is_empty();
    let broken = |at: &At<'_>| at.text().trim().contains(['\n', '\r']);
    let (text, message) = (part("rule"), part("message"));
    if text.text().trim().is_empty() {
        faults.required(&text, "rule is not specified");
    } else if blank(&message) {
        faults.invalid(&message, "must be non-empty if specified");
    } else if broken(&message) {
        faults.invalid(&message, "must not contain line breaks");
    } else if broken(&text) && message.is_empty() {
        let why = "message must be specified if rule contains line breaks";
        faults.required(&message, why);
    }
    if blank(&part("messageExpression")) {
        let why = "messageExpression must be non-empty if specified";
        faults.required(&part("messageExpression"), why);
    }
    one_of(&part("reason"), REASONS, faults);
    let path = part("fieldPath");
    if blank(&path) {
        faults.invalid(&path, "must be non-empty if specified");
    }
    if path.text().contains(['\n', '\r']) {
        faults.invalid(&path, "must not contain line breaks");
    }
    if !path.is_empty() && !field_path::leads_somewhere(path.text(), schema.value()) {
        faults.invalid(&path, "must be a valid path");
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
