//! Endpoint slices: packed so that few of them change when few endpoints do.
//!
//! Guarantees: at most [`CAPACITY`] endpoints in a slice; an endpoint stays in the slice that it is
//! in; slices that become empty go, except the last one of a Service, which stays as the sign that
//! nothing is behind it.

use super::backend::{Backend, Port, is_headless};
use crate::controllers::runtime::meta;
use k8s_openapi::api::core::v1::{ObjectReference, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use naru_core::names::labels;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Endpoints in one slice.
pub const CAPACITY: usize = 100;
/// Who manages the slices.
pub const MANAGER: &str = "endpointslice-controller.k8s.io";

/// Writes that make the slices right.
#[derive(Debug, Default)]
pub struct Plan {
    /// New slices.
    pub create: Vec<EndpointSlice>,
    /// Changed slices, before and after.
    pub update: Vec<(Arc<EndpointSlice>, EndpointSlice)>,
    /// Slices that nobody needs.
    pub delete: Vec<Arc<EndpointSlice>>,
}

/// Whether this controller made the slice.
pub fn is_ours(slice: &EndpointSlice) -> bool {
    slice.labels().get(labels::MANAGED_BY).map(String::as_str) == Some(MANAGER)
}

/// Plans the slices of one address family (`IPv4` or `IPv6`). `existing` are our slices of this
/// Service and family.
pub fn plan(
    service: &Service,
    family: &str,
    backends: Vec<Backend>,
    existing: Vec<Arc<EndpointSlice>>,
) -> Plan {
    let mut wanted: BTreeMap<Vec<Port>, Vec<Backend>> = BTreeMap::new();
    for backend in backends {
        wanted
            .entry(backend.ports.clone())
            .or_default()
            .push(backend);
    }
    if wanted.is_empty() {
        wanted.insert(
            existing
                .first()
                .map_or_else(Vec::new, |slice| ports_of(slice)),
            Vec::new(),
        );
    }
    let mut names: BTreeSet<String> = existing.iter().map(|slice| slice.name_any()).collect();
    let mut pools: BTreeMap<Vec<Port>, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in existing {
        pools.entry(ports_of(&slice)).or_default().push(slice);
    }
    let mut plan = Plan::default();
    for (ports, backends) in wanted {
        let pool = pools.remove(&ports).unwrap_or_default();
        pack(
            service, family, &ports, backends, pool, &mut names, &mut plan,
        );
    }
    plan.delete.extend(pools.into_values().flatten());
    reuse(&mut plan);
    plan
}

/// Packs the backends of one set of ports.
fn pack(
    service: &Service,
    family: &str,
    ports: &[Port],
    backends: Vec<Backend>,
    pool: Vec<Arc<EndpointSlice>>,
    names: &mut BTreeSet<String>,
    plan: &mut Plan,
) {
    let empty = backends.is_empty();
    let mut buckets = stay(&backends, pool);
    if empty && buckets.is_empty() {
        buckets.push(Bucket::default());
    }
    for (index, bucket) in buckets.into_iter().enumerate() {
        let keep = !bucket.endpoints.is_empty() || (empty && index == 0);
        match bucket.slice {
            Some(slice) if keep => {
                let filled = fill(service, (*slice).clone(), ports, bucket.endpoints);
                if filled != *slice {
                    plan.update.push((slice, filled));
                }
            }
            Some(slice) => plan.delete.push(slice),
            None => plan.create.push(fill(
                service,
                blank(service, family, names),
                ports,
                bucket.endpoints,
            )),
        }
    }
}

/// A slice to be, and the one it comes from.
#[derive(Default)]
struct Bucket {
    slice: Option<Arc<EndpointSlice>>,
    endpoints: Vec<Endpoint>,
}

/// Leaves every endpoint where it is and puts new ones where there is room.
fn stay(backends: &[Backend], pool: Vec<Arc<EndpointSlice>>) -> Vec<Bucket> {
    let mut left: BTreeMap<String, Endpoint> = backends
        .iter()
        .map(|backend| (uid(&backend.target), endpoint(backend)))
        .collect();
    let mut buckets: Vec<Bucket> = Vec::new();
    for slice in pool {
        let stays = slice
            .endpoints
            .iter()
            .flatten()
            .filter_map(|old| left.remove(&uid(old.target_ref.as_ref()?)));
        let endpoints = stays.take(CAPACITY).collect();
        buckets.push(Bucket {
            slice: Some(slice),
            endpoints,
        });
    }
    for endpoint in left.into_values() {
        match buckets
            .iter_mut()
            .find(|bucket| bucket.endpoints.len() < CAPACITY)
        {
            Some(bucket) => bucket.endpoints.push(endpoint),
            None => buckets.push(Bucket {
                slice: None,
                endpoints: vec![endpoint],
            }),
        }
    }
    buckets
}

/// A slice that would be deleted while another is created is filled instead: one write, not two.
fn reuse(plan: &mut Plan) {
    let count = plan.create.len().min(plan.delete.len());
    for (new, old) in plan.create.drain(..count).zip(plan.delete.drain(..count)) {
        let mut filled = (*old).clone();
        filled.metadata.labels = new.metadata.labels;
        filled.ports = new.ports;
        filled.endpoints = new.endpoints;
        plan.update.push((old, filled));
    }
}

fn uid(target: &ObjectReference) -> String {
    target.uid.clone().unwrap_or_default()
}

fn endpoint(backend: &Backend) -> Endpoint {
    Endpoint {
        addresses: vec![backend.address.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(backend.ready),
            serving: Some(backend.serving),
            terminating: Some(backend.terminating),
        }),
        hostname: backend.hostname.clone(),
        node_name: backend.node.clone(),
        target_ref: Some(backend.target.clone()),
        zone: backend.zone.clone(),
        hints: backend.hints.clone(),
        ..Endpoint::default()
    }
}

fn ports_of(slice: &EndpointSlice) -> Vec<Port> {
    let ports = slice.ports.iter().flatten().map(|port| Port {
        name: port.name.clone().unwrap_or_default(),
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
        number: port.port.unwrap_or(0),
        app_protocol: port.app_protocol.clone(),
    });
    let mut ports: Vec<Port> = ports.collect();
    ports.sort();
    ports
}

fn fill(
    service: &Service,
    mut slice: EndpointSlice,
    ports: &[Port],
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    slice.metadata.labels = Some(labels_of(service));
    if ports_of(&slice) != ports {
        slice.ports = Some(ports.iter().map(written).collect());
    }
    if slice.endpoints.as_deref().unwrap_or_default() != endpoints {
        slice.endpoints = Some(endpoints);
    }
    slice
}

fn written(port: &Port) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()),
        protocol: Some(port.protocol.clone()),
        port: Some(port.number),
        app_protocol: port.app_protocol.clone(),
    }
}

fn labels_of(service: &Service) -> BTreeMap<String, String> {
    let mut all = service.labels().clone();
    all.insert(labels::SERVICE_NAME.into(), service.name_any());
    all.insert(labels::MANAGED_BY.into(), MANAGER.into());
    all.remove(labels::HEADLESS);
    if is_headless(service) {
        all.insert(labels::HEADLESS.into(), String::new());
    }
    all
}

/// A new slice under the first free name. Names follow from the Service, so that a creation
/// repeated on a stale cache fails instead of doubling.
fn blank(service: &Service, family: &str, names: &mut BTreeSet<String>) -> EndpointSlice {
    let candidates =
        (0u32..).map(|index| format!("{}-{}", service.name_any(), suffix(service, family, index)));
    let name = candidates
        .into_iter()
        .find(|name| !names.contains(name))
        .unwrap_or_default();
    names.insert(name.clone());
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: service.namespace(),
            owner_references: Some(vec![meta::controller_ref(service)]),
            ..ObjectMeta::default()
        },
        address_type: family.into(),
        endpoints: Some(Vec::new()),
        ports: None,
    }
}

fn suffix(service: &Service, family: &str, index: u32) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let seed = format!("{}/{family}/{index}", service.uid().unwrap_or_default());
    let mut hash = seed.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut text = String::with_capacity(5);
    for _ in 0..5 {
        text.push(char::from(
            ALPHABET[(hash % ALPHABET.len() as u64) as usize],
        ));
        hash /= ALPHABET.len() as u64;
    }
    text
}
