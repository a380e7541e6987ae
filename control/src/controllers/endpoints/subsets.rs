//! The older Endpoints object: one per Service, addresses grouped by ports.
//!
//! It names the first address family only, leaves out terminating pods, and is cut at 1,000
//! addresses, as Kubernetes does; slices have none of these limits.

use super::backend::{Backend, Port, is_headless};
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service,
};
use kube::ResourceExt;
use naru_core::names::labels;
use std::collections::BTreeMap;

const CAPACITY: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Label that says who manages an Endpoints object.
pub const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// Its value here.
pub const MANAGER: &str = "endpoint-controller";

/// The Endpoints that `service` should have; `existing` lends its metadata.
pub fn desired(
    service: &Service,
    backends: Vec<Backend>,
    existing: Option<&Endpoints>,
) -> Endpoints {
    let publish = service
        .spec
        .as_ref()
        .is_some_and(|spec| spec.publish_not_ready_addresses == Some(true));
    let mut usable: Vec<Backend> = backends
        .into_iter()
        .filter(|backend| publish || !backend.terminating)
        .collect();
    usable.sort_by_key(|backend| (!backend.ready, backend.address));
    let cut = usable.len() > CAPACITY;
    usable.truncate(CAPACITY);
    let mut endpoints = existing.cloned().unwrap_or_default();
    endpoints.metadata.name = Some(service.name_any());
    endpoints.metadata.namespace = service.namespace();
    endpoints.metadata.labels = Some(labels_of(service));
    let notes = endpoints.annotations_mut();
    notes.remove(OVER_CAPACITY);
    if cut {
        notes.insert(OVER_CAPACITY.into(), "truncated".into());
    }
    endpoints.metadata.annotations = endpoints
        .metadata
        .annotations
        .filter(|notes| !notes.is_empty());
    let subsets = subsets(usable);
    if endpoints.subsets.as_deref().unwrap_or_default() != subsets {
        endpoints.subsets = Some(subsets);
    }
    endpoints
}

fn labels_of(service: &Service) -> BTreeMap<String, String> {
    let mut all = service.labels().clone();
    all.insert(MANAGED_BY.into(), MANAGER.into());
    all.remove(labels::HEADLESS);
    if is_headless(service) {
        all.insert(labels::HEADLESS.into(), String::new());
    }
    all
}

fn subsets(backends: Vec<Backend>) -> Vec<EndpointSubset> {
    let mut groups: BTreeMap<Vec<Port>, Vec<Backend>> = BTreeMap::new();
    for backend in backends {
        groups
            .entry(backend.ports.clone())
            .or_default()
            .push(backend);
    }
    groups
        .into_iter()
        .map(|(ports, backends)| subset(&ports, &backends))
        .collect()
}

fn subset(ports: &[Port], backends: &[Backend]) -> EndpointSubset {
    let pick = |ready: bool| {
        let picked: Vec<_> = backends
            .iter()
            .filter(|backend| backend.ready == ready)
            .map(address)
            .collect();
        (!picked.is_empty()).then_some(picked)
    };
    let ports: Vec<_> = ports.iter().map(port).collect();
    EndpointSubset {
        addresses: pick(true),
        not_ready_addresses: pick(false),
        ports: (!ports.is_empty()).then_some(ports),
    }
}

fn address(backend: &Backend) -> EndpointAddress {
    EndpointAddress {
        ip: backend.address.to_string(),
        hostname: backend.hostname.clone(),
        node_name: backend.node.clone(),
        target_ref: Some(backend.target.clone()),
    }
}

fn port(port: &Port) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()).filter(|name| !name.is_empty()),
        protocol: Some(port.protocol.clone()),
        port: port.number,
        app_protocol: port.app_protocol.clone(),
    }
}
