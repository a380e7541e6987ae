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
    for kind in KINDS {
        assert!(
            seen.insert((kind.group, kind.plural)),
            "{} twice",
            kind.plural
        );
        assert!(
            kind.short_names.iter().all(|name| seen.insert(("", name))),
            "{}",
            kind.kind
        );
        assert!(by_kind(kind.group, kind.version, kind.kind).is_some());
        assert!(by_plural(kind.group, kind.version, kind.plural).is_some());
    }
}
