use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

#[test]
fn every_row_has_as_many_cells_as_columns() {
    for kind in KINDS {
        let cells = (kind.cells)(&json!({"metadata": {"name": "x"}}), 0);
        assert_eq!(cells.len(), kind.columns.len(), "{}", kind.kind);
        let name = kind
            .columns
            .iter()
            .position(|column| column.format == "name");
        assert_eq!(
            name.map(|index| &cells[index]),
            Some(&json!("x")),
            "{}",
            kind.kind
        );
    }
}

#[test]
fn hooks_take_any_json() {
    let odd = [
        json!(null),
        json!([]),
        json!("x"),
        json!({}),
        json!({"spec": 1, "metadata": []}),
    ];
    for kind in KINDS {
        for value in &odd {
            let mut object = value.clone();
            (kind.default)(&mut object);
            (kind.prepare)(&mut object, None);
            (kind.prepare)(&mut object, Some(value));
            (kind.validate)(&object, None);
            (kind.validate)(&object, Some(value));
            (kind.cells)(&object, 0);
            kind.fields.iter().for_each(|(_, read)| drop(read(&object)));
        }
    }
}

#[test]
fn defaulting_twice_changes_nothing() {
    for kind in KINDS {
        let mut once: Value = json!({"metadata": {"name": "x"}, "spec": {}});
        (kind.default)(&mut once);
        let mut twice = once.clone();
        (kind.default)(&mut twice);
        assert_eq!(once, twice, "{}", kind.kind);
    }
}

#[test]
fn names_are_unique() {
    let mut seen = BTreeSet::new();
    // Another version of a kind, or another form of it, has the names of the one that is stored.
    let stored = || KINDS.iter().filter(|kind| kind.stored_as.is_none());
    for kind in stored() {
        let first = seen.insert((kind.group, kind.plural));
        assert!(first, "{} twice", kind.plural);
        let mut names = kind.short_names.iter();
        assert!(names.all(|name| seen.insert(("", name))), "{}", kind.kind);
    }
    for kind in KINDS {
        assert!(by_kind(kind.group, kind.version, kind.kind).is_some());
        assert!(by_plural(kind.group, kind.version, kind.plural).is_some());
    }
}

#[test]
fn versions_of_a_kind_select_by_as_many_fields_and_translate_both_ways() {
    for kind in KINDS {
        let Some(other) = kind.stored_as else {
            continue;
        };
        assert_eq!(kind.labels().len(), other.kind.labels().len());
        assert_eq!(kind.columns.len(), other.kind.columns.len());
        let stored: Value = json!({"metadata": {"name": "x"}, "spec": {}});
        let mut object = stored.clone();
        (other.from_stored)(&mut object);
        (other.to_stored)(&mut object);
        let version = object["apiVersion"].as_str().unwrap_or_default();
        assert!(version.ends_with(other.kind.version), "{version}");
        assert_eq!(object["metadata"]["name"], "x");
    }
}
