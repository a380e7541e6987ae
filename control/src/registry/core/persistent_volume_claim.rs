//! PersistentVolumeClaim: a wish for storage.

use serde_json::{Value, json};

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, name, string, unset, wide};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, dns_subdomain, one_of, required, selector};
use crate::registry::value::{child, default_text, list, put, text};

/// PersistentVolumeClaim of v1.
pub(in crate::registry) static KIND: Kind = Kind {
    kind: "PersistentVolumeClaim",
    plural: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    short_names: &["pvc"],
    returned: true,
    status: true,
    inert: true,
    columns: &[
        NAME,
        string("Status"),
        string("Volume"),
        string("Capacity"),
        string("Access Modes"),
        string("StorageClass"),
        string("VolumeAttributesClass"),
        AGE,
        wide("VolumeMode"),
    ],
    cells,
    default: |claim| {
        if let Some(spec) = child(claim, "spec") {
            spec_defaults(spec);
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

/// Defaults of a claim's spec, which templates of claims have, too.
pub(in crate::registry) fn spec_defaults(spec: &mut Value) {
    default_text(spec, "volumeMode", "Filesystem");
}

/// `RWO,ROX`, as kubectl abbreviates access modes.
pub(super) fn access_modes(object: &Value, pointer: &str) -> String {
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let modes = list(object, pointer);
    let there = short
        .iter()
        .filter(|(mode, _)| modes.iter().any(|have| have == mode));
    there.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

fn cells(claim: &Value, now: i64) -> Vec<Value> {
    let at = |pointer: &str| text(claim, pointer);
    let phase = match claim.pointer("/metadata/deletionTimestamp") {
        Some(_) => "Terminating",
        None => at("/status/phase"),
    };
    let bound = !at("/spec/volumeName").is_empty();
    let if_bound = |text: String| if bound { text } else { String::new() };
    vec![
        name(claim),
        phase.into(),
        at("/spec/volumeName").into(),
        if_bound(at("/status/capacity/storage").to_owned()).into(),
        if_bound(access_modes(claim, "/status/accessModes")).into(),
        at("/spec/storageClassName").into(),
        unset(at("/spec/volumeAttributesClassName")),
        age(claim, now),
        at("/spec/volumeMode").into(),
    ]
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    claim_spec(&spec, &mut faults);
    if let Some(old) = old {
        let before = At::root(old).get("spec");
        for key in ["accessModes", "selector", "storageClassName", "volumeMode"] {
            let was_unset = key == "storageClassName" && !before.get(key).is_set();
            if !was_unset && spec.get(key).value() != before.get(key).value() {
                let why = "spec is immutable after creation except resources.requests and \
                    volumeAttributesClassName for bound claims";
                faults.forbidden(&spec, why);
                break;
            }
        }
        let (volume, had) = (spec.get("volumeName"), before.get("volumeName"));
        if !had.is_empty() && volume.value() != had.value() {
            faults.invalid(&volume, "field is immutable");
        }
    }
    faults.into_list()
}

/// A claim's spec, also in templates.
pub(in crate::registry) fn claim_spec(spec: &At<'_>, faults: &mut Faults) {
    if required(&spec.get("accessModes"), faults) {
        let modes = &[
            "ReadOnlyMany",
            "ReadWriteMany",
            "ReadWriteOnce",
            "ReadWriteOncePod",
        ];
        for mode in spec.get("accessModes").each() {
            one_of(&mode, modes, faults);
        }
    }
    selector(&spec.get("selector"), faults);
    required(&spec.dig(&["resources", "requests", "storage"]), faults);
    dns_subdomain(&spec.get("storageClassName"), faults);
    one_of(&spec.get("volumeMode"), &["Block", "Filesystem"], faults);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_says_how_much_and_how() {
        assert_eq!(
            Faults::paths(&validate(&json!({"spec": {}}), None)),
            ["spec.accessModes", "spec.resources.requests.storage"]
        );
        let claim = json!({"spec": {"accessModes": ["ReadWriteOncePod", "ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}});
        assert_eq!(validate(&claim, None), []);
        assert_eq!(access_modes(&claim, "/spec/accessModes"), "RWO,RWOP");
        let mut other = claim.clone();
        other["spec"]["accessModes"] = json!(["ReadWriteMany"]);
        assert_eq!(Faults::paths(&validate(&other, Some(&claim))), ["spec"]);
    }
}
