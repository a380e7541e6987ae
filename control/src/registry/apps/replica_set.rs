//! ReplicaSet: a number of replicas of one pod.

use serde_json::Value;

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, integer, name, wide};
use crate::registry::kind::{FieldError, Kind, ScalePaths};
use crate::registry::pod_spec::{
    in_vain, template_defaults, template_selector, validate_template, wide_cells,
};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, immutable, non_negative};
use crate::registry::value::{child, default, int};

/// ReplicaSet of apps/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "apps",
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    status: true,
    scale: Some(ScalePaths {
        spec_replicas: "/spec/replicas",
        status_replicas: "/status/replicas",
        selector: "/spec/selector",
    }),
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
    prepare: prepare::status_and_generation,
    validate,
    warnings: |object| in_vain(&At::root(object).dig(&["spec", "template", "spec"])),
    fields: &[("status.replicas", |set| {
        int(set, "/status/replicas").unwrap_or(0).to_string()
    })],
    ..Kind::PLAIN
};

fn set_defaults(set: &mut Value) {
    if let Some(spec) = child(set, "spec") {
        default(spec, "replicas", 1);
        if let Some(template) = child(spec, "template") {
            template_defaults(template);
        }
    }
}

fn cells(set: &Value, now: i64) -> Vec<Value> {
    let count = |pointer: &str| int(set, pointer).unwrap_or(0).into();
    let mut cells = vec![
        name(set),
        count("/spec/replicas"),
        count("/status/replicas"),
        count("/status/readyReplicas"),
        age(set, now),
    ];
    cells.extend(wide_cells(set));
    cells
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    non_negative(&spec.get("replicas"), &mut faults);
    non_negative(&spec.get("minReadySeconds"), &mut faults);
    let selector = spec.get("selector");
    template_selector(&selector, &mut faults);
    validate_template(&spec.get("template"), &selector, &["Always"], &mut faults);
    if let Some(old) = old {
        immutable(
            &selector,
            &At::root(old).dig(&["spec", "selector"]),
            &mut faults,
        );
    }
    faults.into_list()
}
