//! RuntimeClass: by which handler of the container runtime a pod runs.

use serde_json::Value;

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, name, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::rules::{At, Faults, dns_label, immutable, required};
use crate::registry::value::text;

/// RuntimeClass of node.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "node.k8s.io",
    kind: "RuntimeClass",
    plural: "runtimeclasses",
    singular: "runtimeclass",
    namespaced: false,
    inert: true,
    columns: &[NAME, string("Handler"), AGE],
    cells: |class, now| {
        let handler = text(class, "/handler").into();
        vec![name(class), handler, age(class, now)]
    },
    validate,
    ..Kind::PLAIN
};

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let handler = At::root(new).get("handler");
    required(&handler, &mut faults);
    dns_label(&handler, &mut faults);
    if let Some(old) = old {
        immutable(&handler, &At::root(old).get("handler"), &mut faults);
    }
    faults.into_list()
}
