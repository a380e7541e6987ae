//! The immutable picture of the cluster from which questions are answered.
//!
//! It keeps Services as they are (a handful of labels each), not expanded into records: a lookup
//! walks the labels of the question from the right, so absent names and empty non-terminals fall
//! out of the structure, and a hundred thousand records need no table. Labels are lower case.
//! Services and pods are separate halves, so that a change of one does not rebuild the other.

use std::net::IpAddr;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use hickory_proto::rr::Name;

/// The cluster's DNS domain, such as `cluster.local`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    name: Name,
    labels: Vec<Box<str>>,
}

impl Domain {
    /// Parses a domain, with or without the final dot.
    ///
    /// # Errors
    /// When the text is no DNS name or is the root.
    pub fn parse(text: &str) -> Result<Self, InvalidDomain> {
        let invalid = || InvalidDomain(text.to_owned());
        let mut name = Name::from_ascii(text)
            .map_err(|_| invalid())?
            .to_lowercase();
        name.set_fqdn(true);
        let labels = lower_labels(&name);
        if labels.is_empty() {
            return Err(invalid());
        }
        Ok(Self { name, labels })
    }

    /// The domain as a name, fully qualified.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The labels that stand before the domain in a name, given lower case; `None` for a name
    /// outside the domain.
    pub fn strip<'a>(&self, labels: &'a [Box<str>]) -> Option<&'a [Box<str>]> {
        labels.strip_suffix(self.labels.as_slice())
    }

    /// The name made of the given labels before this domain; `None` when it would be too long.
    pub fn child<'a>(&self, labels: impl IntoIterator<Item = &'a str>) -> Option<Name> {
        let front = Name::from_labels(labels.into_iter().map(str::as_bytes)).ok()?;
        front.append_domain(&self.name).ok()
    }
}

/// The text is no usable DNS domain.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a DNS domain")]
pub struct InvalidDomain(String);

/// The labels of a name in lower case, leftmost first. Bytes outside ASCII become U+FFFD, which
/// matches nothing in a cluster.
pub fn lower_labels(name: &Name) -> Vec<Box<str>> {
    name.iter()
        .map(|label| String::from_utf8_lossy(label).to_ascii_lowercase().into())
        .collect()
}

/// A port with a name, for SRV records.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Name of the port, never empty.
    pub name: Box<str>,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: Box<str>,
    /// Port number.
    pub number: u16,
}

/// One ready endpoint of a headless Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The endpoint's own label: its hostname, or its address with dashes.
    pub hostname: Box<str>,
    /// Its address.
    pub address: IpAddr,
    /// Its named ports.
    pub ports: Vec<Port>,
}

/// What a Service's name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    /// One address per IP family, and the Service's named ports.
    Cluster {
        /// Cluster addresses.
        addresses: Vec<IpAddr>,
        /// Named ports.
        ports: Vec<Port>,
    },
    /// The endpoints themselves.
    Headless(Vec<Endpoint>),
    /// Another name.
    External(Name),
}

/// Services by namespace and name, and the names of their addresses.
#[derive(Debug, Default)]
pub struct Services {
    /// Namespace → name → Service.
    pub by_namespace: HashMap<Box<str>, HashMap<Box<str>, Service>>,
    /// Cluster address or headless endpoint → the labels before `svc` and the domain.
    pub reverse: HashMap<IpAddr, Vec<Vec<Box<str>>>>,
}

/// Addresses of the pods of each namespace.
#[derive(Debug, Default)]
pub struct Pods {
    /// Namespace → pod addresses.
    pub by_namespace: HashMap<Box<str>, HashSet<IpAddr>>,
}

/// The whole picture. Immutable; a change makes a new one.
#[derive(Debug, Clone)]
pub struct Zone {
    /// The cluster's domain.
    pub domain: Domain,
    /// Address of the name server itself, for the zone's NS record.
    pub server: IpAddr,
    /// Serial number of the SOA record.
    pub serial: u32,
    /// Services half.
    pub services: Arc<Services>,
    /// Pods half.
    pub pods: Arc<Pods>,
}

impl Zone {
    /// A zone that knows no Service and no pod yet.
    pub fn empty(domain: Domain, server: IpAddr) -> Self {
        Self {
            domain,
            server,
            serial: 1,
            services: Arc::default(),
            pods: Arc::default(),
        }
    }

    /// The same zone with other Services and the next serial number.
    pub fn with_services(&self, services: Arc<Services>) -> Self {
        Self {
            services,
            serial: self.serial.wrapping_add(1),
            ..self.clone()
        }
    }

    /// The same zone with other pods and the next serial number.
    pub fn with_pods(&self, pods: Arc<Pods>) -> Self {
        Self {
            pods,
            serial: self.serial.wrapping_add(1),
            ..self.clone()
        }
    }

    /// Whether anything is known under this namespace.
    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.services.by_namespace.contains_key(namespace)
            || self.pods.by_namespace.contains_key(namespace)
    }

    /// The Service of this namespace and name.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.services.by_namespace.get(namespace)?.get(name)
    }

    /// Whether a pod of this namespace has the address.
    pub fn has_pod(&self, namespace: &str, address: IpAddr) -> bool {
        self.pods
            .by_namespace
            .get(namespace)
            .is_some_and(|pods| pods.contains(&address))
    }
}
