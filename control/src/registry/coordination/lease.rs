//! Lease: who holds something, and until when.

use serde_json::Value;

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, name, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::rules::{At, Faults, range};
use crate::registry::value::text;

/// Lease of coordination.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "coordination.k8s.io",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    columns: &[NAME, string("Holder"), AGE],
    cells: |lease, now| {
        vec![
            name(lease),
            text(lease, "/spec/holderIdentity").into(),
            age(lease, now),
        ]
    },
    validate,
    ..Kind::PLAIN
};

fn validate(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    range(
        &spec.get("leaseDurationSeconds"),
        1..=i64::from(i32::MAX),
        &mut faults,
    );
    range(
        &spec.get("leaseTransitions"),
        0..=i64::from(i32::MAX),
        &mut faults,
    );
    faults.into_list()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lease_lasts() {
        let lease = json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}});
        let faults = validate(&lease, None);
        assert_eq!(
            Faults::paths(&faults),
            ["spec.leaseDurationSeconds", "spec.leaseTransitions"]
        );
    }
}
