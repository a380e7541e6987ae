//! ServiceAccount: an identity for the processes of pods.

use super::age::age;
use super::column::{AGE, NAME, integer, name};
use super::kind::Kind;
use super::value::list;

/// ServiceAccount of v1.
pub(super) static KIND: Kind = Kind {
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    columns: &[NAME, integer("Secrets"), AGE],
    default: |object| KIND.complete(object, |_| {}),
    cells: |account, now| {
        vec![
            name(account),
            list(account, "/secrets").len().into(),
            age(account, now),
        ]
    },
    ..Kind::PLAIN
};
