//! The way out of a pod: containers, then sandboxes and mounts, then what is left on disk: pure.

use super::{Action, Plan, StopReason, View, grace, retried, stop};
use crate::pods::memory::Volumes;

pub(super) fn end(view: View<'_>) -> Plan {
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

pub(super) fn clear(view: View<'_>) -> Plan {
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

pub(super) fn remove(view: View<'_>) -> Plan {
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
