//! ClusterRoleBinding: who has a role everywhere.

use super::{binding, role_binding};
use crate::registry::kind::Kind;

/// ClusterRoleBinding of rbac.authorization.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    kind: "ClusterRoleBinding",
    plural: "clusterrolebindings",
    singular: "clusterrolebinding",
    namespaced: false,
    validate: |new, old| binding::validate(new, old, &["ClusterRole"]),
    ..role_binding::KIND
};
