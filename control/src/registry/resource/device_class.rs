//! DeviceClass: a sort of devices.

use crate::registry::kind::Kind;
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, required};

/// DeviceClass of resource.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "resource.k8s.io",
    kind: "DeviceClass",
    plural: "deviceclasses",
    singular: "deviceclass",
    namespaced: false,
    inert: true,
    prepare: prepare::generation,
    validate: |new, _| {
        let mut faults = Faults::default();
        for selector in At::root(new).dig(&["spec", "selectors"]).each() {
            required(&selector.dig(&["cel", "expression"]), &mut faults);
        }
        faults.into_list()
    },
    returned: true,
    ..Kind::PLAIN
};
