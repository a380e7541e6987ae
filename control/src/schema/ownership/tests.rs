use serde_json::{Value, json};

use super::*;

fn pod() -> Node<'static> {
    Node::of_kind("", "v1", "Pod")
}

fn two() -> Value {
    json!({"spec": {"containers": [
        {"name": "a", "image": "a:1", "args": ["x", "y"],
            "ports": [{"containerPort": 80}]},
        {"name": "b", "image": "b:1"}]},
        "metadata": {"labels": {"app": "x"}, "finalizers": ["a/b"]}})
}

#[test]
fn fields_are_told_as_the_schema_takes_them_apart() {
    let expected = json!({
        "f:metadata": {"f:labels": {"f:app": {}}, "f:finalizers": {"v:\"a/b\"": {}}},
        "f:spec": {"f:containers": {
            "k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:image": {}, "f:args": {},
                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":
                    {".": {}, "f:containerPort": {}}}},
            "k:{\"name\":\"b\"}": {".": {}, "f:name": {}, "f:image": {}}}}});
    let set = fields_of(pod(), &two());
    assert_eq!(set.to_value(), expected);
    assert_eq!(FieldSet::parse(&expected), Some(set));
    assert_eq!(FieldSet::parse(&json!({"x:y": {}})), None);
}

#[test]
fn differences_are_added_removed_and_modified() {
    let mut new = two();
    new["spec"]["containers"] = json!([{"name": "a", "image": "a:2", "args": ["x"],
        "ports": [{"containerPort": 80}]}, {"name": "c"}]);
    new["metadata"]["labels"] = json!({"app": "x", "new": "1"});
    let difference = compare(pod(), &two(), &new);
    assert_eq!(
        difference.added.paths(),
        [
            ".metadata.labels.new",
            ".spec.containers[name=\"c\"]",
            ".spec.containers[name=\"c\"].name"
        ]
    );
    assert_eq!(
        difference.modified.paths(),
        [
            ".spec.containers[name=\"a\"].args",
            ".spec.containers[name=\"a\"].image"
        ]
    );
    assert_eq!(
        difference.removed.paths(),
        [
            ".spec.containers[name=\"b\"]",
            ".spec.containers[name=\"b\"].image",
            ".spec.containers[name=\"b\"].name"
        ]
    );
    assert!(compare(pod(), &new, &new).is_empty());
}

#[test]
fn applied_elements_merge_by_key_and_keep_their_order() {
    let applied = json!({"spec": {"containers": [
        {"name": "n", "image": "n:1"}, {"name": "b", "image": "b:2"}]}});
    let merged = merge(pod(), &two(), &applied);
    let containers = merged["spec"]["containers"].as_array().unwrap();
    let images: Vec<_> = containers
        .iter()
        .map(|it| it["image"].as_str().unwrap())
        .collect();
    assert_eq!(images, ["a:1", "n:1", "b:2"]);
    assert_eq!(merged["metadata"], two()["metadata"]);
}

#[test]
fn what_only_the_object_has_comes_before_what_only_the_apply_has() {
    let order = |live: &[&str], applied: &[&str]| -> String {
        let of = |names: &[&str]| {
            let all: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
            json!({"spec": {"containers": all}})
        };
        let merged = merge(pod(), &of(live), &of(applied));
        let containers = merged["spec"]["containers"].as_array().unwrap().iter();
        containers.map(|it| it["name"].as_str().unwrap()).collect()
    };
    assert_eq!(order(&["a"], &["x"]), "ax");
    assert_eq!(order(&["a", "b", "c"], &["c", "x", "a"]), "bcxa");
    assert_eq!(order(&["a", "b"], &["x", "b", "y"]), "axby");
    assert_eq!(order(&["a", "b", "c"], &["c", "a"]), "bca");
}

#[test]
fn what_nobody_owns_any_more_goes() {
    let last = fields_of(pod(), &two());
    let applied = json!({"spec": {"containers": [{"name": "a", "image": "a:1"}]}});
    let other = FieldSet::parse(&json!({"f:metadata": {"f:labels": {"f:app": {}}}})).unwrap();
    let owned = fields_of(pod(), &applied).union(&other);
    let mut value = two();
    prune(pod(), &mut value, &last, &owned);
    assert_eq!(
        value,
        json!({"spec": {"containers": [{"name": "a", "image": "a:1"}]},
            "metadata": {"labels": {"app": "x"}}})
    );
}

#[test]
fn a_custom_schema_is_read_like_the_table() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "rules": {"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["id"], "items": {"type": "object",
                "properties": {"id": {"type": "string", "default": "main"}}}},
        "tags": {"type": "array", "items": {"type": "string"}},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic"}}}}});
    let value = json!({"spec": {"rules": [{"x": 1}], "tags": ["a"], "whole": {"a": 1}},
        "metadata": {"finalizers": ["f/g"]}});
    assert_eq!(
        fields_of(Node::custom(&schema), &value).paths(),
        [
            ".metadata.finalizers[=\"f/g\"]",
            ".spec.rules[id=\"main\"]",
            ".spec.rules[id=\"main\"].x",
            ".spec.tags",
            ".spec.whole"
        ]
    );
}

#[test]
fn what_is_written_at_once_is_what_a_comparison_with_nothing_gives() {
    let apart: &[&[&str]] = &[&["kind"], &["metadata", "name"], &["metadata", "uid"]];
    let nothing = json!({});
    let mut named = two();
    named["kind"] = "Pod".into();
    named["metadata"]["name"] = "x".into();
    let bare = json!({"kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": [],
        "nodeSelector": {}, "hostname": null}});
    let strange = json!({"metadata": 7, "spec": [1], "other": {"a": {"b": [1]}}});
    for object in [named, two(), bare, strange, json!({})] {
        let sets = compare(pod(), &nothing, &object).set();
        let expected = sets.without(apart).without_itself("metadata").to_value();
        let written = written(pod(), &object, apart);
        assert_eq!(Value::Object(written), expected, "{object}");
    }
}
