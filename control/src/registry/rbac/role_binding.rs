//! RoleBinding: who has a role in one namespace.

use super::binding;
use crate::registry::column::{AGE, NAME, string, wide};
use crate::registry::kind::{Kind, NameForm};

/// RoleBinding of rbac.authorization.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "rbac.authorization.k8s.io",
    kind: "RoleBinding",
    plural: "rolebindings",
    singular: "rolebinding",
    names: NameForm::PathSegment,
    columns: &[
        NAME,
        string("Role"),
        AGE,
        wide("Users"),
        wide("Groups"),
        wide("ServiceAccounts"),
    ],
    cells: binding::cells,
    default: binding::set_defaults,
    validate: |new, old| binding::validate(new, old, &["ClusterRole", "Role"]),
    ..Kind::PLAIN
};
