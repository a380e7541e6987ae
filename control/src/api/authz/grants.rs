//! The roles and bindings of the cluster, made ready for questions.
//!
//! The index is built when somebody asks and one of the four kinds has changed since; as long as none
//! has, a question costs a comparison of pointers and a walk over the bindings that matter.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use super::rbac::{Grant, binds};
use crate::api::authn::User;
use crate::api::server::Server;
use crate::api::value::{key, name, namespace, text};
use crate::store::Objects;

const GROUP: &str = "rbac.authorization.k8s.io";
const KINDS: [&str; 4] = [
    "clusterroles",
    "clusterrolebindings",
    "roles",
    "rolebindings",
];

/// The index of the last question, and what it was made of.
#[derive(Default)]
pub(in crate::api) struct Grants(Mutex<Option<(Vec<Objects>, Arc<Index>)>>);

/// Every binding with the rules of its role.
#[derive(Default)]
pub(in crate::api) struct Index {
    cluster: Vec<Bound>,
    namespaces: HashMap<String, Vec<Bound>>,
    roles: HashMap<String, Arc<[Grant]>>,
}

struct Bound {
    binding: Value,
    rules: Arc<[Grant]>,
}

impl Grants {
    /// The index as the objects are now.
    pub(in crate::api) fn index(&self, server: &Server) -> Arc<Index> {
        let now = KINDS.map(|plural| {
            let target = server.kinds.of(GROUP, plural);
            let objects = target.map(|target| server.store.snapshot(target.resource).objects);
            objects.unwrap_or_default()
        });
        let mut kept = self.0.lock();
        if let Some((made_of, index)) = &*kept
            && made_of
                .iter()
                .zip(&now)
                .all(|(one, other)| one.ptr_eq(other))
        {
            return index.clone();
        }
        let index = Arc::new(Index::of(&now));
        *kept = Some((now.to_vec(), index.clone()));
        index
    }
}

impl Index {
    fn of([cluster_roles, cluster_bindings, roles, bindings]: &[Objects; 4]) -> Index {
        let values = |objects: &Objects| -> Vec<Value> {
            objects.iter().map(|(_, object)| object.value()).collect()
        };
        let mut index = Index::default();
        for role in values(cluster_roles) {
            let rules = Grant::of_role(&role);
            index.roles.insert(name(&role).to_owned(), rules.into());
        }
        for role in values(roles) {
            let key = key(Some(namespace(&role)), name(&role));
            index.roles.insert(key, Grant::of_role(&role).into());
        }
        for binding in values(cluster_bindings) {
            let rules = index.rules_of(None, &binding);
            index.cluster.push(Bound { binding, rules });
        }
        for binding in values(bindings) {
            let place = namespace(&binding).to_owned();
            let rules = index.rules_of(Some(&place), &binding);
            let bound = Bound { binding, rules };
            index.namespaces.entry(place).or_default().push(bound);
        }
        index
    }

    /// The rules of the role that a binding in `place` refers to; none if there is no such role.
    pub(super) fn rules_of(&self, place: Option<&str>, binding: &Value) -> Arc<[Grant]> {
        let role = text(binding, "/roleRef/name");
        let key = match text(binding, "/roleRef/kind") {
            "Role" => key(place, role),
            _ => role.to_owned(),
        };
        self.roles.get(&key).cloned().unwrap_or_default()
    }

    /// Everything that is granted to a user in a namespace, or in the cluster as a whole.
    pub(in crate::api) fn of_user(&self, user: &User, place: Option<&str>) -> Vec<Grant> {
        let here = place.and_then(|place| self.namespaces.get(place));
        let all = self.cluster.iter().chain(here.into_iter().flatten());
        let bound = all.filter(|bound| binds(&bound.binding, user));
        bound
            .flat_map(|bound| bound.rules.iter().cloned())
            .collect()
    }
}
