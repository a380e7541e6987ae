//! ReplicationController: what ReplicaSet was before it had a selector of its own kind.

use serde_json::{Value, json};

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, integer, name, wide};
use crate::registry::kind::{FieldError, Kind, ScalePaths};
use crate::registry::pod_spec::{container_cells, template_defaults, validate_template};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, non_negative, required};
use crate::registry::selector::map_text;
use crate::registry::value::{child, default, int, put};

/// ReplicationController of v1.
pub(in crate::registry) static KIND: Kind = Kind {
    kind: "ReplicationController",
    plural: "replicationcontrollers",
    singular: "replicationcontroller",
    short_names: &["rc"],
    categories: &["all"],
    status: true,
    scale: Some(ScalePaths {
        spec_replicas: "/spec/replicas",
        status_replicas: "/status/replicas",
        selector: "/spec/selector",
    }),
    inert: true,
    columns: &[
        NAME,
        integer("Desired"),
        integer("Current"),
        integer("Ready"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells,
    default: set_defaults,
    prepare: |new, old| {
        prepare::status_and_generation(new, old);
        if old.is_none() {
            put(new, "status", Some(json!({"replicas": 0})));
        }
    },
    validate,
    fields: &[("status.replicas", |object| {
        int(object, "/status/replicas").unwrap_or(0).to_string()
    })],
    ..Kind::PLAIN
};

fn cells(object: &Value, now: i64) -> Vec<Value> {
    let count = |pointer: &str| int(object, pointer).unwrap_or(0).into();
    let [containers, images] = container_cells(object, "/spec/template/spec/containers");
    vec![
        name(object),
        count("/spec/replicas"),
        count("/status/replicas"),
        count("/status/readyReplicas"),
        age(object, now),
        containers,
        images,
        map_text(object.pointer("/spec/selector")).into(),
    ]
}

/// Without a selector the labels of the template are meant.
fn set_defaults(object: &mut Value) {
    let labels = object.pointer("/spec/template/metadata/labels").cloned();
    let Some(spec) = child(object, "spec") else {
        return;
    };
    default(spec, "replicas", 1);
    if let Some(labels) = labels {
        default(spec, "selector", labels);
    }
    if let Some(template) = child(spec, "template") {
        template_defaults(template);
    }
}

fn validate(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    non_negative(&spec.get("replicas"), &mut faults);
    non_negative(&spec.get("minReadySeconds"), &mut faults);
    let selector = spec.get("selector");
    required(&selector, &mut faults);
    let as_selector = json!({"matchLabels": selector.value()});
    let template = spec.get("template");
    validate_template(&template, &At::root(&as_selector), &["Always"], &mut faults);
    faults.into_list()
}
