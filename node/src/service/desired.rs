//! What each service address should lead to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use naru_ebpf_common::service::{
    AFFINITY_SHIFT, ELSEWHERE, EXTERNAL, LOCAL_ONLY, NODE_PORT, RANGED, SCOPE_ANY, SCOPE_OUTSIDE,
};
use naru_ebpf_common::{Addr, Backend, Port, ServiceKey};

use super::balancing::Balancing;
use super::ends::{Here, Views, views};
use crate::watches::{Key, Protocol};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// How long a client keeps its backend if the Service does not say, in seconds.
const AFFINITY_SECONDS: u32 = 10_800;
/// The longest that the API allows, in seconds.
const AFFINITY_SECONDS_MAX: i32 = 86_400;

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
    /// `Service::flags`.
    pub flags: u32,
    /// Where it leads, sorted.
    pub backends: Vec<Backend>,
    /// The only clients that may come, if `flags` say so: networks with their prefix length (0 to
    /// 128, IPv4 counted from 96).
    pub ranges: Vec<(Addr, u32)>,
}

/// The desired contents of the service map.
pub type Desired = HashMap<ServiceKey, DesiredService>;

/// What every Service depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts<'a> {
    /// Where the plan is made for.
    pub here: Here<'a>,
    /// Addresses that end on the node itself (the cluster DNS) and are left out.
    pub own: &'a [IpAddr],
    /// What Services get that do not ask.
    pub balancing: Balancing,
}

/// What the addresses of one Service should lead to, with its slices.
pub(super) fn desired(
    key: &Key,
    service: &Service,
    slices: &[&EndpointSlice],
    facts: Facts<'_>,
) -> Desired {
    let mut desired = Desired::new();
    let Some(spec) = &service.spec else {
        return desired;
    };
    let balancing = facts.balancing.of(service);
    for v6 in families(spec) {
        for port in spec.ports.iter().flatten() {
            let views = views(slices, port, facts.here, v6);
            let seen = Seen {
                views: &views,
                v6,
                balancing,
            };
            add_port(&mut desired, key, service, port, seen);
        }
    }
    desired.retain(|key, _| !facts.own.contains(&key.addr.into()));
    desired
}

/// The name of the Service that a slice belongs to.
pub(super) fn service_of(slice: &EndpointSlice) -> Option<&str> {
    let labels = slice.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(SERVICE_NAME).map(String::as_str))
}

/// Slices by the Service that they belong to.
pub(crate) type Groups<'a> = HashMap<(&'a str, &'a str), Vec<&'a EndpointSlice>>;

pub(crate) fn group(slices: &BTreeMap<Key, Arc<EndpointSlice>>) -> Groups<'_> {
    let mut groups: HashMap<_, Vec<_>> = HashMap::new();
    for (key, slice) in slices {
        if let Some(name) = service_of(slice) {
            groups
                .entry((key.namespace.as_str(), name))
                .or_default()
                .push(slice.as_ref());
        }
    }
    groups
}

pub(crate) fn slices_of<'a, 'b>(groups: &'b Groups<'a>, key: &'a Key) -> &'b [&'a EndpointSlice] {
    let slices = groups.get(&(key.namespace.as_str(), key.name.as_str()));
    slices.map_or(&[], Vec::as_slice)
}

/// What the entries of one Service port have in common.
struct Entries<'a> {
    desired: &'a mut Desired,
    name: ServicePortName,
    protocol: u8,
    /// Bits of session affinity.
    affinity: u32,
    views: &'a Views,
    balancing: Balancing,
    ranges: &'a [(Addr, u32)],
}

impl Entries<'_> {
    /// An address at which everybody of `scope` meets the backends of one view.
    fn add(&mut self, (addr, port): (Addr, u16), scope: u8, flags: u32, local: bool) {
        let backends = if local {
            &self.views.local
        } else {
            &self.views.cluster
        };
        let elsewhere = if backends.is_empty() && self.views.any() {
            ELSEWHERE
        } else {
            0
        };
        let key = ServiceKey {
            addr,
            port: Port::new(port),
            protocol: self.protocol,
            scope,
        };
        let ranges = if flags & RANGED != 0 {
            self.ranges.to_vec()
        } else {
            Vec::new()
        };
        let entry = DesiredService {
            name: self.name.clone(),
            flags: flags | elsewhere | self.affinity,
            backends: backends.clone(),
            ranges,
        };
        self.desired.insert(key, entry);
    }

    /// An address for the world: its policy is for packets from outside. The cluster's own reach
    /// every endpoint there, as they would at the cluster address, and by chance.
    fn add_external(&mut self, end: (Addr, u16), flags: u32, local: bool) {
        let (flags, outside) = if local {
            (flags | LOCAL_ONLY, &self.views.local)
        } else {
            (flags, &self.views.cluster)
        };
        let table = self.balancing.flags(outside.len());
        self.add(end, SCOPE_ANY, flags, false);
        if local || table != 0 {
            self.add(end, SCOPE_OUTSIDE, flags | table, local);
        }
    }
}

/// A Service port as this node sees it in one family.
#[derive(Clone, Copy)]
struct Seen<'a> {
    views: &'a Views,
    v6: bool,
    balancing: Balancing,
}

fn add_port(
    desired: &mut Desired,
    key: &Key,
    service: &Service,
    port: &ServicePort,
    seen: Seen<'_>,
) {
    let v6 = seen.v6;
    let Some(spec) = &service.spec else { return };
    let Some(protocol) = supported(port.protocol.as_deref()) else {
        return;
    };
    let Ok(number) = u16::try_from(port.port) else {
        return;
    };
    let ranges = source_ranges(service);
    let mut entries = Entries {
        desired,
        name: ServicePortName {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            port: port.name.clone().unwrap_or_default(),
        },
        protocol,
        affinity: affinity(spec),
        views: seen.views,
        balancing: seen.balancing,
        ranges: ranges.as_deref().unwrap_or_default(),
    };
    let local_inside = is_local(spec.internal_traffic_policy.as_deref());
    let local_outside = is_local(spec.external_traffic_policy.as_deref());
    for addr in cluster_addresses(spec, v6) {
        entries.add((addr, number), SCOPE_ANY, 0, local_inside);
    }
    for addr in addresses(spec.external_ips.iter().flatten(), v6) {
        entries.add_external((addr, number), EXTERNAL, local_outside);
    }
    let ranged = if ranges.is_some() { RANGED } else { 0 };
    for addr in balancer_addresses(service, v6) {
        entries.add_external((addr, number), EXTERNAL | ranged, local_outside);
    }
    let node_port = port.node_port.and_then(|port| u16::try_from(port).ok());
    if let Some(node_port) = node_port.filter(|port| *port != 0) {
        let any = if v6 { Addr::UNSPECIFIED } else { Addr::ANY_V4 };
        entries.add_external((any, node_port), NODE_PORT, local_outside);
    }
}

pub(crate) fn is_local(policy: Option<&str>) -> bool {
    policy == Some("Local")
}

pub(super) fn supported(protocol: Option<&str>) -> Option<u8> {
    Protocol::parse(protocol).map(Protocol::number)
}

/// The bits of session affinity in `Service::flags`.
fn affinity(spec: &ServiceSpec) -> u32 {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return 0;
    }
    let config = spec.session_affinity_config.as_ref();
    let seconds = config
        .and_then(|config| config.client_ip.as_ref()?.timeout_seconds)
        .map(|seconds| seconds.clamp(1, AFFINITY_SECONDS_MAX).unsigned_abs());
    seconds.unwrap_or(AFFINITY_SECONDS) << AFFINITY_SHIFT
}

/// The families of a Service, as `v6`. What another API server or an older one left unsaid follows
/// from the addresses.
fn families(spec: &ServiceSpec) -> BTreeSet<bool> {
    let named = spec.ip_families.iter().flatten();
    let named: BTreeSet<bool> = named.map(|family| family == "IPv6").collect();
    if !named.is_empty() {
        return named;
    }
    let given = spec.cluster_ip.iter();
    let given = given.chain(spec.cluster_ips.iter().flatten());
    let given = given.filter_map(|ip| ip.parse::<IpAddr>().ok());
    let given: BTreeSet<bool> = given.map(|ip| ip.is_ipv6()).collect();
    if given.is_empty() {
        BTreeSet::from([false])
    } else {
        given
    }
}

fn addresses<'a>(texts: impl Iterator<Item = &'a String>, v6: bool) -> Vec<Addr> {
    let sorted: BTreeSet<IpAddr> = texts
        .filter_map(|text| text.parse().ok())
        .filter(|ip: &IpAddr| ip.is_ipv6() == v6)
        .collect();
    sorted.into_iter().map(Addr::from).collect()
}

/// Headless Services have the word `None` here, which is no address.
fn cluster_addresses(spec: &ServiceSpec, v6: bool) -> Vec<Addr> {
    let all = spec.cluster_ip.iter();
    addresses(all.chain(spec.cluster_ips.iter().flatten()), v6)
}

/// Addresses of load balancers whose traffic arrives with them as its destination.
fn balancer_addresses(service: &Service, v6: bool) -> Vec<Addr> {
    let status = service.status.as_ref();
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref());
    let vips = ingress
        .into_iter()
        .flatten()
        .filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
    addresses(vips.filter_map(|ingress| ingress.ip.as_ref()), v6)
}

/// The networks whose clients may use the load balancer; none when everybody may.
fn source_ranges(service: &Service) -> Option<Vec<(Addr, u32)>> {
    let spec = service.spec.as_ref()?;
    let texts = spec.load_balancer_source_ranges.as_deref()?;
    if texts.is_empty() || spec.type_.as_deref() != Some("LoadBalancer") {
        return None;
    }
    let nets = texts.iter().filter_map(|text| text.trim().parse().ok());
    let nets: BTreeSet<IpNet> = nets.map(|net: IpNet| net.trunc()).collect();
    Some(nets.into_iter().map(prefix).collect())
}

fn prefix(net: IpNet) -> (Addr, u32) {
    let bits = u32::from(net.prefix_len());
    let length = if net.addr().is_ipv4() {
        96 + bits
    } else {
        bits
    };
    (net.addr().into(), length)
}

#[cfg(test)]
mod tests {
    use naru_ebpf_common::TableSize;
    use naru_ebpf_common::service::TABLE;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Algorithm;

    const HERE: Here<'_> = Here {
        node: "node1",
        zone: None,
    };

    const RANDOM: Balancing = Balancing {
        algorithm: Algorithm::Random,
        table: TableSize::DEFAULT,
    };

    fn table<T: serde::de::DeserializeOwned>(objects: &[Value]) -> BTreeMap<Key, Arc<T>> {
        let key = |object: &Value| Key::new("shop", object["metadata"]["name"].as_str().unwrap());
        objects
            .iter()
            .map(|o| (key(o), Arc::new(serde_json::from_value(o.clone()).unwrap())))
            .collect()
    }

    /// What the Services and slices of a namespace lead to.
    fn desired(
        services: &BTreeMap<Key, Arc<Service>>,
        slices: &BTreeMap<Key, Arc<EndpointSlice>>,
        own: &[IpAddr],
    ) -> Desired {
        let facts = Facts {
            here: HERE,
            own,
            balancing: RANDOM,
        };
        let groups = group(slices);
        let of_one = |(key, service): (&Key, &Arc<Service>)| {
            super::desired(key, service, slices_of(&groups, key), facts)
        };
        services.iter().flat_map(of_one).collect()
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
            &["10.96.0.10".parse().unwrap()],
        );
        let scope = |key: &ServiceKey| ["", " outside"][usize::from(key.scope)];
        let text =
            |key: &ServiceKey| format!("{}:{}/{}{}", key.addr, key.port, key.protocol, scope(key));
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
        for address in ["0.0.0.0:30080/6", "192.0.2.1:80/6"] {
            assert_eq!(plan[address].len(), 2, "the cluster's own");
            assert_eq!(plan[&format!("{address} outside")], ["10.244.0.2:8080"]);
        }
    }

    #[test]
    fn a_lookup_table_is_for_packets_from_outside_alone() {
        let spec = json!({"clusterIP": "10.96.1.1", "externalIPs": ["192.0.2.1"],
            "ports": [{"name": "http", "port": 80, "nodePort": 30080}]});
        let mut service = service(spec);
        service["metadata"]["annotations"] = json!({"naru.dev/load-balancer-algorithm": "maglev"});
        let tables = |service: &Value, addresses: &[&str]| {
            let services = table(std::slice::from_ref(service));
            let slice = slice(json!([{"addresses": addresses, "nodeName": "node1"}]));
            let desired = desired(&services, &table(&[slice]), &[]);
            let tabled = desired.iter().filter(|(_, entry)| entry.flags & TABLE != 0);
            let mut all: Vec<_> = tabled
                .map(|(key, entry)| (key.addr.to_string(), key.scope, entry.backends.len()))
                .collect();
            all.sort();
            (all, desired.len())
        };
        let expected = vec![
            ("0.0.0.0".to_owned(), SCOPE_OUTSIDE, 2),
            ("192.0.2.1".to_owned(), SCOPE_OUTSIDE, 2),
        ];
        let two = ["10.244.0.2", "10.244.0.3"];
        assert_eq!(tables(&service, &two), (expected.clone(), 5));
        assert_eq!(tables(&service, &two[..1]), (Vec::new(), 3));
        service["spec"]["externalTrafficPolicy"] = "Local".into();
        assert_eq!(tables(&service, &two), (expected, 5));
    }

    #[test]
    fn a_service_of_two_families_leads_to_the_endpoints_of_each() {
        let spec = json!({"clusterIP": "fd00:96::1", "clusterIPs": ["fd00:96::1", "10.96.1.1"],
            "ipFamilies": ["IPv6", "IPv4"], "externalIPs": ["2001:db8::1"],
            "ports": [{"name": "http", "port": 80, "nodePort": 30080}]});
        let v4 = slice(json!([{"addresses": ["10.244.0.2"]}]));
        let mut v6 = slice(json!([{"addresses": ["fd00::2"]}]));
        v6["metadata"]["name"] = json!("web-2");
        v6["addressType"] = json!("IPv6");
        let desired = desired(&table(&[service(spec)]), &table(&[v4, v6]), &[]);
        let mut lines: Vec<_> = desired
            .iter()
            .map(|(key, entry)| format!("{} {}", key.addr, entry.backends[0].addr))
            .collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                "0.0.0.0 10.244.0.2",
                "10.96.1.1 10.244.0.2",
                "2001:db8::1 fd00::2",
                ":: fd00::2",
                "fd00:96::1 fd00::2"
            ]
        );
    }

    /// Flags and ranges of an entry.
    fn entry(service: Value, endpoints: Value, addr: &str, scope: u8) -> (u32, Vec<(Addr, u32)>) {
        let desired = desired(&table(&[service]), &table(&[slice(endpoints)]), &[]);
        let addr: IpAddr = addr.parse().unwrap();
        let found = desired
            .iter()
            .find(|(key, _)| key.addr == addr.into() && key.scope == scope);
        let (_, entry) = found.expect("an entry");
        (entry.flags, entry.ranges.clone())
    }

    #[test]
    fn a_local_policy_without_an_endpoint_here_says_that_there_are_others() {
        let there = json!([{"addresses": ["10.244.1.2"], "nodeName": "node2"}]);
        let mut spec = spec();
        spec["internalTrafficPolicy"] = "Local".into();
        let flags = |endpoints| entry(service(spec.clone()), endpoints, "10.96.1.1", 0).0;
        assert_eq!(flags(there), ELSEWHERE);
        assert_eq!(flags(json!([])), 0);
    }

    #[test]
    fn affinity_has_the_api_s_default_and_its_own_timeout() {
        let mut spec = spec();
        spec["sessionAffinity"] = "ClientIP".into();
        let flags = |spec: &Value| entry(service(spec.clone()), json!([]), "10.96.1.1", 0).0;
        assert_eq!(flags(&spec) >> AFFINITY_SHIFT, 10_800);
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 60}});
        assert_eq!(flags(&spec) >> AFFINITY_SHIFT, 60);
        spec["sessionAffinity"] = "None".into();
        assert_eq!(flags(&spec), 0);
    }

    #[test]
    fn source_ranges_are_for_load_balancer_addresses_alone() {
        let mut balanced = service(json!({"type": "LoadBalancer", "clusterIP": "10.96.1.1",
            "externalIPs": ["192.0.2.2"], "loadBalancerSourceRanges": ["10.1.2.3/8", "nonsense"],
            "ports": [{"name": "http", "port": 80}]}));
        balanced["status"] = json!({"loadBalancer": {"ingress": [
            {"ip": "192.0.2.1"}, {"ip": "192.0.2.3", "ipMode": "Proxy"}]}});
        let (flags, ranges) = entry(balanced.clone(), json!([]), "192.0.2.1", 0);
        assert_eq!(flags, EXTERNAL | RANGED);
        assert_eq!(ranges, [(Addr::v4([10, 0, 0, 0]), 96 + 8)]);
        let (flags, ranges) = entry(balanced.clone(), json!([]), "192.0.2.2", 0);
        assert_eq!((flags, ranges), (EXTERNAL, vec![]));
        let desired = desired(&table(&[balanced]), &table(&[]), &[]);
        let proxied: IpAddr = "192.0.2.3".parse().unwrap();
        assert!(desired.keys().all(|key| key.addr != proxied.into()));
    }

    #[test]
    fn headless_services_and_the_cluster_dns_have_no_entry() {
        let headless = json!({"clusterIP": "None", "ports": [{"name": "http", "port": 80}]});
        assert!(plan(headless, json!([{"addresses": ["10.244.0.2"]}])).is_empty());
        let dns = json!({"clusterIP": "10.96.0.10", "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]});
        assert!(plan(dns, json!([])).is_empty());
    }
}
