//! ValidatingAdmissionPolicy: expressions that objects have to fulfil, where a binding says so.
//!
//! `policy` holds what a policy says, compiled; `binding` where it holds and with which parameters.
//! Both are compiled by the first write after one of them has changed. All that expressions of one
//! policy cost for one write comes from one budget.
//!
//! What it will not do: evaluate `authorizer`, which is refused where a policy is written, and audit
//! annotations, which nothing would record.

mod binding;
mod policy;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use self::binding::Binding;
use self::policy::{Failure, Policy};
use super::conditions::{shown, variables};
use super::webhooks::Write;
use crate::api::kinds::Kinds;
use crate::api::server::Server;
use crate::api::status::{Result, Status};
use crate::api::value::{called, name, namespace};
use crate::cel::{Budget, of_json};
use crate::store::{Objects, Resource};

/// The policies that hold somewhere.
pub(in crate::api) struct Policies {
    policies: Option<Resource>,
    bindings: Option<Resource>,
    made: Mutex<Made>,
}

/// What the policies and bindings of the last write were made of, and what was made.
type Made = (Objects, Objects, Arc<[Bound]>);

/// A policy where it holds.
#[derive(Clone)]
struct Bound {
    policy: Arc<Policy>,
    binding: Arc<Binding>,
}

impl Policies {
    /// No policies; those among `kinds` will be looked up.
    pub(in crate::api) fn new(kinds: &Kinds) -> Self {
        let group = "admissionregistration.k8s.io";
        let of = |plural: &str| -> Option<Resource> { Some(kinds.of(group, plural)?.resource) };
        Self {
            policies: of("validatingadmissionpolicies"),
            bindings: of("validatingadmissionpolicybindings"),
            made: Mutex::new((Objects::new(), Objects::new(), Arc::default())),
        }
    }

    fn objects(server: &Server, resource: Option<Resource>) -> Objects {
        let snapshot = resource.map(|it| server.store.snapshot(it).objects);
        snapshot.unwrap_or_default()
    }

    /// Whether no policy holds anywhere.
    pub(super) fn are_idle(&self, server: &Server) -> bool {
        Self::objects(server, self.bindings).is_empty()
    }

    fn bound(&self, server: &Server) -> Arc<[Bound]> {
        let policies = Self::objects(server, self.policies);
        let bindings = Self::objects(server, self.bindings);
        let mut made = self.made.lock();
        if !(made.0.ptr_eq(&policies) && made.1.ptr_eq(&bindings)) {
            let compiled = policies.iter().map(|(_, policy)| policy.value());
            let compiled: HashMap<String, Arc<Policy>> = compiled
                .map(|policy| (name(&policy).to_owned(), Arc::new(Policy::read(&policy))))
                .collect();
            let bound = bindings.iter().filter_map(|(_, binding)| {
                let binding = Binding::read(&binding.value());
                let policy = compiled.get(&binding.policy)?.clone();
                let binding = Arc::new(binding);
                Some(Bound { policy, binding })
            });
            let bound = bound.collect();
            *made = (policies, bindings, bound);
        }
        made.2.clone()
    }

    /// Checks an object that is to be stored, or with `new` absent deleted.
    ///
    /// # Errors
    /// What the first policy that denies it says.
    pub(super) async fn check(
        &self,
        write: Write<'_>,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<()> {
        for bound in self.bound(write.server).iter() {
            let failures = bound.failures(write, new, old).await?;
            bound.act(write, new.or(old).unwrap_or(&Value::Null), failures)?;
        }
        Ok(())
    }
}

impl Bound {
    /// What the policy has against a write; nothing if it is not its business.
    ///
    /// # Errors
    /// 500 if a webhook does not convert an object into a version that somebody wants to see.
    async fn failures(
        &self,
        write: Write<'_>,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<Vec<Failure>> {
        let (policy, binding) = (&self.policy, &self.binding);
        let Some(version) = policy.matching.version(write, new, old) else {
            return Ok(Vec::new());
        };
        if !binding.matching.narrows(write, new, old) {
            return Ok(Vec::new());
        }
        let object = new.or(old).unwrap_or(&Value::Null);
        let parameters = match binding.parameters(write.server, policy, object).await {
            Ok(parameters) => parameters,
            Err(why) => return Ok(policy.failed(why).into_iter().collect()),
        };
        let (new, old) = (
            shown(write, version, new).await?,
            shown(write, version, old).await?,
        );
        let mut seen = variables(write, version, new.as_deref(), old.as_deref());
        let place = write.target.kind.namespaced.then(|| namespace(object));
        let place = place.and_then(|place| write.server.stored("namespaces", None, place));
        seen.push((
            "namespaceObject".to_owned(),
            of_json(&place.unwrap_or_default()),
        ));
        let mut budget = Budget::default();
        let with = |parameter: Option<Value>| {
            let mut seen = seen.clone();
            seen.push(("params".to_owned(), of_json(&parameter.unwrap_or_default())));
            policy.check(seen, &mut budget)
        };
        Ok(parameters.into_iter().flat_map(with).collect())
    }

    /// Does what the binding wants done about failures.
    fn act(&self, write: Write<'_>, object: &Value, failures: Vec<Failure>) -> Result<()> {
        let (policy, binding) = (&self.policy.name, &self.binding.name);
        let what = format!("ValidatingAdmissionPolicy '{policy}' with binding '{binding}'");
        for failure in failures {
            let message = failure.message;
            if self.binding.warns {
                let warning = format!("Validation failed for {what}: {message}");
                write.request.warn(warning);
            }
            if self.binding.denies {
                let why = format!("{what} denied request: {message}");
                let mut status = Status::forbidden_object(write.target.kind, called(object), &why);
                (status.code, status.reason) = failure.reason;
                return Err(status);
            }
        }
        Ok(())
    }
}
