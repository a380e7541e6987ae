//! The Node object, its conditions and its lease.
//!
//! The lease says every ten seconds that this daemon lives; the object changes only when a fact
//! does, and every five minutes. Both are separate tasks: a slow runtime must not look like a dead
//! node. What the node is able to do is asked of the runtime and of [`crate::Health`].

pub mod conditions;
pub mod lease;
pub mod machine;
pub mod node;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use naru_cri::{Cri, v1};
use tokio_util::sync::CancellationToken;

use crate::{PartResult, Shared};
use conditions::Observation;
use machine::Machine;
use node::Identity;

/// How often the runtime is asked while the node is Ready.
const CALM: Duration = Duration::from_secs(10);
/// How often while it isn't: a node should not be Ready later than it could.
const EAGER: Duration = Duration::from_millis(250);
/// The object is written at least this often.
const HEARTBEAT: Duration = Duration::from_secs(300);

/// Components whose faults make the node unable to run pods.
const VITAL: [&str; 2] = ["datapath", "node-network"];

/// Registers the node and keeps its object and lease until `shutdown`.
///
/// # Errors
/// None: what fails is retried.
pub async fn run(shared: Shared, shutdown: CancellationToken) -> PartResult {
    let lease = lease::run(
        shared.client.clone(),
        shared.config.node_name.clone(),
        shutdown.clone(),
    );
    let keep = Keeper::new(shared).run(shutdown);
    tokio::join!(lease, keep);
    Ok(())
}

struct Keeper {
    shared: Shared,
    api: Api<Node>,
    cri: Cri,
    machine: Machine,
    written: Option<(NodeStatus, tokio::time::Instant)>,
}

impl Keeper {
    fn new(shared: Shared) -> Self {
        Self {
            api: Api::all(shared.client.clone()),
            cri: Cri::new(&shared.config.cri_socket),
            machine: Machine::read(),
            written: None,
            shared,
        }
    }

    async fn run(mut self, shutdown: CancellationToken) {
        let mut faults = self.shared.health.subscribe();
        let mut nodes = self.shared.watches.nodes.subscribe();
        let mut ready_before = false;
        loop {
            let ready = self.turn().await;
            if ready != ready_before {
                tracing::info!(ready, "node");
                ready_before = ready;
            }
            let pause = if ready { CALM } else { EAGER };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                _ = faults.changed() => {}
                _ = nodes.changed() => {}
            }
        }
    }

    /// Looks, and writes when there is news; returns whether the node is Ready in the API.
    async fn turn(&mut self) -> bool {
        let observation = self.observe().await;
        let identity = self.identity(&observation);
        let known = self.written.as_ref().map(|(status, _)| status);
        let known_conditions = known
            .and_then(|status| status.conditions.clone())
            .unwrap_or_default();
        let now = Timestamp::now();
        let fresh = conditions::conditions(&observation, &known_conditions, now);
        let status = node::status(&identity, &self.machine, fresh);
        let due = self.overruled(&status)
            || self.written.as_ref().is_none_or(|(old, at)| {
                at.elapsed() >= HEARTBEAT || !node::says_the_same(old, &status)
            });
        if due {
            match self.write(&identity, &status).await {
                Ok(()) => self.written = Some((status, tokio::time::Instant::now())),
                Err(error) => {
                    tracing::warn!(%error, "node status not written");
                    return false;
                }
            }
        }
        observation.is_ready()
    }

    /// Whether the API says otherwise: the control plane sets the conditions of a silent node to
    /// `Unknown`, and only the node itself can take that back.
    fn overruled(&self, status: &NodeStatus) -> bool {
        let name = &self.shared.config.node_name;
        let stored = self.shared.watches.nodes.get("", name);
        stored.is_some_and(|stored| {
            let stored = stored.status.as_ref().and_then(|s| s.conditions.as_deref());
            conditions::differ(
                stored.unwrap_or_default(),
                status.conditions.as_deref().unwrap_or_default(),
            )
        })
    }

    async fn observe(&self) -> Observation {
        let runtime = self.cri.status(v1::StatusRequest { verbose: false }).await;
        let version = self
            .cri
            .version(v1::VersionRequest {
                version: String::new(),
            })
            .await
            .ok();
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let health = &self.shared.health;
        let fault = |name: &&str| health.fault(name).map(|fault| format!("{name}: {fault}"));
        let network = VITAL.iter().find_map(fault).or_else(|| self.unprogrammed());
        Observation {
            runtime: conditions::runtime_fault(runtime),
            runtime_version: version
                .map(|v| format!("{}://{}", v.runtime_name, v.runtime_version))
                .unwrap_or_default(),
            network,
            memory: machine::memory_available(&meminfo),
            disk: machine::disk(&self.shared.config.state_dir).unwrap_or((1, 1)),
            pids: machine::pids(),
        }
    }

    /// Why the data path could not carry a pod's traffic although nothing is broken.
    fn unprogrammed(&self) -> Option<String> {
        if self.shared.network.get().is_none() {
            return Some("the data path is not programmed yet".to_owned());
        }
        let node = self
            .shared
            .watches
            .nodes
            .get("", &self.shared.config.node_name);
        let range = node.and_then(|node| node.spec.as_ref()?.pod_cidr.clone());
        range
            .is_none()
            .then(|| "no pod addresses have been assigned to the node yet".to_owned())
    }

    fn identity(&self, observation: &Observation) -> Identity {
        let config = &self.shared.config;
        let disk = observation.disk.1;
        Identity {
            name: config.node_name.clone(),
            ips: config.node_ip.clone(),
            port: config.server().port(),
            runtime_version: observation.runtime_version.clone(),
            disk,
        }
    }

    /// Makes the object where there is none, also when someone has deleted it.
    async fn write(&mut self, identity: &Identity, status: &NodeStatus) -> Result<(), kube::Error> {
        if self.written.is_none() {
            self.register(identity).await?;
        }
        let patch = Patch::Merge(serde_json::json!({"status": status}));
        match self
            .api
            .patch_status(&identity.name, &PatchParams::default(), &patch)
            .await
        {
            Err(kube::Error::Api(answer)) if answer.code == 404 => {
                self.register(identity).await?;
                self.api
                    .patch_status(&identity.name, &PatchParams::default(), &patch)
                    .await?;
                Ok(())
            }
            other => other.map(drop),
        }
    }

    async fn register(&self, identity: &Identity) -> Result<(), kube::Error> {
        let node = node::object(identity);
        match self.api.create(&PostParams::default(), &node).await {
            Err(kube::Error::Api(answer)) if answer.code == 409 => {
                let labels = serde_json::json!({"metadata": {"labels": node.metadata.labels}});
                let patch = Patch::Merge(labels);
                self.api
                    .patch(&identity.name, &PatchParams::default(), &patch)
                    .await?;
                Ok(())
            }
            other => other.map(drop),
        }
    }
}
