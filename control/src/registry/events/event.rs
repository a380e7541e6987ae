//! Event of events.k8s.io/v1: the same objects as in the core group, under other names.

use serde_json::{Map, Value};

use crate::registry::core::event as core_event;
use crate::registry::kind::{Conversion, Kind};
use crate::registry::value::{put, text};

/// Event of events.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "events.k8s.io",
    stored_as: Some(Conversion {
        kind: &core_event::KIND,
        to_stored,
        from_stored,
    }),
    cells: |event, now| {
        let mut stored = event.clone();
        to_stored(&mut stored);
        (core_event::KIND.cells)(&stored, now)
    },
    fields: &[
        ("regarding.kind", |event| {
            text(event, "/involvedObject/kind").to_owned()
        }),
        ("regarding.namespace", |event| {
            text(event, "/involvedObject/namespace").to_owned()
        }),
        ("regarding.name", |event| {
            text(event, "/involvedObject/name").to_owned()
        }),
        ("regarding.uid", |event| {
            text(event, "/involvedObject/uid").to_owned()
        }),
        ("regarding.apiVersion", |event| {
            text(event, "/involvedObject/apiVersion").to_owned()
        }),
        ("regarding.resourceVersion", |event| {
            text(event, "/involvedObject/resourceVersion").to_owned()
        }),
        ("regarding.fieldPath", |event| {
            text(event, "/involvedObject/fieldPath").to_owned()
        }),
        ("reason", |event| text(event, "/reason").to_owned()),
        ("reportingController", |event| {
            text(event, "/reportingComponent").to_owned()
        }),
        ("source", |event| {
            text(event, "/source/component").to_owned()
        }),
        ("type", |event| text(event, "/type").to_owned()),
    ],
    default: |_| {},
    prepare: |_, _| {},
    validate: |_, _| Vec::new(),
    ..core_event::KIND
};

/// Members that are named otherwise in the core group: there, here.
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

fn to_stored(event: &mut Value) {
    put(event, "apiVersion", Some("v1".into()));
    rename(event, |(core, here)| (here, core));
}

fn from_stored(event: &mut Value) {
    put(event, "apiVersion", Some("events.k8s.io/v1".into()));
    rename(event, |pair| pair);
}

fn rename(
    event: &mut Value,
    direction: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) {
    let Some(members) = event.as_object_mut() else {
        return;
    };
    let move_one = |members: &mut Map<String, Value>, from: &str, to: &str| {
        if let Some(value) = members.remove(from) {
            members.insert(to.to_owned(), value);
        }
    };
    for (from, to) in NAMES.map(direction) {
        move_one(members, from, to);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_has_two_forms() {
        let stored = json!({"apiVersion": "v1", "message": "m", "count": 2,
            "involvedObject": {"kind": "Pod"}, "reason": "r"});
        let mut event = stored.clone();
        from_stored(&mut event);
        assert_eq!(
            event,
            json!({"apiVersion": "events.k8s.io/v1", "note": "m", "deprecatedCount": 2,
                "regarding": {"kind": "Pod"}, "reason": "r"})
        );
        to_stored(&mut event);
        assert_eq!(event, stored);
    }
}
