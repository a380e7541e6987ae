//! From API objects to the route table: pure.
//!
//! Older Ingresses win over younger ones where they claim the same host and path, so that nobody
//! takes over a route by creating an object. A backend that can't be resolved (no such Service or
//! port, an ExternalName, a resource) keeps its route, without endpoints: the client sees 503, not
//! somebody else's page.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressClass, IngressServiceBackend,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::backend::{Backend, Endpoints};
use super::table::{PathKind, PathRoute, RouteTable};

/// Name of the class that this proxy serves.
pub const CLASS: &str = "naru";
const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Everything a table is made from.
#[derive(Debug, Default)]
pub struct Objects {
    /// Every Ingress.
    pub ingresses: Vec<Arc<Ingress>>,
    /// Every IngressClass.
    pub classes: Vec<Arc<IngressClass>>,
    /// Every Service.
    pub services: Vec<Arc<Service>>,
    /// Every EndpointSlice.
    pub slices: Vec<Arc<EndpointSlice>>,
}

/// The Ingresses that this proxy serves: of class `naru`, or of none while `naru` is the default.
pub fn ours<'a>(ingresses: &'a [Arc<Ingress>], classes: &[Arc<IngressClass>]) -> Vec<&'a Ingress> {
    let is_default = classes.iter().any(|class| is_our_default(class));
    let mine = |ingress: &&Ingress| match class_of(ingress) {
        Some(class) => class == CLASS,
        None => is_default,
    };
    ingresses.iter().map(AsRef::as_ref).filter(mine).collect()
}

fn is_our_default(class: &IngressClass) -> bool {
    let annotations = class.metadata.annotations.as_ref();
    let value = annotations.and_then(|annotations| annotations.get(DEFAULT_CLASS));
    class.metadata.name.as_deref() == Some(CLASS) && value.is_some_and(|value| value == "true")
}

fn class_of(ingress: &Ingress) -> Option<&str> {
    let spec = ingress.spec.as_ref()?;
    let old = || {
        ingress
            .metadata
            .annotations
            .as_ref()?
            .get(CLASS_ANNOTATION)
            .map(String::as_str)
    };
    spec.ingress_class_name.as_deref().or_else(old)
}

/// The table of all Ingresses that this proxy serves.
pub fn table(objects: &Objects, endpoints: &mut Endpoints) -> RouteTable {
    let mut ingresses = ours(&objects.ingresses, &objects.classes);
    ingresses.sort_by(|one, other| age(one).cmp(&age(other)));
    let mut backends = Backends::new(objects, endpoints);
    let mut table = RouteTable::default();
    for ingress in ingresses {
        add(&mut table, ingress, &mut backends);
    }
    table
}

/// Sorts the oldest first, by name where the times are equal.
fn age(ingress: &Ingress) -> (Option<&Time>, Option<&String>, Option<&String>) {
    let meta = &ingress.metadata;
    let created = meta.creation_timestamp.as_ref();
    (created, meta.namespace.as_ref(), meta.name.as_ref())
}

fn add(table: &mut RouteTable, ingress: &Ingress, backends: &mut Backends<'_>) {
    let (Some(spec), Some(namespace)) = (&ingress.spec, ingress.metadata.namespace.as_deref())
    else {
        return;
    };
    for rule in spec.rules.iter().flatten() {
        let host = rule.host.as_deref().unwrap_or("");
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            if let Some(route) = route(path, namespace, backends) {
                table.host_mut(host).add(route);
            }
        }
    }
    if let Some(backend) = &spec.default_backend {
        let backend = backends.get(namespace, backend);
        for rule in spec.rules.iter().flatten() {
            let host = rule.host.as_deref().unwrap_or("");
            table.host_mut(host).add_fallback(Arc::clone(&backend));
        }
        table.host_mut("").add_fallback(backend);
    }
}

fn route(
    path: &HTTPIngressPath,
    namespace: &str,
    backends: &mut Backends<'_>,
) -> Option<PathRoute> {
    let kind = match path.path_type.as_str() {
        "Exact" => PathKind::Exact,
        "Prefix" | "ImplementationSpecific" => PathKind::Prefix,
        _ => return None,
    };
    let backend = backends.get(namespace, &path.backend);
    Some(PathRoute::new(
        kind,
        path.path.as_deref().unwrap_or("/"),
        backend,
    ))
}

type Key<'a> = (&'a str, &'a str);

/// Resolves backends; routes to the same port of the same Service share one.
struct Backends<'a> {
    services: HashMap<Key<'a>, &'a Service>,
    slices: HashMap<Key<'a>, Vec<&'a EndpointSlice>>,
    endpoints: &'a mut Endpoints,
    known: HashMap<String, Arc<Backend>>,
}

impl<'a> Backends<'a> {
    fn new(objects: &'a Objects, endpoints: &'a mut Endpoints) -> Self {
        let key = |service: &'a Service| {
            let meta = &service.metadata;
            Some(((meta.namespace.as_deref()?, meta.name.as_deref()?), service))
        };
        let mut slices: HashMap<Key<'a>, Vec<&EndpointSlice>> = HashMap::new();
        for slice in objects
            .slices
            .iter()
            .filter(|slice| slice.address_type != "FQDN")
        {
            let labels = slice.metadata.labels.as_ref();
            let service = labels.and_then(|labels| labels.get(SERVICE_NAME));
            if let (Some(namespace), Some(name)) = (slice.metadata.namespace.as_deref(), service) {
                slices.entry((namespace, name)).or_default().push(slice);
            }
        }
        Self {
            services: objects
                .services
                .iter()
                .filter_map(|service| key(service))
                .collect(),
            slices,
            endpoints,
            known: HashMap::new(),
        }
    }

    fn get(&mut self, namespace: &str, backend: &IngressBackend) -> Arc<Backend> {
        let Some(service) = &backend.service else {
            return Arc::new(Backend::new("a backend that is no Service", Vec::new()));
        };
        let name = display(namespace, service);
        if let Some(known) = self.known.get(&name) {
            return Arc::clone(known);
        }
        let addresses = self.addresses(namespace, service).unwrap_or_default();
        let endpoints = addresses
            .into_iter()
            .filter_map(|address| self.endpoints.get(address));
        let backend = Arc::new(Backend::new(&name, endpoints.collect()));
        self.known.insert(name, Arc::clone(&backend));
        backend
    }

    /// The addresses behind a port of a Service; `None` when there is no such port.
    fn addresses(
        &self,
        namespace: &str,
        wanted: &IngressServiceBackend,
    ) -> Option<Vec<SocketAddr>> {
        let key = (namespace, wanted.name.as_str());
        let service = self.services.get(&key)?;
        let port = port_name(service, wanted)?;
        let slices = self.slices.get(&key).map_or(&[][..], Vec::as_slice);
        let slices = &of_first_family(service, slices);
        let ready = collect(slices, &port, is_ready);
        match ready.is_empty() {
            // While the last ready endpoint drains it is better than nothing.
            true => Some(collect(slices, &port, is_draining)),
            false => Some(ready),
        }
    }
}

/// An endpoint with two addresses is one endpoint: the first family of its Service says which.
fn of_first_family<'a>(service: &Service, slices: &[&'a EndpointSlice]) -> Vec<&'a EndpointSlice> {
    let families = service.spec.as_ref().and_then(|s| s.ip_families.as_ref());
    let first = families.and_then(|families| families.first());
    let fits = |slice: &&EndpointSlice| first.is_none_or(|family| slice.address_type == *family);
    slices.iter().copied().filter(fits).collect()
}

fn display(namespace: &str, service: &IngressServiceBackend) -> String {
    let port = service.port.as_ref();
    let number = || port?.number.map(|number| number.to_string());
    let port = port
        .and_then(|port| port.name.clone())
        .or_else(number)
        .unwrap_or_default();
    format!("{namespace}/{}:{port}", service.name)
}

/// Name of the Service's port (empty when it has none) that the backend asks for, by which
/// EndpointSlices know it.
fn port_name(service: &Service, wanted: &IngressServiceBackend) -> Option<String> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    let wanted = wanted.port.as_ref()?;
    let mut ports = spec.ports.iter().flatten();
    let port = ports.find(|port| match (&wanted.name, wanted.number) {
        (Some(name), _) if !name.is_empty() => port.name.as_ref() == Some(name),
        (_, Some(number)) => port.port == number,
        _ => false,
    })?;
    Some(port.name.clone().unwrap_or_default())
}

fn collect(
    slices: &[&EndpointSlice],
    port: &str,
    admits: fn(&SliceEndpoint) -> bool,
) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for slice in slices {
        let mut ports = slice.ports.iter().flatten();
        let port = ports.find(|known| known.name.as_deref().unwrap_or("") == port);
        let Some(number) = port.and_then(|port| u16::try_from(port.port?).ok()) else {
            continue;
        };
        for endpoint in slice
            .endpoints
            .iter()
            .flatten()
            .filter(|endpoint| admits(endpoint))
        {
            let first = endpoint
                .addresses
                .first()
                .and_then(|text| text.parse::<IpAddr>().ok());
            found.extend(first.map(|address| SocketAddr::new(address, number)));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn is_ready(endpoint: &SliceEndpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions
        .and_then(|conditions| conditions.ready)
        .unwrap_or(true)
}

fn is_draining(endpoint: &SliceEndpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions.is_some_and(|conditions| {
        conditions.serving == Some(true) && conditions.terminating == Some(true)
    })
}

#[cfg(test)]
mod tests;
