//! CSINode: the storage drivers of a node.

use serde_json::Value;

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, integer, name};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::rules::{At, Faults, range, required, unique};
use crate::registry::value::list;

/// CSINode of storage.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "CSINode",
    plural: "csinodes",
    singular: "csinode",
    namespaced: false,
    inert: true,
    returned: true,
    columns: &[NAME, integer("Drivers"), AGE],
    cells: |node, now| {
        let drivers = list(node, "/spec/drivers").len();
        vec![name(node), drivers.into(), age(node, now)]
    },
    validate,
    ..Kind::PLAIN
};

fn validate(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let drivers = At::root(new).dig(&["spec", "drivers"]);
    for driver in drivers.each() {
        required(&driver.get("name"), &mut faults);
        required(&driver.get("nodeID"), &mut faults);
        let count = driver.dig(&["allocatable", "count"]);
        range(&count, 0..=i64::from(i32::MAX), &mut faults);
    }
    unique(drivers.each().map(|driver| driver.get("name")), &mut faults);
    faults.into_list()
}
