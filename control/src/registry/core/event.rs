//! Event: something that happened to an object.

use serde_json::Value;

use crate::registry::age::since;
use crate::registry::column::{NAME, name, string, wide};
use crate::registry::kind::{Column, FieldError, Kind};
use crate::registry::rules::{At, Faults};
use crate::registry::value::{int, text};

/// Event of v1.
pub(in crate::registry) static KIND: Kind = Kind {
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    columns: &[
        string("Last Seen"),
        string("Type"),
        string("Reason"),
        string("Object"),
        wide("Subobject"),
        wide("Source"),
        string("Message"),
        wide("First Seen"),
        wide("Count"),
        Column {
            priority: 1,
            ..NAME
        },
    ],
    cells,
    validate,
    fields: &[
        ("involvedObject.kind", |event| {
            text(event, "/involvedObject/kind").to_owned()
        }),
        ("involvedObject.namespace", |event| {
            text(event, "/involvedObject/namespace").to_owned()
        }),
        ("involvedObject.name", |event| {
            text(event, "/involvedObject/name").to_owned()
        }),
        ("involvedObject.uid", |event| {
            text(event, "/involvedObject/uid").to_owned()
        }),
        ("involvedObject.apiVersion", |event| {
            text(event, "/involvedObject/apiVersion").to_owned()
        }),
        ("involvedObject.resourceVersion", |event| {
            text(event, "/involvedObject/resourceVersion").to_owned()
        }),
        ("involvedObject.fieldPath", |event| {
            text(event, "/involvedObject/fieldPath").to_owned()
        }),
        ("reason", |event| text(event, "/reason").to_owned()),
        ("reportingComponent", |event| component(event).to_owned()),
        ("source", |event| component(event).to_owned()),
        ("type", |event| text(event, "/type").to_owned()),
    ],
    ..Kind::PLAIN
};

/// Who reported, in either of the two fields that have existed for it.
fn component(event: &Value) -> &str {
    match text(event, "/source/component") {
        "" => text(event, "/reportingComponent"),
        component => component,
    }
}

fn cells(event: &Value, now: i64) -> Vec<Value> {
    vec![
        seen(event, now, "lastTimestamp").into(),
        text(event, "/type").into(),
        text(event, "/reason").into(),
        object(event).into(),
        text(event, "/involvedObject/fieldPath").into(),
        source(event).into(),
        text(event, "/message").trim().into(),
        seen(event, now, "firstTimestamp").into(),
        count(event).to_string().into(),
        name(event),
    ]
}

/// The time since `field`, or since the newer `eventTime` or series where that is not set.
fn seen(event: &Value, now: i64, field: &str) -> String {
    let candidates = match field {
        "lastTimestamp" => ["/series/lastObservedTime", "/lastTimestamp", "/eventTime"],
        _ => ["/firstTimestamp", "/eventTime", "/firstTimestamp"],
    };
    let stamp = candidates
        .iter()
        .map(|pointer| text(event, pointer))
        .find(|stamp| !stamp.is_empty());
    since(stamp.unwrap_or_default(), now)
}

fn object(event: &Value) -> String {
    let kind = text(event, "/involvedObject/kind").to_lowercase();
    match text(event, "/involvedObject/name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn source(event: &Value) -> String {
    let host = match text(event, "/source/host") {
        "" => text(event, "/reportingInstance"),
        host => host,
    };
    match host {
        "" => component(event).to_owned(),
        host => format!("{}, {host}", component(event)),
    }
}

fn count(event: &Value) -> i64 {
    let count = int(event, "/series/count").or_else(|| int(event, "/count"));
    count.filter(|count| *count > 0).unwrap_or(1)
}

/// An event lives in the namespace of its object, or in `default` if that has none.
fn validate(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let namespace = At::root(new).dig(&["involvedObject", "namespace"]);
    let own = text(new, "/metadata/namespace");
    let fits = match namespace.text() {
        "" => own == "default" || own == "kube-system" || own.is_empty(),
        namespace => namespace == own,
    };
    if !fits {
        faults.invalid(&namespace, "does not match event.namespace");
    }
    faults.into_list()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_row_tells_what_happened_when() {
        let event = json!({
            "metadata": {"name": "e", "namespace": "shop"},
            "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{a}"},
            "reason": "Started", "message": "Started container a\n", "type": "Normal",
            "source": {"component": "kubelet", "host": "node1"},
            "firstTimestamp": "1970-01-01T00:00:00Z", "lastTimestamp": "1970-01-01T00:01:00Z",
            "count": 3,
        });
        let expected = json!([
            "30s",
            "Normal",
            "Started",
            "pod/web",
            "spec.containers{a}",
            "kubelet, node1",
            "Started container a",
            "90s",
            "3",
            "e"
        ]);
        assert_eq!(Value::from(cells(&event, 90)), expected);
    }

    #[test]
    fn events_live_where_their_object_lives() {
        let event = |own: &str, object: &str| {
            let event =
                json!({"metadata": {"namespace": own}, "involvedObject": {"namespace": object}});
            validate(&event, None).len()
        };
        assert_eq!(
            (event("a", "a"), event("default", ""), event("a", "b")),
            (0, 0, 1)
        );
    }
}
