//! StorageClass: by which driver and with which settings volumes are made.

use serde_json::Value;

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, boolean, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::rules::{At, Faults, immutable, one_of, required};
use crate::registry::value::{default_text, flag, text};

/// StorageClass of storage.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "StorageClass",
    plural: "storageclasses",
    singular: "storageclass",
    short_names: &["sc"],
    namespaced: false,
    inert: true,
    returned: true,
    columns: &[
        NAME,
        string("Provisioner"),
        string("ReclaimPolicy"),
        string("VolumeBindingMode"),
        boolean("AllowVolumeExpansion"),
        AGE,
    ],
    cells: |class, now| {
        vec![
            shown_name(class, "storageclass.kubernetes.io/is-default-class").into(),
            text(class, "/provisioner").into(),
            text(class, "/reclaimPolicy").into(),
            text(class, "/volumeBindingMode").into(),
            flag(class, "/allowVolumeExpansion").into(),
            age(class, now),
        ]
    },
    default: |class| {
        default_text(class, "reclaimPolicy", "Delete");
        default_text(class, "volumeBindingMode", "Immediate");
    },
    validate,
    ..Kind::PLAIN
};

/// The name, marked where an annotation makes this the default.
pub(super) fn shown_name(class: &Value, annotation: &str) -> String {
    let annotations = class.pointer("/metadata/annotations");
    let default = annotations.and_then(|all| all.get(annotation)) == Some(&"true".into());
    let mark = if default { " (default)" } else { "" };
    format!("{}{mark}", text(class, "/metadata/name"))
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let root = At::root(new);
    required(&root.get("provisioner"), &mut faults);
    one_of(
        &root.get("reclaimPolicy"),
        &["Delete", "Retain"],
        &mut faults,
    );
    let modes = &["Immediate", "WaitForFirstConsumer"];
    one_of(&root.get("volumeBindingMode"), modes, &mut faults);
    if let Some(old) = old {
        let before = At::root(old);
        for key in [
            "parameters",
            "provisioner",
            "reclaimPolicy",
            "volumeBindingMode",
        ] {
            immutable(&root.get(key), &before.get(key), &mut faults);
        }
    }
    faults.into_list()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_class_keeps_its_driver_and_the_default_is_marked() {
        let class = json!({"metadata": {"name": "fast", "annotations":
            {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "a.io/b"});
        assert_eq!((KIND.cells)(&class, 0)[0], "fast (default)");
        let other = json!({"provisioner": "a.io/c", "reclaimPolicy": "Recycle"});
        assert_eq!(
            Faults::paths(&validate(&other, Some(&class))),
            ["reclaimPolicy", "provisioner", "reclaimPolicy"]
        );
    }
}
