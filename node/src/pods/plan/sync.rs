//! Bringing a pod up and keeping it up: pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container as ContainerSpec;

use super::{
    Action, Plan, StopReason, View, grace, is_sidecar, restart_policy, restarts, retried, spec,
    stop,
};
use crate::pods::memory::{Memory, Volumes};
use crate::pods::observed::{Container, Observed, RunState};
use crate::pods::resize;

pub(super) fn sync(view: View<'_>) -> Plan {
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

fn sync_containers(view: View<'_>, sandbox: &str, plan: &mut Plan) {
    remove_old_attempts(view, plan);
    sync_ephemeral(view, sandbox, plan);
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

/// Ephemeral containers start as soon as they are seen, and once: what ended, or was lost with an
/// older sandbox, stays ended.
fn sync_ephemeral(view: View<'_>, sandbox: &str, plan: &mut Plan) {
    for container in spec(view.pod).ephemeral_containers.iter().flatten() {
        let name = &container.name;
        match view.observed.newest(name) {
            None => start(view, sandbox, name, 0, plan),
            Some(made) if made.state == RunState::Created && made.sandbox == sandbox => {
                start(view, sandbox, name, made.attempt, plan);
            }
            Some(_) => {}
        }
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
        RunState::Running { .. } if in_place => match failed_probe(view, container, newest) {
            Some(stop) => plan.actions.push(stop),
            None => resize(view, container, newest, plan),
        },
        RunState::Running { .. } | RunState::Unknown => {
            plan.actions
                .push(stop(newest, Duration::from_secs(2), StopReason::Lost));
        }
        RunState::Created => start(view, sandbox, name, newest.attempt, plan),
        RunState::Exited(_) if view.memory.resize.ended.contains(&newest.id) => {
            start(view, sandbox, name, newest.attempt + 1, plan);
        }
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

/// What a container was given it gets, one container after the other where the runtime refuses.
fn resize(view: View<'_>, container: &ContainerSpec, newest: &Container, plan: &mut Plan) {
    match resize::step(view, container, newest) {
        None => {}
        Some(resize::Step::Restart) => {
            let stop = stop(newest, grace(view.pod), StopReason::Resized);
            plan.actions.push(stop);
        }
        Some(resize::Step::InPlace) => {
            let action = Action::Resize {
                id: newest.id.clone(),
                container: newest.name.clone(),
            };
            plan.merge(retried(view, action));
        }
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
