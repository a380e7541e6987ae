//! The Node object: pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus,
    NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::machine::Machine;

/// The version of the kubelet whose behaviour this daemon follows.
pub const KUBELET_VERSION: &str = "v1.37.0+naru";
/// Pods that a node takes: the addresses of a /24 would allow more, the processes wouldn't.
const PODS: &str = "110";

/// Who the node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Name of the object.
    pub name: String,
    /// Its addresses, the first one first.
    pub ips: Vec<IpAddr>,
    /// Port of the node's server.
    pub port: u16,
    /// `NAME://VERSION`.
    pub runtime_version: String,
    /// Bytes of the disk with the daemon's state.
    pub disk: u64,
}

/// `amd64`, `arm64`…: the names that images use.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The object to register with.
pub fn object(identity: &Identity) -> Node {
    let labels = [
        ("kubernetes.io/hostname", identity.name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture()),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Node {
        metadata: ObjectMeta {
            name: Some(identity.name.clone()),
            labels: Some(BTreeMap::from(labels)),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec::default()),
        status: None,
    }
}

/// The whole status.
pub fn status(
    identity: &Identity,
    machine: &Machine,
    conditions: Vec<NodeCondition>,
) -> NodeStatus {
    let resources = resources(identity, machine);
    let address = |kind: &str, address: String| NodeAddress {
        address,
        type_: kind.to_owned(),
    };
    NodeStatus {
        capacity: Some(resources.clone()),
        allocatable: Some(resources),
        conditions: Some(conditions),
        addresses: Some(
            identity
                .ips
                .iter()
                .map(|ip| address("InternalIP", ip.to_string()))
                .chain([address("Hostname", identity.name.clone())])
                .collect(),
        ),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint {
                port: i32::from(identity.port),
            }),
        }),
        node_info: Some(NodeSystemInfo {
            architecture: architecture().to_owned(),
            boot_id: machine.boot_id.clone(),
            container_runtime_version: identity.runtime_version.clone(),
            kernel_version: machine.kernel.clone(),
            // Services are the data path's: there is no kube-proxy, and the field may not be absent.
            kube_proxy_version: String::new(),
            kubelet_version: KUBELET_VERSION.to_owned(),
            machine_id: machine.machine_id.clone(),
            operating_system: "linux".to_owned(),
            os_image: machine.os_image.clone(),
            system_uuid: machine.system_uuid.clone(),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

fn resources(identity: &Identity, machine: &Machine) -> BTreeMap<String, Quantity> {
    let kibi = |bytes: u64| Quantity(format!("{}Ki", bytes / 1024));
    BTreeMap::from([
        ("cpu".to_owned(), Quantity(machine.cpus.to_string())),
        ("memory".to_owned(), kibi(machine.memory)),
        ("ephemeral-storage".to_owned(), kibi(identity.disk)),
        ("pods".to_owned(), Quantity(PODS.to_owned())),
    ])
}

/// Whether two statuses differ in nothing but the time at which they were made.
pub fn says_the_same(one: &NodeStatus, other: &NodeStatus) -> bool {
    let timeless = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        status
    };
    timeless(one) == timeless(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::conditions::{Observation, conditions};
    use jiff::Timestamp;

    fn identity() -> Identity {
        Identity {
            name: "node1".into(),
            ips: vec!["192.0.2.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            port: 10250,
            runtime_version: "containerd://1.6".into(),
            disk: 1 << 30,
        }
    }

    fn status_at(second: i64, seen: &Observation) -> NodeStatus {
        let now = Timestamp::from_second(second).unwrap();
        status(&identity(), &Machine::read(), conditions(seen, &[], now))
    }

    #[test]
    fn the_object_carries_what_schedulers_and_callers_need() {
        let status = status_at(1, &Observation::default());
        let addresses = status.addresses.unwrap();
        assert_eq!(
            (addresses[0].type_.as_str(), addresses[0].address.as_str()),
            ("InternalIP", "192.0.2.1")
        );
        assert_eq!(addresses[1].address, "fd00::1");
        assert_eq!(status.allocatable.unwrap()["pods"].0, "110");
        assert_eq!(
            status
                .daemon_endpoints
                .unwrap()
                .kubelet_endpoint
                .unwrap()
                .port,
            10250
        );
        let labels = object(&identity()).metadata.labels.unwrap();
        assert_eq!(labels["kubernetes.io/hostname"], "node1");
    }

    #[test]
    fn a_heartbeat_alone_is_no_news() {
        let seen = Observation::default();
        let one = status_at(1, &seen);
        let mut two = one.clone();
        for condition in two.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        assert!(says_the_same(&one, &two));
        let down = Observation {
            runtime: Some("down".into()),
            ..seen
        };
        assert!(!says_the_same(&one, &status_at(1, &down)));
    }
}
