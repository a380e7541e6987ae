//! What the containers of a pod were given: pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, ResourceRequirements};

use crate::pods::plan::spec;

/// What each container was given, by name.
pub type Given = BTreeMap<String, ResourceRequirements>;

/// What the spec asks for.
pub fn wanted(pod: &Pod) -> Given {
    let all = resizable(spec(pod));
    all.map(|container| {
        let resources = container.resources.clone().unwrap_or_default();
        (container.name.clone(), resources)
    })
    .collect()
}

/// What the API was told that the containers were given; what it was not told, they want.
pub fn adopted(pod: &Pod) -> Given {
    let mut given = wanted(pod);
    for status in statuses(pod) {
        let (Some(had), Some(given)) = (&status.resources, given.get_mut(&status.name)) else {
            continue;
        };
        given.limits.clone_from(&had.limits);
        given.requests = status.allocated_resources.clone().or(had.requests.clone());
    }
    given
}

/// What the API was told that the container of the runtime's id `id` has.
pub fn told(pod: &Pod, id: &str) -> Option<ResourceRequirements> {
    let mut all = statuses(pod);
    let is_it = |status: &&ContainerStatus| {
        let known = status
            .container_id
            .as_deref()
            .and_then(|id| id.split_once("://"));
        known.is_some_and(|(_, known)| known == id)
    };
    all.find(is_it)?.resources.clone()
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let main = status.and_then(|status| status.container_statuses.as_ref());
    let init = status.and_then(|status| status.init_container_statuses.as_ref());
    main.into_iter().chain(init).flatten()
}

fn resizable(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    let init = spec.init_containers.iter().flatten();
    spec.containers.iter().chain(init)
}

/// The pod as if it asked for what it was given.
pub fn granted(pod: &Pod, given: &Given) -> Pod {
    let mut pod = pod.clone();
    if let Some(spec) = &mut pod.spec {
        let init = spec.init_containers.iter_mut().flatten();
        for container in spec.containers.iter_mut().chain(init) {
            if let Some(given) = given.get(&container.name) {
                container.resources = Some(given.clone());
            }
        }
    }
    pod
}
