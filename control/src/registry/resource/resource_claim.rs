//! ResourceClaim: a wish for devices.

use serde_json::{Value, json};

use super::claim_spec;
use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, name, string};
use crate::registry::kind::Kind;
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, immutable};
use crate::registry::value::{child, list, present, put};

/// ResourceClaim of resource.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "resource.k8s.io",
    kind: "ResourceClaim",
    plural: "resourceclaims",
    singular: "resourceclaim",
    returned: true,
    status: true,
    inert: true,
    columns: &[NAME, string("State"), AGE],
    cells: |claim, now| vec![name(claim), state(claim).into(), age(claim, now)],
    default: |claim| {
        if let Some(spec) = child(claim, "spec") {
            claim_spec::set_defaults(spec);
        }
    },
    prepare: |new, old| {
        prepare::status(new, old);
        if old.is_none() {
            put(new, "status", Some(json!({})));
        }
    },
    validate: |new, old| {
        let mut faults = Faults::default();
        let spec = At::root(new).get("spec");
        claim_spec::validate(&spec, &mut faults);
        if let Some(old) = old {
            immutable(&spec, &At::root(old).get("spec"), &mut faults);
        }
        faults.into_list()
    },
    ..Kind::PLAIN
};

fn state(claim: &Value) -> String {
    let mut states = Vec::new();
    if present(claim, "/metadata/deletionTimestamp") {
        states.push("deleted");
    }
    let allocated = present(claim, "/status/allocation");
    match (allocated, list(claim, "/status/reservedFor").is_empty()) {
        (false, _) => states.push("pending"),
        (true, true) => states.push("allocated"),
        (true, false) => states.extend(["allocated", "reserved"]),
    }
    states.join(",")
}
