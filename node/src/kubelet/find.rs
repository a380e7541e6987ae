//! From a pod's and container's name to the runtime's ids.

use std::collections::HashMap;

use http::StatusCode;
use naru_cri::{Cri, v1};

use crate::pods::names::{CONTAINER_NAME, POD_NAME, POD_NAMESPACE, PodId};

/// An answer that is an error: a status code and a sentence.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal(pub StatusCode, pub String);

impl Refusal {
    /// The thing does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, message.into())
    }

    /// The runtime failed.
    pub fn runtime(error: &naru_cri::Error) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

/// A container that the runtime has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The runtime's id.
    pub id: String,
    /// Its pod.
    pub pod: PodId,
    /// Its attempt.
    pub attempt: u32,
    /// It runs.
    pub running: bool,
}

/// All attempts of a container, newest first.
///
/// # Errors
/// The runtime can't be asked.
pub async fn containers(
    cri: &Cri,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Result<Vec<Found>, Refusal> {
    let filter = v1::ContainerFilter {
        label_selector: HashMap::from([
            (POD_NAMESPACE.to_owned(), namespace.to_owned()),
            (POD_NAME.to_owned(), pod.to_owned()),
            (CONTAINER_NAME.to_owned(), container.to_owned()),
        ]),
        ..v1::ContainerFilter::default()
    };
    let list = cri
        .list_containers(v1::ListContainersRequest {
            filter: Some(filter),
        })
        .await;
    let mut list = list.map_err(|error| Refusal::runtime(&error))?.containers;
    // A pod that was made anew under the same name is the later one.
    list.sort_by_key(|container| std::cmp::Reverse(container.created_at));
    Ok(list.into_iter().filter_map(found).collect())
}

fn found(container: v1::Container) -> Option<Found> {
    Some(Found {
        pod: PodId::from_labels(&container.labels)?,
        attempt: container
            .metadata
            .as_ref()
            .map_or(0, |metadata| metadata.attempt),
        running: container.state() == v1::ContainerState::ContainerRunning,
        id: container.id,
    })
}

/// The running attempt of a container.
///
/// # Errors
/// There is none, or the runtime can't be asked.
pub async fn running(
    cri: &Cri,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Result<Found, Refusal> {
    let all = containers(cri, namespace, pod, container).await?;
    let running = all.into_iter().find(|container| container.running);
    running.ok_or_else(|| {
        Refusal::not_found(format!(
            "container {container:?} of pod {pod:?} is not running"
        ))
    })
}

/// The ready sandbox of a pod.
///
/// # Errors
/// There is none, or the runtime can't be asked.
pub async fn sandbox(cri: &Cri, namespace: &str, pod: &str) -> Result<String, Refusal> {
    let filter = v1::PodSandboxFilter {
        state: Some(v1::PodSandboxStateValue {
            state: v1::PodSandboxState::SandboxReady as i32,
        }),
        label_selector: HashMap::from([
            (POD_NAMESPACE.to_owned(), namespace.to_owned()),
            (POD_NAME.to_owned(), pod.to_owned()),
        ]),
        ..v1::PodSandboxFilter::default()
    };
    let list = cri
        .list_pod_sandbox(v1::ListPodSandboxRequest {
            filter: Some(filter),
        })
        .await;
    let list = list.map_err(|error| Refusal::runtime(&error))?.items;
    let newest = list.into_iter().max_by_key(|sandbox| sandbox.created_at);
    newest
        .map(|sandbox| sandbox.id)
        .ok_or_else(|| Refusal::not_found(format!("pod {pod:?} has no running sandbox")))
}
