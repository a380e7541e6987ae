//! ResourceSlice: devices that a driver offers.

use serde_json::Value;

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, name, string, unset};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, immutable, required, unique};
use crate::registry::value::text;

/// ResourceSlice of resource.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "resource.k8s.io",
    kind: "ResourceSlice",
    plural: "resourceslices",
    singular: "resourceslice",
    namespaced: false,
    inert: true,
    returned: true,
    columns: &[NAME, string("Node"), string("Driver"), string("Pool"), AGE],
    cells: |slice, now| {
        vec![
            name(slice),
            unset(text(slice, "/spec/nodeName")),
            text(slice, "/spec/driver").into(),
            text(slice, "/spec/pool/name").into(),
            age(slice, now),
        ]
    },
    prepare: prepare::generation,
    validate,
    fields: &[
        ("spec.nodeName", |slice| {
            text(slice, "/spec/nodeName").to_owned()
        }),
        ("spec.driver", |slice| {
            text(slice, "/spec/driver").to_owned()
        }),
    ],
    ..Kind::PLAIN
};

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    required(&spec.get("driver"), &mut faults);
    required(&spec.dig(&["pool", "name"]), &mut faults);
    let places = [
        "allNodes",
        "nodeName",
        "nodeSelector",
        "perDeviceNodeSelection",
    ];
    let there = places.iter().filter(|key| {
        let at = spec.get(key);
        !at.is_empty() && *at.value() != false
    });
    if there.count() != 1 {
        faults.required(&spec, "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required");
    }
    let devices = spec.get("devices");
    devices.each().for_each(|device| {
        required(&device.get("name"), &mut faults);
    });
    unique(devices.each().map(|device| device.get("name")), &mut faults);
    if let Some(old) = old {
        let before = At::root(old).get("spec");
        for key in ["driver", "nodeName"] {
            immutable(&spec.get(key), &before.get(key), &mut faults);
        }
        immutable(
            &spec.dig(&["pool", "name"]),
            &before.dig(&["pool", "name"]),
            &mut faults,
        );
    }
    faults.into_list()
}
