use serde_json::json;

use super::*;

fn schema() -> Value {
    json!({"type": "object", "description": "prose", "required": ["spec"], "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 9},
            "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
            "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
            "port": {"x-kubernetes-int-or-string": true},
            "when": {"type": "string", "format": "date-time", "nullable": true},
            "description": {"type": "string"},
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "one": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}}}}})
}

#[test]
fn prose_goes_and_properties_stay() {
    let small = compact(&schema());
    assert_eq!(small.get("description"), None);
    assert!(
        small["properties"]["spec"]["properties"]
            .get("description")
            .is_some()
    );
}

#[test]
fn what_the_schema_does_not_have_goes_and_defaults_come() {
    let mut object = json!({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n", "x": 1},
        "extra": 1, "spec": {"size": 1, "bad": 1, "name": null, "when": null,
            "free": {"any": {"thing": 1}}, "labels": {"a": "b"}}});
    assert_eq!(unknown(&schema(), &object), ["extra", "spec.bad"]);
    complete(&schema(), &mut object);
    let expected = json!({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n", "x": 1},
        "spec": {"size": 1, "color": "red", "when": null, "free": {"any": {"thing": 1}},
            "labels": {"a": "b"}}});
    assert_eq!(object, expected);
    assert_eq!(faults(&schema(), &object), []);
}

#[test]
fn every_fault_is_named_by_its_path() {
    let object = json!({"spec": {"size": 0, "color": "green", "name": "TOOLONG", "port": true,
        "when": "then", "tags": ["a", "a", 1], "labels": {"a": 1}, "one": {"a": "", "b": ""}}});
    let mut paths: Vec<_> = faults(&schema(), &object)
        .into_iter()
        .map(|fault| fault.field)
        .collect();
    paths.sort();
    assert_eq!(
        paths,
        [
            "spec.color",
            "spec.labels.a",
            "spec.name",
            "spec.name",
            "spec.one",
            "spec.port",
            "spec.size",
            "spec.tags[1]",
            "spec.tags[2]",
            "spec.when"
        ]
    );
    let missing = faults(&schema(), &json!({"spec": {}}));
    assert_eq!(missing[0].field, "spec.size");
}
