//! VolumeAttachment: the wish to have a volume on a node.

use serde_json::{Value, json};

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, boolean, name, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, immutable, required};
use crate::registry::value::{flag, put, text};

/// VolumeAttachment of storage.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "VolumeAttachment",
    plural: "volumeattachments",
    singular: "volumeattachment",
    namespaced: false,
    returned: true,
    status: true,
    inert: true,
    columns: &[
        NAME,
        string("Attacher"),
        string("PV"),
        string("Node"),
        boolean("Attached"),
        AGE,
    ],
    cells: |attachment, now| {
        vec![
            name(attachment),
            text(attachment, "/spec/attacher").into(),
            text(attachment, "/spec/source/persistentVolumeName").into(),
            text(attachment, "/spec/nodeName").into(),
            flag(attachment, "/status/attached").into(),
            age(attachment, now),
        ]
    },
    prepare: |new, old| {
        prepare::status(new, old);
        if old.is_none() {
            put(new, "status", Some(json!({"attached": false})));
        }
    },
    validate,
    ..Kind::PLAIN
};

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    required(&spec.get("attacher"), &mut faults);
    required(&spec.get("nodeName"), &mut faults);
    let source = spec.get("source");
    let sources = ["inlineVolumeSpec", "persistentVolumeName"];
    match sources
        .iter()
        .filter(|key| source.get(key).is_set())
        .count()
    {
        0 => faults.required(
            &source,
            "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
        ),
        1 => {}
        _ => faults.forbidden(
            &source,
            "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
        ),
    }
    if let Some(old) = old {
        immutable(&spec, &At::root(old).get("spec"), &mut faults);
    }
    faults.into_list()
}
