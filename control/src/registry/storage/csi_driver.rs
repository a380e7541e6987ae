//! CSIDriver: what a storage driver wants from the cluster.

use serde_json::{Value, json};

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, boolean, name, string, unset};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, immutable, one_of};
use crate::registry::value::{child, default, default_text, flag, list, text};

/// CSIDriver of storage.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "CSIDriver",
    plural: "csidrivers",
    singular: "csidriver",
    namespaced: false,
    inert: true,
    returned: true,
    columns: &[
        NAME,
        boolean("AttachRequired"),
        boolean("PodInfoOnMount"),
        boolean("StorageCapacity"),
        string("TokenRequests"),
        boolean("RequiresRepublish"),
        string("Modes"),
        AGE,
    ],
    cells,
    default: set_defaults,
    prepare: prepare::generation,
    validate,
    ..Kind::PLAIN
};

fn cells(driver: &Value, now: i64) -> Vec<Value> {
    let texts = |pointer: &str, key: &str| {
        let items = list(driver, pointer).iter();
        let texts = items.map(|item| {
            if key.is_empty() {
                item.as_str().unwrap_or_default()
            } else {
                text(item, key)
            }
        });
        texts.collect::<Vec<_>>().join(",")
    };
    vec![
        name(driver),
        flag(driver, "/spec/attachRequired").into(),
        flag(driver, "/spec/podInfoOnMount").into(),
        flag(driver, "/spec/storageCapacity").into(),
        unset(&texts("/spec/tokenRequests", "/audience")),
        flag(driver, "/spec/requiresRepublish").into(),
        texts("/spec/volumeLifecycleModes", "").into(),
        age(driver, now),
    ]
}

fn set_defaults(driver: &mut Value) {
    let Some(spec) = child(driver, "spec") else {
        return;
    };
    default(spec, "attachRequired", true);
    for key in [
        "podInfoOnMount",
        "storageCapacity",
        "requiresRepublish",
        "seLinuxMount",
    ] {
        default(spec, key, false);
    }
    default_text(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    default(spec, "volumeLifecycleModes", json!(["Persistent"]));
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let root = At::root(new);
    let name = root.dig(&["metadata", "name"]);
    if name.text().len() > 63 {
        faults.invalid(&name, "must be no more than 63 characters");
    }
    let spec = root.get("spec");
    for mode in spec.get("volumeLifecycleModes").each() {
        one_of(&mode, &["Ephemeral", "Persistent"], &mut faults);
    }
    let policies = &["File", "None", "ReadWriteOnceWithFSType"];
    one_of(&spec.get("fsGroupPolicy"), policies, &mut faults);
    if let Some(old) = old {
        let before = At::root(old).get("spec");
        for key in ["attachRequired", "volumeLifecycleModes"] {
            immutable(&spec.get(key), &before.get(key), &mut faults);
        }
    }
    faults.into_list()
}
