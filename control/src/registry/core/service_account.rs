//! ServiceAccount: an identity for the processes of pods.

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, integer, name};
use crate::registry::kind::Kind;
use crate::registry::value::list;

/// ServiceAccount of v1.
pub(in crate::registry) static KIND: Kind = Kind {
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    returned: true,
    columns: &[NAME, integer("Secrets"), AGE],
    cells: |account, now| {
        vec![
            name(account),
            list(account, "/secrets").len().into(),
            age(account, now),
        ]
    },
    ..Kind::PLAIN
};
