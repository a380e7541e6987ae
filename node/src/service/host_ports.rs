//! Ports of the host that pods of this node ask for (`hostPort`).
//!
//! A host port is an entry like a service's, at the node's own addresses and at the loopback's: the
//! latter for the node's own sockets alone, since every pod has a loopback of its own. Services win
//! over host ports, and of two pods the one that comes first by name: the scheduler lets no two
//! share a port.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::api::core::v1::{ContainerPort, Pod};
use naru_ebpf_common::service::{BACKEND_LOCAL, HOST_PORT, OWN_SOCKETS, SCOPE_ANY};
use naru_ebpf_common::{Addr, Backend, Port, ServiceKey};

use super::desired::{Desired, DesiredService, ServicePortName, supported};

/// The host ports of this node's `pods`, sorted by name, at addresses of `node` of which the pod has
/// the family.
pub fn host_ports<'a>(pods: impl IntoIterator<Item = &'a Pod>, node: &[IpAddr]) -> Desired {
    let mut desired = Desired::new();
    for pod in pods.into_iter().filter(|pod| has_own_network(pod)) {
        for address in addresses(pod) {
            for port in ports(pod) {
                for (addr, flags) in reached_at(port.host_ip.as_deref(), node, address) {
                    add(&mut desired, pod, port, address, (addr, flags));
                }
            }
        }
    }
    desired
}

fn add(
    desired: &mut Desired,
    pod: &Pod,
    port: &ContainerPort,
    pod_address: IpAddr,
    (addr, flags): (Addr, u32),
) {
    let number = |port: i32| u16::try_from(port).ok().filter(|port| *port != 0);
    let (Some(protocol), Some(host_port), Some(container_port)) = (
        supported(port.protocol.as_deref()),
        port.host_port.and_then(number),
        number(port.container_port),
    ) else {
        return;
    };
    let key = ServiceKey {
        addr,
        port: Port::new(host_port),
        protocol,
        scope: SCOPE_ANY,
    };
    let backend = Backend {
        addr: pod_address.into(),
        port: Port::new(container_port),
        flags: BACKEND_LOCAL,
        reserved: 0,
    };
    desired.entry(key).or_insert_with(|| DesiredService {
        name: ServicePortName {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            port: format!("hostPort-{host_port}-{protocol}-{}", IpAddr::from(addr)),
        },
        flags: flags | HOST_PORT,
        backends: vec![backend],
        ranges: Vec::new(),
    });
}

/// The addresses of a host port that leads to `pod`, with the flags of each.
fn reached_at(host_ip: Option<&str>, node: &[IpAddr], pod: IpAddr) -> Vec<(Addr, u32)> {
    let flags = |ip: &IpAddr| if ip.is_loopback() { OWN_SOCKETS } else { 0 };
    let asked = host_ip.unwrap_or_default();
    let mut all: Vec<IpAddr> = match asked {
        "" | "0.0.0.0" | "::" => {
            let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            node.iter().copied().chain(loopback).collect()
        }
        _ => asked.parse().into_iter().collect(),
    };
    let only = match asked {
        "0.0.0.0" => Some(false),
        "::" => Some(true),
        _ => None,
    };
    all.retain(|ip| ip.is_ipv6() == pod.is_ipv6() && only.is_none_or(|v6| ip.is_ipv6() == v6));
    all.into_iter()
        .map(|ip| (Addr::from(ip), flags(&ip)))
        .collect()
}

/// Pods on the host's network have the port already; finished ones answer nobody.
fn has_own_network(pod: &Pod) -> bool {
    let on_host = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    !on_host && !matches!(phase, Some("Succeeded" | "Failed"))
}

fn addresses(pod: &Pod) -> BTreeSet<IpAddr> {
    let Some(status) = pod.status.as_ref() else {
        return BTreeSet::new();
    };
    let listed = status.pod_ips.iter().flatten().map(|ip| &ip.ip);
    let all = listed.chain(&status.pod_ip);
    all.filter_map(|ip| ip.parse().ok()).collect()
}

fn ports(pod: &Pod) -> impl Iterator<Item = &ContainerPort> {
    let spec = pod.spec.iter();
    let containers = spec.flat_map(|spec| {
        let sidecars = spec.init_containers.iter().flatten();
        let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
        spec.containers.iter().chain(sidecars)
    });
    containers
        .flat_map(|container| container.ports.iter().flatten())
        .filter(|port| port.host_port.unwrap_or(0) != 0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plan(pods: &[Value]) -> Vec<String> {
        let pods = pods.iter().map(|pod| serde_json::from_value(pod.clone()));
        let pods: Vec<Pod> = pods.map(|pod| pod.expect("a pod")).collect();
        let node = ["192.168.77.101", "fd00:77::101"].map(|ip| ip.parse().unwrap());
        let desired = host_ports(&pods, &node);
        let text = |(key, entry): (&ServiceKey, &DesiredService)| {
            let backend = entry.backends[0];
            let own = if entry.flags & OWN_SOCKETS != 0 {
                " own"
            } else {
                ""
            };
            let at = format!("{}:{}/{}", key.addr, key.port, key.protocol);
            format!("{at}{own} {}:{}", backend.addr, backend.port)
        };
        let mut all: Vec<_> = desired.iter().map(text).collect();
        all.sort();
        all
    }

    fn pod(ports: Value) -> Value {
        json!({"metadata": {"name": "web", "namespace": "shop"},
            "spec": {"containers": [{"name": "main", "ports": ports}]},
            "status": {"podIP": "10.244.1.2", "phase": "Running"}})
    }

    #[test]
    fn a_host_port_is_at_the_node_and_for_the_node_itself_at_its_loopback() {
        let tcp = json!({"containerPort": 80, "hostPort": 8080});
        let udp = json!({"containerPort": 53, "hostPort": 53, "protocol": "UDP",
            "hostIP": "192.168.77.101"});
        let none = json!({"containerPort": 90});
        assert_eq!(
            plan(&[pod(json!([tcp, udp, none]))]),
            [
                "127.0.0.1:8080/6 own 10.244.1.2:80",
                "192.168.77.101:53/17 10.244.1.2:53",
                "192.168.77.101:8080/6 10.244.1.2:80"
            ]
        );
    }

    #[test]
    fn each_family_leads_to_the_pods_address_of_that_family() {
        let any = json!({"containerPort": 80, "hostPort": 8080});
        let only_v6 = json!({"containerPort": 81, "hostPort": 8081, "hostIP": "::"});
        let mut pod = pod(json!([any, only_v6]));
        pod["status"]["podIPs"] = json!([{"ip": "10.244.1.2"}, {"ip": "fd00::2"}]);
        assert_eq!(
            plan(&[pod]),
            [
                "127.0.0.1:8080/6 own 10.244.1.2:80",
                "192.168.77.101:8080/6 10.244.1.2:80",
                "::1:8080/6 own fd00::2:80",
                "::1:8081/6 own fd00::2:81",
                "fd00:77::101:8080/6 fd00::2:80",
                "fd00:77::101:8081/6 fd00::2:81"
            ]
        );
    }

    #[test]
    fn finished_pods_and_those_on_the_hosts_network_have_none() {
        let port = json!([{"containerPort": 80, "hostPort": 8080}]);
        let mut finished = pod(port.clone());
        finished["status"]["phase"] = "Succeeded".into();
        let mut on_host = pod(port.clone());
        on_host["spec"]["hostNetwork"] = true.into();
        let mut waiting = pod(port);
        waiting["status"] = json!({"phase": "Pending"});
        assert!(plan(&[finished, on_host, waiting]).is_empty());
    }
}
