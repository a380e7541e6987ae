//! From API objects to the zone: pure functions over Services, EndpointSlices and pod addresses.
//!
//! What is malformed (an address that does not parse, a port out of range) is left out, because
//! the API server has refused it already and one bad object must not hide the others.

use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt};
use hickory_proto::rr::Name;
use k8s_openapi::api::core::v1::{Service as ServiceObject, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointPort, EndpointSlice};

use crate::zone::{Endpoint, Pods, Port, Service, Services};

/// Label of an EndpointSlice that names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

type Key<'a> = (&'a str, &'a str);

/// Everything the zone says about Services.
pub fn services<'a>(
    services: impl IntoIterator<Item = &'a ServiceObject>,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
) -> Services {
    let slices = slices_by_service(slices);
    let mut plan = Services::default();
    for object in services {
        let Some(key) = key(&object.metadata) else {
            continue;
        };
        let slices = slices.get(&key).map_or(&[][..], Vec::as_slice);
        if let Some(service) = service(object, slices) {
            add_reverse(&mut plan, key, &service);
            plan.by_namespace
                .entry(key.0.into())
                .or_default()
                .insert(key.1.into(), service);
        }
    }
    plan
}

/// The addresses of pods that have one and have not ended, each with its namespace.
pub fn pods<'a>(addresses: impl IntoIterator<Item = (&'a str, IpAddr)>) -> Pods {
    let mut plan = Pods::default();
    for (namespace, address) in addresses {
        match plan.by_namespace.get_mut(namespace) {
            Some(pods) => drop(pods.insert(address)),
            None => drop(
                plan.by_namespace
                    .insert(namespace.into(), [address].into_iter().collect()),
            ),
        }
    }
    plan
}

fn key(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Option<Key<'_>> {
    Some((meta.namespace.as_deref()?, meta.name.as_deref()?))
}

fn slices_by_service<'a>(
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
) -> HashMap<Key<'a>, Vec<&'a EndpointSlice>> {
    let mut map: HashMap<Key<'a>, Vec<&EndpointSlice>> = HashMap::new();
    for slice in slices {
        let labels = slice.metadata.labels.as_ref();
        let name = labels.and_then(|labels| labels.get(SERVICE_NAME));
        if let (Some(namespace), Some(name)) = (slice.metadata.namespace.as_deref(), name) {
            map.entry((namespace, name)).or_default().push(slice);
        }
    }
    map
}

fn service(object: &ServiceObject, slices: &[&EndpointSlice]) -> Option<Service> {
    let spec = object.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        let mut name = Name::from_ascii(spec.external_name.as_deref()?).ok()?;
        name.set_fqdn(true);
        return Some(Service::External(name));
    }
    if spec.cluster_ip.as_deref() == Some("None") {
        return Some(Service::Headless(endpoints(slices)));
    }
    let addresses = match &spec.cluster_ips {
        Some(many) if !many.is_empty() => many.iter().filter_map(|ip| ip.parse().ok()).collect(),
        _ => spec
            .cluster_ip
            .iter()
            .filter_map(|ip| ip.parse().ok())
            .collect(),
    };
    let ports = spec
        .ports
        .iter()
        .flatten()
        .filter_map(service_port)
        .collect();
    Some(Service::Cluster { addresses, ports })
}

fn service_port(port: &ServicePort) -> Option<Port> {
    named_port(
        port.name.as_deref(),
        port.protocol.as_deref(),
        Some(port.port),
    )
}

fn endpoint_port(port: &EndpointPort) -> Option<Port> {
    named_port(port.name.as_deref(), port.protocol.as_deref(), port.port)
}

fn named_port(name: Option<&str>, protocol: Option<&str>, number: Option<i32>) -> Option<Port> {
    let name = name.filter(|name| !name.is_empty())?;
    Some(Port {
        name: name.to_ascii_lowercase().into(),
        protocol: protocol.unwrap_or("TCP").to_ascii_lowercase().into(),
        number: u16::try_from(number?).ok()?,
    })
}

/// The ready endpoints of all slices of one Service; an address in two slices has both's ports.
fn endpoints(slices: &[&EndpointSlice]) -> Vec<Endpoint> {
    let mut found: Vec<Endpoint> = Vec::new();
    let mut index: HashMap<(IpAddr, Box<str>), usize> = HashMap::new();
    for slice in slices.iter().filter(|slice| slice.address_type != "FQDN") {
        let ports: Vec<Port> = slice
            .ports
            .iter()
            .flatten()
            .filter_map(endpoint_port)
            .collect();
        for endpoint in slice
            .endpoints
            .iter()
            .flatten()
            .filter(|endpoint| is_ready(endpoint))
        {
            for address in endpoint
                .addresses
                .iter()
                .filter_map(|text| text.parse().ok())
            {
                let hostname = hostname(endpoint, address);
                let at = *index.entry((address, hostname.clone())).or_insert_with(|| {
                    found.push(Endpoint {
                        hostname,
                        address,
                        ports: Vec::new(),
                    });
                    found.len() - 1
                });
                found[at].ports.extend(ports.iter().cloned());
            }
        }
    }
    for endpoint in &mut found {
        endpoint.ports.sort();
        endpoint.ports.dedup();
    }
    found
}

/// An endpoint counts as ready unless its condition says otherwise (absent means ready).
fn is_ready(endpoint: &SliceEndpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions
        .and_then(|conditions| conditions.ready)
        .unwrap_or(true)
}

fn hostname(endpoint: &SliceEndpoint, address: IpAddr) -> Box<str> {
    match endpoint.hostname.as_deref() {
        Some(name) if !name.is_empty() => name.to_ascii_lowercase().into(),
        _ => dashed(address),
    }
}

/// An address as a DNS label: `10-0-0-1`, `fd00--1`.
pub fn dashed(address: IpAddr) -> Box<str> {
    address.to_string().replace(['.', ':'], "-").into()
}

fn add_reverse(plan: &mut Services, (namespace, name): Key<'_>, service: &Service) {
    let mut add = |address: IpAddr, labels: Vec<Box<str>>| {
        plan.reverse.entry(address).or_default().push(labels);
    };
    match service {
        Service::Cluster { addresses, .. } => {
            for address in addresses {
                add(*address, vec![name.into(), namespace.into()]);
            }
        }
        Service::Headless(endpoints) => {
            for endpoint in endpoints {
                let labels = vec![endpoint.hostname.clone(), name.into(), namespace.into()];
                add(endpoint.address, labels);
            }
        }
        Service::External(_) => {}
    }
}
