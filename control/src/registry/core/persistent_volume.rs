//! PersistentVolume: a piece of storage.

use serde_json::{Value, json};

use super::persistent_volume_claim::access_modes;
use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, name, string, unset, wide};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, dns_subdomain, one_of, required};
use crate::registry::value::{child, default_text, members, put, text};

/// PersistentVolume of v1.
pub(in crate::registry) static KIND: Kind = Kind {
    kind: "PersistentVolume",
    plural: "persistentvolumes",
    singular: "persistentvolume",
    short_names: &["pv"],
    namespaced: false,
    returned: true,
    status: true,
    inert: true,
    columns: &[
        NAME,
        string("Capacity"),
        string("Access Modes"),
        string("Reclaim Policy"),
        string("Status"),
        string("Claim"),
        string("StorageClass"),
        string("VolumeAttributesClass"),
        string("Reason"),
        AGE,
        wide("VolumeMode"),
    ],
    cells,
    default: |volume| {
        if let Some(spec) = child(volume, "spec") {
            default_text(spec, "persistentVolumeReclaimPolicy", "Retain");
            default_text(spec, "volumeMode", "Filesystem");
        }
    },
    prepare: |new, old| {
        prepare::status(new, old);
        if old.is_none() {
            put(new, "status", Some(json!({"phase": "Pending"})));
        }
    },
    validate,
    ..Kind::PLAIN
};

fn cells(volume: &Value, now: i64) -> Vec<Value> {
    let at = |pointer: &str| text(volume, pointer);
    let claim = match at("/spec/claimRef/name") {
        "" => String::new(),
        claim => format!("{}/{claim}", at("/spec/claimRef/namespace")),
    };
    let phase = match volume.pointer("/metadata/deletionTimestamp") {
        Some(_) => "Terminating",
        None => at("/status/phase"),
    };
    vec![
        name(volume),
        at("/spec/capacity/storage").into(),
        access_modes(volume, "/spec/accessModes").into(),
        at("/spec/persistentVolumeReclaimPolicy").into(),
        phase.into(),
        claim.into(),
        at("/spec/storageClassName").into(),
        unset(at("/spec/volumeAttributesClassName")),
        at("/status/reason").into(),
        age(volume, now),
        at("/spec/volumeMode").into(),
    ]
}

/// Members of the spec that are no source of a volume.
const NO_SOURCES: &[&str] = &[
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

fn sources(object: &Value) -> Vec<(&str, &Value)> {
    let all = members(object, "/spec");
    all.filter(|(key, value)| !NO_SOURCES.contains(key) && !value.is_null())
        .collect()
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    if required(&spec.get("accessModes"), &mut faults) {
        let modes = &[
            "ReadOnlyMany",
            "ReadWriteMany",
            "ReadWriteOnce",
            "ReadWriteOncePod",
        ];
        for mode in spec.get("accessModes").each() {
            one_of(&mode, modes, &mut faults);
        }
    }
    required(&spec.dig(&["capacity", "storage"]), &mut faults);
    let policies = &["Delete", "Recycle", "Retain"];
    one_of(
        &spec.get("persistentVolumeReclaimPolicy"),
        policies,
        &mut faults,
    );
    one_of(
        &spec.get("volumeMode"),
        &["Block", "Filesystem"],
        &mut faults,
    );
    dns_subdomain(&spec.get("storageClassName"), &mut faults);
    match sources(new).as_slice() {
        [] => faults.required(&spec, "must specify a volume type"),
        [_] => {}
        [_, more @ ..] => more.iter().for_each(|(key, _)| {
            faults.forbidden(&spec.get(key), "may not specify more than 1 volume type");
        }),
    }
    if let Some(old) = old.filter(|old| sources(old) != sources(new)) {
        let before = sources(old)
            .first()
            .map(|(key, _)| *key)
            .unwrap_or_default();
        faults.forbidden(
            &spec.get(before),
            "spec.persistentvolumesource is immutable after creation",
        );
    }
    faults.into_list()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_has_one_source_and_keeps_it() {
        let volume = |source: Value| {
            let mut volume = json!({"spec": {"accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "1Gi"}}});
            let members = source.as_object().expect("an object").clone();
            volume["spec"]
                .as_object_mut()
                .expect("a spec")
                .extend(members);
            volume
        };
        let (host, other) = (
            volume(json!({"hostPath": {"path": "/a"}})),
            volume(json!({"hostPath": {"path": "/b"}})),
        );
        assert_eq!(validate(&host, None), []);
        assert_eq!(Faults::paths(&validate(&volume(json!({})), None)), ["spec"]);
        assert_eq!(
            Faults::paths(&validate(&other, Some(&host))),
            ["spec.hostPath"]
        );
    }
}
