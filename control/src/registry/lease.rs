//! Lease: who holds something, and until when.

use super::age::age;
use super::column::{AGE, NAME, name, string};
use super::kind::Kind;
use super::value::text;

/// Lease of coordination.k8s.io/v1.
pub(super) static KIND: Kind = Kind {
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
    ..Kind::PLAIN
};
