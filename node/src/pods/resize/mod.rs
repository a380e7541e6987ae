//! Pods that are resized while they run: what their containers want, were given and have.
//!
//! # Expected flow
//! A container *wants* what its spec says. The worker asks the node's [`ledger`] for it and is
//! *given* it, or nothing: then the pod goes on with what it was given before, and says why. What a
//! container that runs *has* is brought in line with what it was given: in place, or by a restart
//! where its policy asks for that. New containers start with what was given.
//!
//! # Caveats
//! Nothing of this is stored but in the pod's status: a daemon that starts anew takes from there what
//! was given, and asks the ledger again where the spec says otherwise. Whatever was lost on the way
//! is done twice, which changes nothing.

pub mod given;
pub mod job;
pub mod ledger;

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Container as ContainerSpec, ResourceRequirements};

use super::observed::{Container, RunState};
use super::plan::View;
use given::Given;
use ledger::Refusal;

/// How long a resize that was put off waits until it asks again.
pub const ASK_AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// A worker's memory of its pod's resizes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// What the containers were given, by name; nothing before the first look.
    pub given: Option<Given>,
    /// Why they were not given what they want.
    pub refused: Option<Refusal>,
    /// What the containers of the runtime have, by id.
    pub has: BTreeMap<String, ResourceRequirements>,
    /// What new containers start with, by name.
    pub starts: BTreeMap<String, ResourceRequirements>,
    /// What is on its way to a container, by id.
    pub sent: BTreeMap<String, ResourceRequirements>,
    /// Containers that were ended to start again with what they were given, by id.
    pub ended: BTreeSet<String>,
    /// Why the last change of a container failed, until one succeeds.
    pub failure: Option<String>,
}

/// What there is to do about a running container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is told to the runtime.
    InPlace,
    /// The container starts again.
    Restart,
}

/// The step that brings a container to what it was given; `None` where it has that.
pub fn step(view: View<'_>, spec: &ContainerSpec, newest: &Container) -> Option<Step> {
    let memory = &view.memory.resize;
    let given = memory.given.as_ref()?.get(&spec.name)?;
    let has = memory.has.get(&newest.id)?;
    if given == has {
        return None;
    }
    let policies = spec.resize_policy.iter().flatten();
    let mut restarting = policies.filter(|policy| policy.restart_policy == "RestartContainer");
    match restarting.any(|policy| differ(given, has, &policy.resource_name)) {
        true => Some(Step::Restart),
        false => Some(Step::InPlace),
    }
}

fn differ(one: &ResourceRequirements, other: &ResourceRequirements, resource: &str) -> bool {
    let amounts = |of: &ResourceRequirements| {
        [&of.requests, &of.limits].map(|list| {
            let amount = list.as_ref().and_then(|list| list.get(resource));
            amount.and_then(super::resources::milli)
        })
    };
    amounts(one) != amounts(other)
}

/// Whether some container does not have yet what it was given.
pub fn is_going_on(view: View<'_>) -> bool {
    let containers = super::plan::spec(view.pod).containers.iter();
    let init = super::plan::spec(view.pod).init_containers.iter().flatten();
    containers.chain(init).any(|container| {
        let newest = view.observed.newest(&container.name);
        let running = newest.filter(|c| matches!(c.state, RunState::Running { .. }));
        running.is_some_and(|newest| step(view, container, newest).is_some())
    })
}

/// The conditions that tell of a resize, in the words of the API: type, reason, message. Those that
/// are not among them do not hold and are not there.
pub fn conditions(view: View<'_>) -> Vec<(&'static str, &'static str, String)> {
    let memory = &view.memory.resize;
    let pending = memory.refused.as_ref().map(|refusal| {
        let (reason, message) = refusal.told();
        ("PodResizePending", reason, message)
    });
    let going_on = is_going_on(view).then(|| match &memory.failure {
        Some(failure) => ("PodResizeInProgress", "Error", failure.clone()),
        None => ("PodResizeInProgress", "", String::new()),
    });
    pending.into_iter().chain(going_on).collect()
}

#[cfg(test)]
mod tests;
