//! What each service address should lead to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use naru_ebpf_common::service::{BACKEND_LOCAL, EXTERNAL, LOCAL_ONLY, NODE_PORT};
use naru_ebpf_common::{Addr, Backend, Port, ServiceKey};

use crate::watches::{Key, Protocol};

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// One port of one Service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServicePortName {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub name: String,
    /// Name of the port, empty when it has none.
    pub port: String,
}

/// What one address and port should lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredService {
    /// Whose address it is.
    pub name: ServicePortName,
    /// `NODE_PORT`, `EXTERNAL`, `LOCAL_ONLY`.
    pub flags: u32,
    /// Where it leads, sorted.
    pub backends: Vec<Backend>,
}

/// The desired contents of the service map.
pub type Desired = HashMap<ServiceKey, DesiredService>;

/// Reads Services and slices as the node `node_name` sees them. `own` addresses (the cluster DNS)
/// end on the node itself and are left out.
#[must_use]
pub fn desired(
    services: &BTreeMap<Key, Arc<Service>>,
    slices: &BTreeMap<Key, Arc<EndpointSlice>>,
    node_name: &str,
    own: &[IpAddr],
) -> Desired {
    let by_service = group(slices);
    let mut desired = Desired::new();
    for (key, service) in services {
        let slices = by_service.get(&(key.namespace.as_str(), key.name.as_str()));
        let slices = slices.map_or(&[][..], Vec::as_slice);
        let spec = service.spec.as_ref();
        for port in spec
            .and_then(|spec| spec.ports.as_ref())
            .into_iter()
            .flatten()
        {
            add_port(
                &mut desired,
                key,
                service,
                port,
                &backends(slices, port, node_name),
            );
        }
    }
    desired.retain(|key, _| !own.contains(&key.addr.into()));
    desired
}

fn group(slices: &BTreeMap<Key, Arc<EndpointSlice>>) -> HashMap<(&str, &str), Vec<&EndpointSlice>> {
    let mut groups: HashMap<_, Vec<_>> = HashMap::new();
    for (key, slice) in slices {
        let labels = slice.metadata.labels.as_ref();
        if let Some(name) = labels.and_then(|labels| labels.get(SERVICE_NAME)) {
            groups
                .entry((key.namespace.as_str(), name.as_str()))
                .or_default()
                .push(slice.as_ref());
        }
    }
    groups
}

fn add_port(
    desired: &mut Desired,
    key: &Key,
    service: &Service,
    port: &ServicePort,
    backends: &[Backend],
) {
    let Some(protocol) = supported(port.protocol.as_deref()) else {
        return;
    };
    let Ok(number) = u16::try_from(port.port) else {
        return;
    };
    let spec = service.spec.as_ref();
    let is_local = |policy: Option<&String>| policy.is_some_and(|policy| policy == "Local");
    let local_inside = is_local(spec.and_then(|spec| spec.internal_traffic_policy.as_ref()));
    let local_outside = is_local(spec.and_then(|spec| spec.external_traffic_policy.as_ref()));
    let name = ServicePortName {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        port: port.name.clone().unwrap_or_default(),
    };
    let mut add = |addr: Addr, port: u16, flags: u32, local: bool| {
        let wanted = |backend: &&Backend| !local || backend.flags & BACKEND_LOCAL != 0;
        let backends = backends.iter().filter(wanted).copied().collect();
        let key = ServiceKey {
            addr,
            port: Port::new(port),
            protocol,
            reserved: 0,
        };
        desired.insert(
            key,
            DesiredService {
                name: name.clone(),
                flags,
                backends,
            },
        );
    };
    for addr in cluster_addresses(service) {
        add(addr, number, 0, local_inside);
    }
    let outside = if local_outside { LOCAL_ONLY } else { 0 };
    for addr in external_addresses(service) {
        add(addr, number, EXTERNAL | outside, local_outside);
    }
    let node_port = port.node_port.and_then(|port| u16::try_from(port).ok());
    if let Some(node_port) = node_port.filter(|port| *port != 0) {
        add(Addr::ANY_V4, node_port, NODE_PORT | outside, local_outside);
    }
}

fn supported(protocol: Option<&str>) -> Option<u8> {
    match Protocol::parse(protocol)? {
        Protocol::Sctp => None,
        protocol => Some(protocol.number()),
    }
}

fn addresses<'a>(texts: impl Iterator<Item = &'a String>) -> BTreeSet<IpAddr> {
    texts.filter_map(|text| text.parse().ok()).collect()
}

/// Headless Services have the word `None` here, which is no address.
fn cluster_addresses(service: &Service) -> Vec<Addr> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    let all = spec
        .cluster_ip
        .iter()
        .chain(spec.cluster_ips.iter().flatten());
    addresses(all).into_iter().map(Addr::from).collect()
}

fn external_addresses(service: &Service) -> Vec<Addr> {
    let status = service
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref());
    let balancers = status
        .and_then(|status| status.ingress.as_ref())
        .into_iter()
        .flatten();
    let external = service
        .spec
        .iter()
        .flat_map(|spec| spec.external_ips.iter().flatten());
    let all = external.chain(balancers.filter_map(|ingress| ingress.ip.as_ref()));
    addresses(all).into_iter().map(Addr::from).collect()
}

/// Ready endpoints; when there is none, those that still serve while they terminate, so that the
/// last connections of a Service going away are not refused.
fn backends(slices: &[&EndpointSlice], port: &ServicePort, node_name: &str) -> Vec<Backend> {
    let wanted = port.name.as_deref().unwrap_or_default();
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let (mut ready, mut terminating) = (BTreeSet::new(), BTreeSet::new());
    for slice in slices {
        let ports = slice.ports.iter().flatten().filter(|port| {
            port.name.as_deref().unwrap_or_default() == wanted
                && port.protocol.as_deref().unwrap_or("TCP") == protocol
        });
        for number in ports.filter_map(|port| u16::try_from(port.port?).ok()) {
            for endpoint in slice.endpoints.iter().flatten() {
                let Some(set) = choose(endpoint, &mut ready, &mut terminating) else {
                    continue;
                };
                let local = endpoint.node_name.as_deref() == Some(node_name);
                set.extend(
                    addresses(endpoint.addresses.iter())
                        .into_iter()
                        .map(|ip| (ip, number, local)),
                );
            }
        }
    }
    let chosen = if ready.is_empty() { terminating } else { ready };
    chosen.into_iter().map(backend).collect()
}

type Ends = BTreeSet<(IpAddr, u16, bool)>;

fn choose<'a>(
    endpoint: &Endpoint,
    ready: &'a mut Ends,
    terminating: &'a mut Ends,
) -> Option<&'a mut Ends> {
    let conditions = endpoint.conditions.as_ref();
    // Discovery API: an absent `ready` means ready, an absent `serving` means the same as ready.
    let is_ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let is_serving = conditions.and_then(|c| c.serving).unwrap_or(is_ready);
    let is_terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
    if is_ready {
        return Some(ready);
    }
    (is_serving && is_terminating).then_some(terminating)
}

fn backend((ip, port, local): (IpAddr, u16, bool)) -> Backend {
    let flags = if local { BACKEND_LOCAL } else { 0 };
    Backend {
        addr: ip.into(),
        port: Port::new(port),
        flags,
        reserved: 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn table<T: serde::de::DeserializeOwned>(objects: &[Value]) -> BTreeMap<Key, Arc<T>> {
        let key = |object: &Value| Key::new("shop", object["metadata"]["name"].as_str().unwrap());
        objects
            .iter()
            .map(|o| (key(o), Arc::new(serde_json::from_value(o.clone()).unwrap())))
            .collect()
    }

    fn service(spec: Value) -> Value {
        json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})
    }

    fn slice(endpoints: Value) -> Value {
        json!({
            "metadata": {"name": "web-1", "labels": {SERVICE_NAME: "web"}},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}]
        })
    }

    fn plan(spec: Value, endpoints: Value) -> BTreeMap<String, Vec<String>> {
        let desired = desired(
            &table(&[service(spec)]),
            &table(&[slice(endpoints)]),
            "node1",
            &["10.96.0.10".parse().unwrap()],
        );
        let text = |key: &ServiceKey| format!("{}:{}/{}", key.addr, key.port, key.protocol);
        let ends = |s: &DesiredService| {
            s.backends
                .iter()
                .map(|b| format!("{}:{}", b.addr, b.port))
                .collect()
        };
        desired
            .iter()
            .map(|(key, service)| (text(key), ends(service)))
            .collect()
    }

    fn spec() -> Value {
        json!({"clusterIP": "10.96.1.1", "ports": [{"name": "http", "port": 80}]})
    }

    #[test]
    fn named_ports_lead_to_the_slices_port_of_that_name() {
        let spec = json!({"clusterIP": "10.96.1.1", "ports": [
            {"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "no", "port": 1}]});
        let plan = plan(spec, json!([{"addresses": ["10.244.0.2"]}]));
        assert_eq!(plan["10.96.1.1:80/6"], ["10.244.0.2:8080"]);
        assert_eq!(plan["10.96.1.1:53/17"], ["10.244.0.2:53"]);
        assert!(plan["10.96.1.1:1/6"].is_empty());
    }

    #[test]
    fn terminating_endpoints_serve_only_when_none_is_ready() {
        let leaving = json!({"addresses": ["10.244.0.2"],
            "conditions": {"ready": false, "serving": true, "terminating": true}});
        let ready = json!({"addresses": ["10.244.0.3"], "conditions": {"ready": true}});
        let broken = json!({"addresses": ["10.244.0.4"], "conditions": {"ready": false}});
        assert_eq!(
            plan(spec(), json!([leaving, ready, broken]))["10.96.1.1:80/6"],
            ["10.244.0.3:8080"]
        );
        assert_eq!(
            plan(spec(), json!([leaving, broken]))["10.96.1.1:80/6"],
            ["10.244.0.2:8080"]
        );
    }

    #[test]
    fn node_ports_and_external_addresses_follow_the_external_policy() {
        let spec = json!({"clusterIP": "10.96.1.1", "externalTrafficPolicy": "Local", "externalIPs": ["192.0.2.1"],
            "ports": [{"name": "http", "port": 80, "nodePort": 30080}]});
        let here = json!({"addresses": ["10.244.0.2"], "nodeName": "node1"});
        let there = json!({"addresses": ["10.244.1.2"], "nodeName": "node2"});
        let plan = plan(spec, json!([here, there]));
        assert_eq!(plan["10.96.1.1:80/6"].len(), 2);
        assert_eq!(plan["0.0.0.0:30080/6"], ["10.244.0.2:8080"]);
        assert_eq!(plan["192.0.2.1:80/6"], ["10.244.0.2:8080"]);
    }

    #[test]
    fn headless_services_and_the_cluster_dns_have_no_entry() {
        let headless = json!({"clusterIP": "None", "ports": [{"name": "http", "port": 80}]});
        assert!(plan(headless, json!([{"addresses": ["10.244.0.2"]}])).is_empty());
        let dns = json!({"clusterIP": "10.96.0.10", "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]});
        assert!(plan(dns, json!([])).is_empty());
    }
}
