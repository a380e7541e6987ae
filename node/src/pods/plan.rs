//! The next steps of a pod: pure, from the API's object, the runtime's state and the memory.
//!
//! # Expected flow
//! `Syncing → Ending → Clearing → Removing → Gone` for a deleted pod; a pod whose containers have
//! all finished, or whose time is up, goes `Syncing → Ending → Clearing → Resting` and from there to `Clearing` once it
//! is deleted. No state is stored anywhere: a daemon that starts anew enters at `Syncing` and
//! walks on from what it observes.
//!
//! # Guarantees
//! A plan may be applied twice without harm; actions that are under way are not planned again.
//! A container is started only in a ready sandbox with its volumes in place, in the spec's order.
//!
//! # Caveats
//! Containers are matched by name and by nothing else: a spec whose image changes in place takes
//! effect at the container's next restart.

mod leave;
mod sync;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod, PodSpec};

use super::memory::{Memory, Volumes};
use super::observed::{Container, Observed};

pub use sync::{crash_wait, is_started, start_wait};

/// Seconds between the stop signal and SIGKILL when the pod doesn't say.
pub const DEFAULT_GRACE: i64 = 30;

/// One thing to do for a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Make the pod's directory, volumes and their contents.
    PrepareVolumes,
    /// Run a sandbox.
    CreateSandbox {
        /// 0 for the first.
        attempt: u32,
    },
    /// Stop a sandbox and whatever runs in it.
    StopSandbox {
        /// The runtime's id.
        id: String,
    },
    /// Remove a stopped sandbox and its containers.
    RemoveSandbox {
        /// The runtime's id.
        id: String,
    },
    /// Pull, create, start, and run the postStart hook.
    Start {
        /// Name in the spec.
        container: String,
        /// Restart count of the new attempt.
        attempt: u32,
        /// Sandbox to start in.
        sandbox: String,
    },
    /// Run the preStop hook, then end a container.
    Stop {
        /// The runtime's id.
        id: String,
        /// Name in the spec.
        container: String,
        /// Time for hook and stop signal before SIGKILL.
        grace: Duration,
        /// Why, for the event.
        reason: StopReason,
    },
    /// Tell the runtime what a running container may use now.
    Resize {
        /// The runtime's id.
        id: String,
        /// Name in the spec.
        container: String,
    },
    /// Forget an ended container.
    RemoveContainer {
        /// The runtime's id.
        id: String,
    },
    /// Unmount volumes; keep nothing but logs.
    ReleaseVolumes,
    /// Remove directory, logs and cgroups.
    Cleanup,
    /// Delete the API object for good.
    DeleteObject,
}

/// Why a container is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopReason {
    /// The pod is deleted or has finished.
    PodEnds,
    /// The liveness probe failed.
    Liveness,
    /// The start-up probe failed.
    Startup,
    /// Its sandbox died or the runtime lost track of it.
    Lost,
    /// It is to start again with other resources.
    Resized,
}

/// Where a pod stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// Volumes, sandbox and containers are brought up and kept up.
    Syncing,
    /// Containers are being ended.
    Ending,
    /// No container runs; sandboxes and mounts go.
    Clearing,
    /// Finished, not deleted: ended containers and logs stay readable.
    Resting,
    /// Deleted: sandboxes, directories and cgroups go.
    Removing,
    /// Nothing is left on this node; the API object goes.
    Gone,
}

/// Everything a plan depends on.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The API's object, or what was last known of it.
    pub pod: &'a Pod,
    /// The runtime's state.
    pub observed: &'a Observed,
    /// The worker's memory.
    pub memory: &'a Memory,
    /// Now.
    pub now: Timestamp,
}

/// What to do now and when to look again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In order; those already under way are left out.
    pub actions: Vec<Action>,
    /// When something will be due without any news; `None` for never.
    pub wake: Option<Timestamp>,
    /// Containers that wait for their crash back-off.
    pub crash_waits: BTreeMap<String, Timestamp>,
}

impl Plan {
    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

impl Lifecycle {
    /// The state after looking at the pod once, and what to do in it.
    pub fn step(self, view: View<'_>) -> (Self, Plan) {
        let next = self.advance(view);
        let mut plan = next.plan(view);
        plan.actions
            .retain(|action| !is_under_way(view.memory, action));
        (next, plan)
    }

    fn advance(self, view: View<'_>) -> Self {
        let deleted = is_deleted(view.pod);
        match self {
            Self::Syncing if deleted || has_finished(view) || is_overdue(view) => {
                Self::Ending.advance(view)
            }
            Self::Ending if !anything_lives(view) => Self::Clearing.advance(view),
            Self::Clearing if is_cleared(view) && deleted => Self::Removing.advance(view),
            Self::Clearing if is_cleared(view) => Self::Resting,
            Self::Resting if deleted => Self::Clearing.advance(view),
            Self::Removing if is_removed(view) => Self::Gone,
            unchanged => unchanged,
        }
    }

    fn plan(self, view: View<'_>) -> Plan {
        match self {
            Self::Syncing => {
                let mut plan = sync::sync(view);
                deadline(view.pod)
                    .into_iter()
                    .for_each(|at| plan.wake_at(at));
                plan
            }
            Self::Ending => leave::end(view),
            Self::Clearing => leave::clear(view),
            Self::Resting => Plan::default(),
            Self::Removing => leave::remove(view),
            Self::Gone => retried(view, Action::DeleteObject),
        }
    }
}

/// Stops of one container differ by grace: a shorter one may overtake a longer one.
fn is_under_way(memory: &Memory, action: &Action) -> bool {
    match action {
        Action::Stop { id, grace, .. } => memory.running.iter().any(|running| {
            matches!(running, Action::Stop { id: other, grace: longer, .. } if other == id && longer <= grace)
        }),
        other => memory.running.contains(other),
    }
}

/// The pod's spec; an object without one (a pod that only the runtime knows) has no containers.
pub fn spec(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
    pod.spec.as_ref().unwrap_or(&EMPTY)
}

/// The pod is to go.
pub fn is_deleted(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// An init container that keeps running beside the others.
pub fn is_sidecar(container: &ContainerSpec) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// `Always`, `OnFailure` or `Never`.
pub fn restart_policy(pod: &Pod) -> &str {
    spec(pod).restart_policy.as_deref().unwrap_or("Always")
}

/// Time between the stop signal and SIGKILL: the deletion's, else the pod's, else 30 s.
pub fn grace(pod: &Pod) -> Duration {
    let seconds = pod
        .metadata
        .deletion_grace_period_seconds
        .or(spec(pod).termination_grace_period_seconds)
        .unwrap_or(DEFAULT_GRACE);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn restarts(policy: &str, code: i32) -> bool {
    match policy {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    }
}

/// When the pod must have ended, counted from its start as the API was told it.
fn deadline(pod: &Pod) -> Option<Timestamp> {
    let seconds = spec(pod).active_deadline_seconds?;
    let start = pod.status.as_ref()?.start_time.as_ref()?.0;
    start.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// The pod has been on its node for longer than its `activeDeadlineSeconds`.
pub fn is_overdue(view: View<'_>) -> bool {
    deadline(view.pod).is_some_and(|at| at <= view.now)
}

/// Every container has ended and none will start again, or initialisation has failed for good.
pub fn has_finished(view: View<'_>) -> bool {
    if has_terminal_phase(view.pod) {
        return true;
    }
    let policy = restart_policy(view.pod);
    let finished = |container: &ContainerSpec| {
        !view.memory.is_starting(&container.name)
            && view
                .observed
                .newest(&container.name)
                .filter(|newest| !view.memory.resize.ended.contains(&newest.id))
                .and_then(Container::exit)
                .is_some_and(|exit| !restarts(policy, exit.code))
    };
    let containers = &spec(view.pod).containers;
    let all = !containers.is_empty() && containers.iter().all(finished);
    all || (policy == "Never" && init_failed(view))
}

/// What the API was once told to be the end stays the end, even if the runtime has lost it all.
pub fn has_terminal_phase(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn init_failed(view: View<'_>) -> bool {
    spec(view.pod)
        .init_containers
        .iter()
        .flatten()
        .filter(|init| !is_sidecar(init))
        .any(|init| {
            view.observed
                .newest(&init.name)
                .and_then(Container::exit)
                .is_some_and(|exit| exit.code != 0)
        })
}

fn anything_lives(view: View<'_>) -> bool {
    view.observed.containers.iter().any(Container::is_live)
        || view.memory.is_any_starting()
        || view.memory.is_creating_sandbox()
}

fn is_cleared(view: View<'_>) -> bool {
    view.observed.sandboxes.iter().all(|sandbox| !sandbox.ready)
        && view.memory.volumes == Volumes::Stale
        && view.memory.running.is_empty()
}

fn is_removed(view: View<'_>) -> bool {
    view.observed.sandboxes.is_empty()
        && view.observed.containers.is_empty()
        && view
            .memory
            .retries
            .get("Cleanup")
            .is_some_and(|done| done.failed_at.is_none())
}

impl Plan {
    fn merge(&mut self, other: Self) {
        self.actions.extend(other.actions);
        if let Some(at) = other.wake {
            self.wake_at(at);
        }
    }
}

/// The action, or the moment at which it may be tried again.
fn retried(view: View<'_>, action: Action) -> Plan {
    let wait = view
        .memory
        .retries
        .get(action.name())
        .and_then(|retry| retry.until(view.now));
    match wait {
        Some(at) => Plan {
            wake: Some(at),
            ..Plan::default()
        },
        None => Plan {
            actions: vec![action],
            ..Plan::default()
        },
    }
}

impl Action {
    /// The action's kind, the key under which failures are remembered.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PrepareVolumes => "PrepareVolumes",
            Self::CreateSandbox { .. } => "CreateSandbox",
            Self::StopSandbox { .. } => "StopSandbox",
            Self::RemoveSandbox { .. } => "RemoveSandbox",
            Self::Start { .. } => "Start",
            Self::Stop { .. } => "Stop",
            Self::Resize { .. } => "Resize",
            Self::RemoveContainer { .. } => "RemoveContainer",
            Self::ReleaseVolumes => "ReleaseVolumes",
            Self::Cleanup => "Cleanup",
            Self::DeleteObject => "DeleteObject",
        }
    }
}

fn stop(container: &Container, grace: Duration, reason: StopReason) -> Action {
    Action::Stop {
        id: container.id.clone(),
        container: container.name.clone(),
        grace,
        reason,
    }
}

#[cfg(test)]
mod tests;
