//! The statuses of ephemeral containers, on which nothing else of a pod's status depends.

use k8s_openapi::api::core::v1::{Container as ContainerSpec, ContainerStatus};

use super::{Facts, failure_reason, state, terminated, waits};
use crate::pods::containers;
use crate::pods::observed::RunState;
use crate::pods::plan::{View, spec};

/// One for each of them, none where the pod has none.
pub(super) fn statuses(view: View<'_>, facts: &Facts<'_>) -> Option<Vec<ContainerStatus>> {
    let all = spec(view.pod).ephemeral_containers.iter().flatten();
    let statuses: Vec<_> = all
        .map(|container| status(view, facts, &containers::ephemeral(container)))
        .collect();
    Some(statuses).filter(|list| !list.is_empty())
}

/// It is ready for nobody and restarts never.
fn status(view: View<'_>, facts: &Facts<'_>, container: &ContainerSpec) -> ContainerStatus {
    let newest = view.observed.newest(&container.name);
    let begun = newest.filter(|c| c.state != RunState::Created);
    let state = match begun.map(|begun| (begun, begun.exit())) {
        Some((ended, Some(exit))) => terminated(facts, ended, exit),
        Some((running, None)) => state(view, facts, container, running),
        None => waits(waiting(view, container)),
    };
    let image = newest.map(|c| c.image.clone()).unwrap_or_default();
    ContainerStatus {
        name: container.name.clone(),
        image: match image.is_empty() {
            true => container.image.clone().unwrap_or_default(),
            false => image,
        },
        image_id: newest.map(|c| c.image_ref.clone()).unwrap_or_default(),
        container_id: newest.map(|c| format!("{}://{}", facts.runtime, c.id)),
        state: Some(state),
        ..ContainerStatus::default()
    }
}

/// It waits for its own image and for nothing of the pod's beginning.
fn waiting(view: View<'_>, container: &ContainerSpec) -> (&'static str, String) {
    let memory = view.memory.containers.get(&container.name);
    match memory.and_then(|memory| memory.failure.as_ref()) {
        Some(failure) => failure_reason(container, failure, view.now),
        None => ("ContainerCreating", String::new()),
    }
}
