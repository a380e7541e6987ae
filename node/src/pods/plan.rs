//! The next steps of a pod: pure, from the API's object, the runtime's state and the memory.
//!
//! # Expected flow
//! `Syncing → Ending → Clearing → Removing → Gone` for a deleted pod; a pod whose containers have
//! all finished goes `Syncing → Ending → Clearing → Resting` and from there to `Clearing` once it
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

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod, PodSpec};

use super::memory::{Memory, Volumes};
use super::observed::{Container, Observed, RunState};

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
            Self::Syncing if deleted || has_finished(view) => Self::Ending.advance(view),
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
            Self::Syncing => sync(view),
            Self::Ending => end(view),
            Self::Clearing => clear(view),
            Self::Resting => Plan::default(),
            Self::Removing => remove(view),
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
                .and_then(Container::exit)
                .is_some_and(|exit| !restarts(policy, exit.code))
    };
    let containers = &spec(view.pod).containers;
    let all = !containers.is_empty() && containers.iter().all(finished);
    all || (policy == "Never" && init_failed(view))
}

/// What the API was once told to be the end stays the end, even if the runtime has lost it all.
fn has_terminal_phase(pod: &Pod) -> bool {
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

// --- Syncing

fn sync(view: View<'_>) -> Plan {
    let mut plan = Plan::default();
    if view.memory.volumes != Volumes::Ready {
        plan.merge(retried(view, Action::PrepareVolumes));
    }
    match view.observed.sandbox() {
        Some(sandbox) if sandbox.ready => {
            retire_other_sandboxes(view, &sandbox.id, &mut plan);
            if view.memory.volumes != Volumes::Stale {
                sync_containers(view, &sandbox.id, &mut plan);
            }
        }
        newest => {
            stop_lost_containers(view, &mut plan);
            retire_other_sandboxes(view, "", &mut plan);
            let attempt = newest.map_or(0, |sandbox| sandbox.attempt + 1);
            if !view.memory.is_creating_sandbox() {
                plan.merge(retried(view, Action::CreateSandbox { attempt }));
            }
        }
    }
    plan
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
            Self::RemoveContainer { .. } => "RemoveContainer",
            Self::ReleaseVolumes => "ReleaseVolumes",
            Self::Cleanup => "Cleanup",
            Self::DeleteObject => "DeleteObject",
        }
    }
}

/// Old sandboxes are stopped, then removed once the new one is in use (their containers tell the
/// restart count until then).
fn retire_other_sandboxes(view: View<'_>, current: &str, plan: &mut Plan) {
    for sandbox in view
        .observed
        .sandboxes
        .iter()
        .filter(|sandbox| sandbox.id != current)
    {
        let id = sandbox.id.clone();
        if sandbox.ready {
            plan.merge(retried(view, Action::StopSandbox { id }));
        } else if !current.is_empty() && !holds_newest(view.observed, &id) {
            plan.merge(retried(view, Action::RemoveSandbox { id }));
        }
    }
}

fn holds_newest(observed: &Observed, sandbox: &str) -> bool {
    observed
        .containers
        .iter()
        .any(|c| c.sandbox == sandbox && observed.newest(&c.name).is_some_and(|n| n.id == c.id))
}

fn stop_lost_containers(view: View<'_>, plan: &mut Plan) {
    for container in view
        .observed
        .containers
        .iter()
        .filter(|container| container.is_live())
    {
        plan.actions
            .push(stop(container, Duration::from_secs(2), StopReason::Lost));
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

fn sync_containers(view: View<'_>, sandbox: &str, plan: &mut Plan) {
    remove_old_attempts(view, plan);
    for init in spec(view.pod).init_containers.iter().flatten() {
        match sync_init(view, sandbox, init, plan) {
            InitProgress::Done => {}
            InitProgress::Waiting => return,
        }
    }
    for container in &spec(view.pod).containers {
        sync_one(view, sandbox, container, restart_policy(view.pod), plan);
    }
}

enum InitProgress {
    Done,
    Waiting,
}

/// One init container: the next may go on when this one has succeeded in the present sandbox or,
/// for a sidecar, has started.
fn sync_init(view: View<'_>, sandbox: &str, init: &ContainerSpec, plan: &mut Plan) -> InitProgress {
    let newest = view
        .observed
        .newest(&init.name)
        .filter(|c| c.sandbox == sandbox);
    if is_sidecar(init) {
        sync_one(view, sandbox, init, "Always", plan);
        let started = newest.is_some_and(|c| is_started(view.memory, init, c));
        return if started {
            InitProgress::Done
        } else {
            InitProgress::Waiting
        };
    }
    let succeeded = newest
        .and_then(Container::exit)
        .is_some_and(|exit| exit.code == 0);
    if succeeded || main_has_run(view, sandbox) {
        return InitProgress::Done;
    }
    let policy = if restart_policy(view.pod) == "Never" {
        "Never"
    } else {
        "OnFailure"
    };
    match view.observed.newest(&init.name) {
        Some(old) if newest.is_none() => start(view, sandbox, &init.name, old.attempt + 1, plan),
        _ => sync_one(view, sandbox, init, policy, plan),
    }
    InitProgress::Waiting
}

/// A main container in this sandbox proves that initialisation had been finished.
fn main_has_run(view: View<'_>, sandbox: &str) -> bool {
    spec(view.pod).containers.iter().any(|main| {
        view.observed
            .newest(&main.name)
            .is_some_and(|c| c.sandbox == sandbox)
    })
}

/// Finished starting: its start-up probe has succeeded, or it has none and runs.
pub fn is_started(memory: &Memory, container: &ContainerSpec, observed: &Container) -> bool {
    let running = matches!(observed.state, RunState::Running { .. });
    let probed = memory.probes.get(&observed.id).copied().unwrap_or_default();
    running && (container.startup_probe.is_none() || probed.startup == Some(true))
}

fn sync_one(
    view: View<'_>,
    sandbox: &str,
    container: &ContainerSpec,
    policy: &str,
    plan: &mut Plan,
) {
    let name = &container.name;
    let Some(newest) = view.observed.newest(name) else {
        return start(view, sandbox, name, 0, plan);
    };
    let in_place = newest.sandbox == sandbox;
    match &newest.state {
        _ if view.memory.is_starting(name) => {}
        RunState::Running { .. } if in_place => {
            plan.actions.extend(failed_probe(view, container, newest));
        }
        RunState::Running { .. } | RunState::Unknown => {
            plan.actions
                .push(stop(newest, Duration::from_secs(2), StopReason::Lost));
        }
        RunState::Created => start(view, sandbox, name, newest.attempt, plan),
        RunState::Exited(exit) if !restarts(policy, exit.code) => {}
        RunState::Exited(_) => match crash_wait(view, name, newest).filter(|_| in_place) {
            Some(at) => {
                plan.crash_waits.insert(name.clone(), at);
                plan.wake_at(at);
            }
            None => start(view, sandbox, name, newest.attempt + 1, plan),
        },
    }
}

/// Until when a crashed container waits before its next attempt.
pub fn crash_wait(view: View<'_>, name: &str, newest: &Container) -> Option<Timestamp> {
    let memory = view.memory.containers.get(name)?;
    memory.crash.until(newest.exit()?.finished_at, view.now)
}

/// Starts are strictly one after the other, in the order of the spec.
fn start(view: View<'_>, sandbox: &str, name: &str, attempt: u32, plan: &mut Plan) {
    let planned = plan
        .actions
        .iter()
        .any(|action| matches!(action, Action::Start { .. }));
    if planned || view.memory.is_any_starting() {
        return;
    }
    if let Some(at) = start_wait(view.memory, name, view.now) {
        return plan.wake_at(at);
    }
    plan.actions.push(Action::Start {
        container: name.to_owned(),
        attempt,
        sandbox: sandbox.to_owned(),
    });
}

/// Until when a container whose start failed waits.
pub fn start_wait(memory: &Memory, name: &str, now: Timestamp) -> Option<Timestamp> {
    let memory = memory.containers.get(name)?;
    memory.retry.until(memory.failure.as_ref()?.at, now)
}

fn failed_probe(view: View<'_>, container: &ContainerSpec, newest: &Container) -> Option<Action> {
    let results = view.memory.probes.get(&newest.id)?;
    let (probe, reason) = if results.startup == Some(false) {
        (container.startup_probe.as_ref()?, StopReason::Startup)
    } else if results.liveness == Some(false) {
        (container.liveness_probe.as_ref()?, StopReason::Liveness)
    } else {
        return None;
    };
    let grace = probe
        .termination_grace_period_seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map_or_else(|| grace(view.pod), Duration::from_secs);
    Some(stop(newest, grace, reason))
}

/// Of every container the newest attempt and the one before it (for `logs --previous`) stay.
fn remove_old_attempts(view: View<'_>, plan: &mut Plan) {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for container in &view.observed.containers {
        let count = seen.entry(&container.name).or_default();
        *count += 1;
        if *count > 2 && container.exit().is_some() {
            plan.actions.push(Action::RemoveContainer {
                id: container.id.clone(),
            });
        }
    }
}

// --- the way out

fn end(view: View<'_>) -> Plan {
    let live = view
        .observed
        .containers
        .iter()
        .filter(|container| container.is_live());
    Plan {
        actions: live
            .map(|c| stop(c, grace(view.pod), StopReason::PodEnds))
            .collect(),
        ..Plan::default()
    }
}

fn clear(view: View<'_>) -> Plan {
    let mut plan = Plan::default();
    for sandbox in view
        .observed
        .sandboxes
        .iter()
        .filter(|sandbox| sandbox.ready)
    {
        plan.merge(retried(
            view,
            Action::StopSandbox {
                id: sandbox.id.clone(),
            },
        ));
    }
    let stopped = view.observed.sandboxes.iter().all(|sandbox| !sandbox.ready);
    if stopped && view.memory.volumes != Volumes::Stale {
        plan.merge(retried(view, Action::ReleaseVolumes));
    }
    plan
}

fn remove(view: View<'_>) -> Plan {
    let mut plan = Plan::default();
    for sandbox in &view.observed.sandboxes {
        plan.merge(retried(
            view,
            Action::RemoveSandbox {
                id: sandbox.id.clone(),
            },
        ));
    }
    if view.observed.sandboxes.is_empty() {
        for container in &view.observed.containers {
            plan.actions.push(Action::RemoveContainer {
                id: container.id.clone(),
            });
        }
        plan.merge(retried(view, Action::Cleanup));
    }
    plan
}

#[cfg(test)]
mod tests;
