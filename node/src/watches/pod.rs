//! What the node keeps of a pod that may run anywhere in the cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use naru_ebpf_common::protocol;

/// Transport protocol of a port, as the API names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP, the API's default.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Reads the API's spelling; absent means TCP, unknown is `None`.
    #[must_use]
    pub fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            Some(_) => None,
        }
    }

    /// Number in the IP header (IANA protocol numbers).
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => protocol::TCP,
            Self::Udp => protocol::UDP,
            Self::Sctp => protocol::SCTP,
        }
    }
}

/// A named container port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodPort {
    /// Its name.
    pub name: String,
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// A pod, reduced: who it is, where it is, how it is addressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodInfo {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Name of the node it is bound to, empty before.
    pub node_name: String,
    /// Whether it shares the node's network namespace (and hence its addresses).
    pub host_network: bool,
    /// `spec.hostname`, when set.
    pub hostname: Option<String>,
    /// `spec.subdomain`, when set.
    pub subdomain: Option<String>,
    /// Named ports of its containers; unnamed ones matter to nobody here.
    pub ports: Vec<PodPort>,
    /// Its addresses, first the primary one.
    pub ips: Vec<IpAddr>,
    /// `status.phase`.
    pub phase: String,
    /// Whether the condition `Ready` is true.
    pub ready: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
}

impl PodInfo {
    /// Reduces a pod; `None` only for objects without a name, which the API never serves.
    #[must_use]
    pub fn from_pod(pod: Pod) -> Option<Self> {
        let meta = pod.metadata;
        let spec = pod.spec.unwrap_or_default();
        let status = pod.status.unwrap_or_default();
        let ready = status
            .conditions
            .iter()
            .flatten()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let ips = status
            .pod_ips
            .iter()
            .flatten()
            .filter_map(|ip| ip.ip.parse().ok())
            .collect();
        let ports = spec
            .containers
            .iter()
            .flat_map(|container| container.ports.iter().flatten());
        Some(Self {
            namespace: meta.namespace.unwrap_or_default(),
            name: meta.name?,
            uid: meta.uid.unwrap_or_default(),
            labels: meta.labels.unwrap_or_default(),
            node_name: spec.node_name.unwrap_or_default(),
            host_network: spec.host_network.unwrap_or_default(),
            hostname: spec.hostname,
            subdomain: spec.subdomain,
            ports: ports.filter_map(PodPort::named).collect(),
            ips,
            phase: status.phase.unwrap_or_default(),
            ready,
            terminating: meta.deletion_timestamp.is_some(),
        })
    }

    /// Whether its addresses are its own and in use: not the node's, and the pod has not ended.
    #[must_use]
    pub fn owns_addresses(&self) -> bool {
        !self.host_network && !matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }
}

impl PodPort {
    fn named(port: &k8s_openapi::api::core::v1::ContainerPort) -> Option<Self> {
        Some(Self {
            name: port.name.clone()?,
            port: u16::try_from(port.container_port).ok()?,
            protocol: Protocol::parse(port.protocol.as_deref())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_the_network_needs() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "a", "namespace": "n", "labels": {"app": "x"}},
            "spec": {"nodeName": "node1", "containers": [{"name": "c", "ports": [
                {"name": "http", "containerPort": 8080}, {"containerPort": 9}]}]},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.244.0.5"}],
                "conditions": [{"type": "Ready", "status": "True"}]}
        }))
        .unwrap();
        let info = PodInfo::from_pod(pod).unwrap();
        assert_eq!(info.ips, ["10.244.0.5".parse::<IpAddr>().unwrap()]);
        assert_eq!(
            info.ports,
            [PodPort {
                name: "http".into(),
                port: 8080,
                protocol: Protocol::Tcp
            }]
        );
        assert!(info.ready && info.owns_addresses() && !info.terminating);
    }
}
