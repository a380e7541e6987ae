//! What every pod's worker shares.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::Client;
use naru_cri::{Cri, v1};

use super::events::{Recorder, Severity};
use super::fields::{Addresses, Allocatable};
use super::names::{Dirs, PodId};
use super::objects::Caches;
use super::poller::Pace;
use super::resize::ledger::Ledger;
use super::sandbox::{SandboxFacts, parse_resolv_conf};
use crate::Shared;
use crate::watches::Watches;

/// Component named in events.
const COMPONENT: &str = "kubelet";

/// Shared by all workers, immutable but for what hides behind its own locks.
pub struct Context {
    /// The runtime.
    pub cri: Cri,
    /// Name of the runtime, the scheme of container ids.
    pub runtime: String,
    /// The API.
    pub client: Client,
    /// The daemon's view of the API.
    pub watches: Arc<Watches>,
    /// ConfigMaps and Secrets of this node's pods.
    pub caches: Caches,
    /// Events.
    pub events: Recorder,
    /// Where files live.
    pub dirs: Dirs,
    /// What sandboxes have in common.
    pub sandbox: SandboxFacts,
    /// The node's addresses, the first one first.
    pub node_ips: Vec<IpAddr>,
    /// The node's resources.
    pub allocatable: Allocatable,
    /// What its pods were given of them.
    pub ledger: Ledger,
    /// How often the runtime is asked for news.
    pub pace: Pace,
}

impl Context {
    /// Collects it from the daemon's configuration; asks the runtime for its name.
    pub async fn new(shared: &Shared, cri: Cri, pace: Pace) -> Self {
        let config = &shared.config;
        let version = cri
            .version(v1::VersionRequest {
                version: String::new(),
            })
            .await;
        Self {
            runtime: version.map_or_else(|_| "containerd".to_owned(), |v| v.runtime_name),
            cri,
            client: shared.client.clone(),
            watches: Arc::clone(&shared.watches),
            caches: Caches::new(&shared.client),
            events: Recorder::start(shared.client.clone(), COMPONENT, config.node_name.clone()),
            dirs: Dirs::new(&config.state_dir),
            sandbox: SandboxFacts {
                node_name: config.node_name.clone(),
                cgroup_parent: config.cgroup_parent.clone(),
                node_dns: node_dns(config),
                cluster_dns: config.dns().first().copied(),
                cluster_domain: config.cluster_domain.clone(),
            },
            node_ips: config.node_ip.clone(),
            allocatable: crate::status::machine::allocatable(),
            ledger: Ledger::default(),
            pace,
        }
    }

    /// Addresses for field references.
    pub fn addresses(&self, pod_ips: &[IpAddr]) -> Addresses {
        Addresses {
            pod: pod_ips.to_vec(),
            node: self.node_ips.clone(),
            allocatable: self.allocatable,
        }
    }

    /// Records an event about the pod or one of its containers.
    pub fn event(
        &self,
        pod: &Pod,
        container: Option<&str>,
        severity: Severity,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.events
            .record(reference(pod, container), severity, reason, message);
    }
}

/// Upstream servers from the command line stand before the machine's own: in a namespace of its
/// own the machine's may be out of reach.
fn node_dns(config: &crate::Config) -> v1::DnsConfig {
    let text = std::fs::read_to_string(Path::new("/etc/resolv.conf")).unwrap_or_default();
    let mut dns = parse_resolv_conf(&text);
    if !config.upstream_dns.is_empty() {
        dns.servers = config
            .upstream_dns
            .iter()
            .map(|server| server.ip().to_string())
            .collect();
        dns.searches.clear();
    }
    dns
}

/// The object an event is about.
fn reference(pod: &Pod, container: Option<&str>) -> ObjectReference {
    let id = PodId::of(pod);
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(id.namespace),
        name: Some(id.name),
        uid: Some(id.uid),
        resource_version: pod.metadata.resource_version.clone(),
        field_path: container.map(|name| {
            let list = super::containers::list_of(pod, name);
            format!("spec.{list}{{{name}}}")
        }),
    }
}
