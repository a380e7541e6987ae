//! From a Service and its pods to backends: address, conditions, ports.

use crate::controllers::runtime::lean::Pod;
use crate::controllers::runtime::{meta, pod};
use k8s_openapi::api::core::v1::{ObjectReference, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{EndpointHints, ForNode, ForZone};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use naru_core::names::labels;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// One port of one pod behind a Service port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The Service port's name, empty for a single unnamed port.
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The pod's port, 1 to 65535.
    pub number: i32,
    /// The application protocol, as the Service says it.
    pub app_protocol: Option<String>,
}

/// One pod as an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// The pod's address.
    pub address: IpAddr,
    /// May get new connections.
    pub ready: bool,
    /// Would be ready if it were not terminating.
    pub serving: bool,
    /// Is going away.
    pub terminating: bool,
    /// The pod's own DNS name below a headless Service.
    pub hostname: Option<String>,
    /// The node it runs on.
    pub node: Option<String>,
    /// That node's zone.
    pub zone: Option<String>,
    /// Whose traffic it is for, if the Service prefers near endpoints.
    pub hints: Option<EndpointHints>,
    /// The pod.
    pub target: ObjectReference,
    /// Its ports, sorted.
    pub ports: Vec<Port>,
}

/// Whether the Service's endpoints are this controller's business: it has a selector and an
/// address to give.
pub fn is_managed(service: &Service) -> bool {
    let Some(spec) = service.spec.as_ref() else {
        return false;
    };
    let selects = spec
        .selector
        .as_ref()
        .is_some_and(|selector| !selector.is_empty());
    selects && spec.type_.as_deref() != Some("ExternalName")
}

/// Whether the Service has no cluster address.
pub fn is_headless(service: &Service) -> bool {
    service
        .spec
        .as_ref()
        .and_then(|spec| spec.cluster_ip.as_deref())
        == Some("None")
}

/// Whether `pod` is selected by `service`.
pub fn is_selected(service: &Service, pod: &Pod) -> bool {
    let selector = service
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| !selector.is_empty() && meta::selects(selector, pod.labels()))
}

/// The pods behind `service` in one address family, sorted by name. `zones` maps nodes to zones.
pub fn backends(
    service: &Service,
    pods: &[Arc<Pod>],
    zones: &BTreeMap<String, String>,
    v6: bool,
) -> Vec<Backend> {
    let selected = pods
        .iter()
        .filter(|pod| is_selected(service, pod) && !pod::is_finished(pod));
    selected
        .filter_map(|pod| backend(service, pod, zones, v6))
        .collect()
}

fn backend(
    service: &Service,
    pod: &Pod,
    zones: &BTreeMap<String, String>,
    v6: bool,
) -> Option<Backend> {
    let address = address(pod, v6)?;
    let publish = service
        .spec
        .as_ref()
        .is_some_and(|spec| spec.publish_not_ready_addresses == Some(true));
    let serving = pod::is_ready(pod);
    let terminating = pod::is_terminating(pod);
    let ready = publish || (serving && !terminating);
    let node = Some(pod::node_name(pod).to_owned()).filter(|node| !node.is_empty());
    let zone = node.as_ref().and_then(|node| zones.get(node).cloned());
    let hints = hints(service, node.as_deref(), zone.as_deref());
    Some(Backend {
        address,
        ready,
        hints: hints.filter(|_| ready),
        serving,
        terminating,
        hostname: hostname(service, pod),
        zone,
        node,
        target: ObjectReference {
            resource_version: None,
            api_version: None,
            ..meta::reference(pod)
        },
        ports: ports(service, pod),
    })
}

/// What `trafficDistribution` says of an endpoint on this node in this zone. `PreferClose` is the
/// older word for `PreferSameZone`.
fn hints(service: &Service, node: Option<&str>, zone: Option<&str>) -> Option<EndpointHints> {
    let spec = service.spec.as_ref()?;
    let same_node = match spec.traffic_distribution.as_deref()? {
        "PreferSameNode" => true,
        "PreferSameZone" | "PreferClose" => false,
        _ => return None,
    };
    let for_zones = zone.map(|name| vec![ForZone { name: name.into() }]);
    let for_nodes = node
        .filter(|_| same_node)
        .map(|name| vec![ForNode { name: name.into() }]);
    (for_zones.is_some() || for_nodes.is_some()).then_some(EndpointHints {
        for_nodes,
        for_zones,
    })
}

fn address(pod: &Pod, v6: bool) -> Option<IpAddr> {
    let mut addresses = pod.status.addresses.iter().copied();
    addresses.find(|address| address.is_ipv6() == v6)
}

fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = &pod.spec;
    let mine = spec.subdomain.as_deref() == service.metadata.name.as_deref();
    let hostname = spec.hostname.as_deref().filter(|name| !name.is_empty());
    hostname.filter(|_| mine).map(str::to_owned)
}

/// A port whose name the pod does not have is left out, so that pods of different versions can
/// stand behind one Service.
fn ports(service: &Service, pod: &Pod) -> Vec<Port> {
    let wanted = service
        .spec
        .as_ref()
        .and_then(|spec| spec.ports.as_deref())
        .unwrap_or_default();
    let mut ports: Vec<Port> = wanted
        .iter()
        .filter_map(|port| resolve(port, pod))
        .collect();
    ports.sort();
    ports
}

fn resolve(port: &ServicePort, pod: &Pod) -> Option<Port> {
    let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
    let number = match &port.target_port {
        None | Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => named(pod, name, &protocol)?,
    };
    let name = port.name.clone().unwrap_or_default();
    Some(Port {
        name,
        protocol,
        number,
        app_protocol: port.app_protocol.clone(),
    })
}

fn named(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let init = pod.spec.init_containers.iter();
    let sidecars = init.filter(|container| container.is_sidecar);
    let containers = pod.spec.containers.iter().chain(sidecars);
    let mut ports = containers.flat_map(|container| container.ports.iter());
    let port =
        ports.find(|port| port.name.as_deref() == Some(name) && port.protocol() == protocol)?;
    Some(port.container_port)
}

/// The zones of nodes that have one.
pub fn zones<'a>(
    nodes: impl IntoIterator<Item = &'a k8s_openapi::api::core::v1::Node>,
) -> BTreeMap<String, String> {
    let zone = |node: &k8s_openapi::api::core::v1::Node| {
        Some((node.name_any(), node.labels().get(labels::ZONE)?.clone()))
    };
    nodes.into_iter().filter_map(zone).collect()
}
