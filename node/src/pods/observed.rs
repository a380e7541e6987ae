//! What the runtime has of one pod: read through CRI, turned into types that plans can match on.

use std::collections::HashMap;
use std::net::IpAddr;

use jiff::Timestamp;
use naru_cri::{Cri, v1};

use super::names::{CONTAINER_NAME, POD_UID};

/// Sandboxes and containers of one pod, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Sandboxes; more than one only around a sandbox's death.
    pub sandboxes: Vec<Sandbox>,
    /// Containers of all sandboxes.
    pub containers: Vec<Container>,
}

/// One sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// The runtime's id.
    pub id: String,
    /// 0 for the pod's first sandbox.
    pub attempt: u32,
    /// The pause process lives and the network is up.
    pub ready: bool,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// Addresses from the pod network; empty with the host's network.
    pub ips: Vec<IpAddr>,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The runtime's id.
    pub id: String,
    /// Its sandbox.
    pub sandbox: String,
    /// Name in the pod's spec.
    pub name: String,
    /// 0 for the first start, then the restart count.
    pub attempt: u32,
    /// Image as asked for.
    pub image: String,
    /// Image as resolved, by digest where known.
    pub image_ref: String,
    /// What it does.
    pub state: RunState,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// Made, never started.
    Created,
    /// Running.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// Ended.
    Exited(Exit),
    /// The runtime lost track of it.
    Unknown,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// When it had been started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// 128 + N for signal N.
    pub code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`…
    pub reason: String,
    /// The runtime's words, usually empty.
    pub message: String,
}

impl Observed {
    /// The sandbox in use: the newest, whether ready or not.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first()
    }

    /// The newest attempt of a container in any sandbox.
    pub fn newest(&self, name: &str) -> Option<&Container> {
        self.containers
            .iter()
            .find(|container| container.name == name)
    }

    /// The newest ended attempt older than the newest.
    pub fn previous(&self, name: &str) -> Option<&Container> {
        self.containers
            .iter()
            .filter(|container| container.name == name)
            .skip(1)
            .find(|container| matches!(container.state, RunState::Exited(_)))
    }

    /// Addresses of the pod.
    pub fn ips(&self) -> &[IpAddr] {
        self.sandbox().map_or(&[], |sandbox| sandbox.ips.as_slice())
    }
}

impl Container {
    /// It runs, or might.
    pub fn is_live(&self) -> bool {
        matches!(self.state, RunState::Running { .. } | RunState::Unknown)
    }

    /// How it ended, if it did.
    pub fn exit(&self) -> Option<&Exit> {
        match &self.state {
            RunState::Exited(exit) => Some(exit),
            _ => None,
        }
    }
}

/// Reads one pod from the runtime and keeps what can't change any more.
#[derive(Debug, Default)]
pub struct Reader {
    containers: HashMap<String, (i32, Container)>,
    sandboxes: HashMap<String, Sandbox>,
}

impl Reader {
    /// Reads sandboxes and containers of the pod `uid`.
    ///
    /// # Errors
    /// Whatever the runtime answers; things that vanish between list and status are left out.
    pub async fn read(&mut self, cri: &Cri, uid: &str) -> Result<Observed, naru_cri::Error> {
        let selector = HashMap::from([(POD_UID.to_owned(), uid.to_owned())]);
        let (sandboxes, containers) = tokio::try_join!(
            cri.list_pod_sandbox(v1::ListPodSandboxRequest {
                filter: Some(v1::PodSandboxFilter {
                    label_selector: selector.clone(),
                    ..Default::default()
                }),
            }),
            cri.list_containers(v1::ListContainersRequest {
                filter: Some(v1::ContainerFilter {
                    label_selector: selector,
                    ..Default::default()
                }),
            }),
        )?;
        let mut observed = Observed::default();
        for item in sandboxes.items {
            observed.sandboxes.push(self.sandbox(cri, item).await);
        }
        for item in containers.containers {
            observed.containers.extend(self.container(cri, item).await?);
        }
        self.forget_absent(&observed);
        observed.sort();
        Ok(observed)
    }

    async fn sandbox(&mut self, cri: &Cri, item: v1::PodSandbox) -> Sandbox {
        let ready = item.state() == v1::PodSandboxState::SandboxReady;
        if let Some(known) = self.sandboxes.get(&item.id) {
            return Sandbox {
                ready,
                ..known.clone()
            };
        }
        let status = sandbox_status(cri, &item.id).await;
        let sandbox = Sandbox {
            ips: status.as_ref().map(ips).unwrap_or_default(),
            attempt: item
                .metadata
                .as_ref()
                .map_or(0, |metadata| metadata.attempt),
            ready,
            created_at: item.created_at,
            id: item.id,
        };
        if status.is_some() {
            self.sandboxes.insert(sandbox.id.clone(), sandbox.clone());
        }
        sandbox
    }

    async fn container(
        &mut self,
        cri: &Cri,
        item: v1::Container,
    ) -> Result<Option<Container>, naru_cri::Error> {
        if let Some((state, known)) = self.containers.get(&item.id)
            && *state == item.state
        {
            return Ok(Some(known.clone()));
        }
        let request = v1::ContainerStatusRequest {
            container_id: item.id.clone(),
            verbose: false,
        };
        let status = match cri.container_status(request).await {
            Ok(response) => response.status.unwrap_or_default(),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let container = container(&item, &status);
        self.containers
            .insert(item.id, (status.state, container.clone()));
        Ok(Some(container))
    }

    fn forget_absent(&mut self, observed: &Observed) {
        self.containers
            .retain(|id, _| observed.containers.iter().any(|c| c.id == *id));
        self.sandboxes
            .retain(|id, _| observed.sandboxes.iter().any(|s| s.id == *id));
    }
}

impl Observed {
    fn sort(&mut self) {
        self.sandboxes
            .sort_by_key(|s| std::cmp::Reverse((s.attempt, s.created_at)));
        self.containers
            .sort_by_key(|c| std::cmp::Reverse(c.attempt));
    }
}

async fn sandbox_status(cri: &Cri, id: &str) -> Option<v1::PodSandboxStatus> {
    let request = v1::PodSandboxStatusRequest {
        pod_sandbox_id: id.to_owned(),
        verbose: false,
    };
    cri.pod_sandbox_status(request).await.ok()?.status
}

/// The addresses in a sandbox's status; what does not parse is no address.
pub fn ips(status: &v1::PodSandboxStatus) -> Vec<IpAddr> {
    let network = status.network.clone().unwrap_or_default();
    std::iter::once(network.ip)
        .chain(network.additional_ips.into_iter().map(|ip| ip.ip))
        .filter_map(|ip| ip.parse().ok())
        .collect()
}

fn container(item: &v1::Container, status: &v1::ContainerStatus) -> Container {
    let metadata = item.metadata.clone().unwrap_or_default();
    Container {
        id: item.id.clone(),
        sandbox: item.pod_sandbox_id.clone(),
        name: item
            .labels
            .get(CONTAINER_NAME)
            .cloned()
            .unwrap_or(metadata.name),
        attempt: metadata.attempt,
        image: status
            .image
            .as_ref()
            .map(|image| image.image.clone())
            .unwrap_or_default(),
        image_ref: status.image_ref.clone(),
        state: run_state(status),
    }
}

fn run_state(status: &v1::ContainerStatus) -> RunState {
    match status.state() {
        v1::ContainerState::ContainerCreated => RunState::Created,
        v1::ContainerState::ContainerRunning => RunState::Running {
            since: timestamp(status.started_at),
        },
        v1::ContainerState::ContainerExited => RunState::Exited(Exit {
            started_at: timestamp(status.started_at),
            finished_at: timestamp(status.finished_at),
            code: status.exit_code,
            reason: status.reason.clone(),
            message: status.message.clone(),
        }),
        v1::ContainerState::ContainerUnknown => RunState::Unknown,
    }
}

fn timestamp(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_of_a_dual_stack_sandbox_are_seen() {
        let status = v1::PodSandboxStatus {
            network: Some(v1::PodSandboxNetworkStatus {
                ip: "10.244.1.2".into(),
                additional_ips: vec![v1::PodIp {
                    ip: "fd00::2".into(),
                }],
            }),
            ..Default::default()
        };
        assert_eq!(ips(&status).len(), 2);
        assert!(ips(&v1::PodSandboxStatus::default()).is_empty());
    }

    #[test]
    fn newest_attempt_comes_first_and_previous_is_an_ended_one() {
        let make = |attempt, state| Container {
            id: format!("id{attempt}"),
            sandbox: "s".into(),
            name: "web".into(),
            attempt,
            image: String::new(),
            image_ref: String::new(),
            state,
        };
        let exit = Exit {
            started_at: Timestamp::UNIX_EPOCH,
            finished_at: Timestamp::UNIX_EPOCH,
            code: 1,
            reason: "Error".into(),
            message: String::new(),
        };
        let mut observed = Observed {
            sandboxes: Vec::new(),
            containers: vec![
                make(0, RunState::Exited(exit.clone())),
                make(2, RunState::Created),
                make(1, RunState::Exited(exit)),
            ],
        };
        observed.sort();
        assert_eq!(observed.newest("web").unwrap().attempt, 2);
        assert_eq!(observed.previous("web").unwrap().attempt, 1);
    }
}
