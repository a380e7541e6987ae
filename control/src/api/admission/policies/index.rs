//! The policies of one kind, where they hold.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::binding::Binding;
use super::policy::{Policy, Rules};
use crate::api::kinds::Kinds;
use crate::api::server::Server;
use crate::api::value::name;
use crate::store::{Objects, Resource};

/// Policies that do `R`, and where.
pub(super) struct Index<R> {
    policies: Option<Resource>,
    bindings: Option<Resource>,
    made: Mutex<Made<R>>,
}

/// What the policies and bindings of the last write were made of, and what was made.
type Made<R> = (Objects, Objects, Arc<[Arc<Bound<R>>]>);

/// A policy where it holds.
pub(in super::super) struct Bound<R> {
    pub(super) policy: Arc<Policy<R>>,
    pub(super) binding: Binding,
}

impl<R: Rules> Index<R> {
    pub(super) fn new(kinds: &Kinds, policies: &str, bindings: &str) -> Self {
        let group = "admissionregistration.k8s.io";
        let of = |plural: &str| -> Option<Resource> { Some(kinds.of(group, plural)?.resource) };
        Self {
            policies: of(policies),
            bindings: of(bindings),
            made: Mutex::new((Objects::new(), Objects::new(), Arc::default())),
        }
    }

    /// Whether no policy holds anywhere.
    pub(super) fn is_idle(&self, server: &Server) -> bool {
        objects(server, self.bindings).is_empty()
    }

    /// All of them, in the order of their names and then of their bindings' names.
    pub(super) fn bound(&self, server: &Server) -> Arc<[Arc<Bound<R>>]> {
        let policies = objects(server, self.policies);
        let bindings = objects(server, self.bindings);
        let mut made = self.made.lock();
        if !(made.0.ptr_eq(&policies) && made.1.ptr_eq(&bindings)) {
            let bound = bind(&policies, &bindings);
            *made = (policies, bindings, bound);
        }
        made.2.clone()
    }
}

fn objects(server: &Server, resource: Option<Resource>) -> Objects {
    let snapshot = resource.map(|it| server.store.snapshot(it).objects);
    snapshot.unwrap_or_default()
}

fn bind<R: Rules>(policies: &Objects, bindings: &Objects) -> Arc<[Arc<Bound<R>>]> {
    let compiled = policies.iter().map(|(_, policy)| policy.value());
    let compiled: HashMap<String, Arc<Policy<R>>> = compiled
        .map(|policy| (name(&policy).to_owned(), Arc::new(Policy::read(&policy))))
        .collect();
    let bound = bindings.iter().filter_map(|(_, binding)| {
        let binding = Binding::read(&binding.value());
        let policy = compiled.get(&binding.policy)?.clone();
        Some(Arc::new(Bound { policy, binding }))
    });
    let mut bound: Vec<_> = bound.collect();
    // Bindings come in the order of their names.
    bound.sort_by(|one, other| one.policy.name.cmp(&other.policy.name));
    bound.into()
}
