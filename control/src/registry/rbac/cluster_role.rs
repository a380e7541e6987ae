//! ClusterRole: what may be done anywhere, or wherever it is bound.

use super::role::{self, rules};
use crate::registry::kind::Kind;
use crate::registry::rules::{At, Faults, selector};

/// ClusterRole of rbac.authorization.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    kind: "ClusterRole",
    plural: "clusterroles",
    singular: "clusterrole",
    namespaced: false,
    validate: |new, _| {
        let mut faults = Faults::default();
        rules(&At::root(new).get("rules"), false, &mut faults);
        let selectors = At::root(new).dig(&["aggregationRule", "clusterRoleSelectors"]);
        selectors.each().for_each(|one| selector(&one, &mut faults));
        faults.into_list()
    },
    ..role::KIND
};
