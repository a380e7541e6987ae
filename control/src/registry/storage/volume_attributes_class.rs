//! VolumeAttributesClass: settings of a volume that can change while it is used.

use serde_json::Value;

use super::storage_class::shown_name;
use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::rules::{At, Faults, immutable, required};
use crate::registry::value::text;

/// VolumeAttributesClass of storage.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "VolumeAttributesClass",
    plural: "volumeattributesclasses",
    singular: "volumeattributesclass",
    short_names: &["vac"],
    namespaced: false,
    inert: true,
    returned: true,
    columns: &[NAME, string("DriverName"), AGE],
    cells: |class, now| {
        vec![
            shown_name(
                class,
                "volumeattributesclass.kubernetes.io/is-default-class",
            )
            .into(),
            text(class, "/driverName").into(),
            age(class, now),
        ]
    },
    validate,
    ..Kind::PLAIN
};

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let root = At::root(new);
    required(&root.get("driverName"), &mut faults);
    required(&root.get("parameters"), &mut faults);
    if let Some(old) = old {
        for key in ["driverName", "parameters"] {
            immutable(&root.get(key), &At::root(old).get(key), &mut faults);
        }
    }
    faults.into_list()
}
