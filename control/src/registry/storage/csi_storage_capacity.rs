//! CSIStorageCapacity: how much room a class has in a part of the cluster.

use serde_json::Value;

use crate::registry::column::{NAME, name, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::rules::{At, Faults, dns_subdomain, immutable, required, selector};
use crate::registry::value::text;

/// CSIStorageCapacity of storage.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "CSIStorageCapacity",
    plural: "csistoragecapacities",
    singular: "csistoragecapacity",
    inert: true,
    columns: &[NAME, string("StorageClassName"), string("Capacity")],
    cells: |capacity, _| {
        vec![
            name(capacity),
            text(capacity, "/storageClassName").into(),
            text(capacity, "/capacity").into(),
        ]
    },
    validate,
    ..Kind::PLAIN
};

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let root = At::root(new);
    required(&root.get("storageClassName"), &mut faults);
    dns_subdomain(&root.get("storageClassName"), &mut faults);
    selector(&root.get("nodeTopology"), &mut faults);
    if let Some(old) = old {
        for key in ["nodeTopology", "storageClassName"] {
            immutable(&root.get(key), &At::root(old).get(key), &mut faults);
        }
    }
    faults.into_list()
}
