//! Objects as they are made, kept and shown.

use serde_json::json;

use super::*;

fn object() -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
        "metadata": {"name": "x", "resourceVersion": "1", "labels": {"b": "2", "a": "1"}}})
}

#[test]
fn the_revision_replaces_what_the_client_sent() {
    let object =
        Draft::new(&object(), &ResourceDef::default()).finish("n/x", 7, EventType::Added, None);
    let value = object.value();
    assert_eq!(value["metadata"]["resourceVersion"], "7");
    assert_eq!(value["data"]["a"], "b");
    assert_eq!(object.selectable.label("b"), Some("2"));
    assert_eq!(object.selectable.label("c"), None);
}

#[test]
fn the_metadata_is_a_part_of_the_text() {
    let def = ResourceDef::default();
    let mut leaving = object();
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    for (value, deleting) in [(object(), false), (leaving, true)] {
        let drafted = Draft::new(&value, &def).finish("n/x", 77, EventType::Modified, None);
        let loaded = Object::load("n/x", 77, drafted.text(), &def).unwrap();
        for object in [drafted, loaded] {
            let metadata: Value = serde_json::from_slice(object.metadata()).unwrap();
            assert_eq!(metadata, object.value()["metadata"]);
            assert_eq!(object.deleting, deleting);
        }
    }
    let bare = Object::load("x", 1, br#"{"kind":"X"}"#, &def).unwrap();
    assert!(bare.metadata().is_empty());
}

#[test]
fn a_bare_text_becomes_the_object_at_any_revision() {
    let def = ResourceDef::default();
    let draft = Draft::new(&object(), &def);
    let bare = draft.bare();
    let drafted = draft.finish("n/x", 123, EventType::Modified, None);
    let revised = Object::revised("n/x", 123, EventType::Modified, &bare, &def, Some(&drafted));
    let revised = revised.unwrap();
    assert_eq!(revised.json(), drafted.json());
    assert_eq!(revised.metadata(), drafted.metadata());
    assert!(Arc::ptr_eq(&revised.selectable, &drafted.selectable));
    let last = revised.last(4567);
    assert_eq!(last.value()["metadata"]["resourceVersion"], "4567");
    let metadata: Value = serde_json::from_slice(last.metadata()).unwrap();
    assert_eq!(metadata, last.value()["metadata"]);
    for foreign in [&br#"{"metadata":{"name":"x"}}"#[..], b"{}", b"{"] {
        assert!(Object::revised("x", 1, EventType::Added, foreign, &def, None).is_err());
    }
}

#[test]
fn a_line_is_one_event_of_the_asked_type() {
    let object =
        Draft::new(&object(), &ResourceDef::default()).finish("n/x", 7, EventType::Modified, None);
    for event in [EventType::Added, EventType::Modified, EventType::Deleted] {
        let line = object.line(event);
        let value: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["type"], event.name());
        assert_eq!(value["object"], object.value());
    }
}

#[test]
fn unchanged_selectables_are_shared() {
    let first =
        Draft::new(&object(), &ResourceDef::default()).finish("n/x", 7, EventType::Added, None);
    let second = Draft::new(&object(), &ResourceDef::default()).finish(
        "n/x",
        8,
        EventType::Modified,
        Some(&first),
    );
    assert!(Arc::ptr_eq(&first.selectable, &second.selectable));
}
