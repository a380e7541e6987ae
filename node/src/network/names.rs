//! Names for addresses and numbers, for people: flow events, drops, explanations.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use naru_ebpf_common::service::{HOST_PORT, SCOPE_ANY};
use naru_ebpf_common::{Addr, Port, ServiceKey};

use crate::policy::Rules;
use crate::service::{Desired, ServicePortName};
use crate::watches::{Key, PodInfo};

/// Who has an address.
#[derive(Debug, Clone)]
pub enum Who {
    /// A pod.
    Pod(Arc<PodInfo>),
    /// A node.
    Node(String),
    /// The ingress proxy of a node.
    Ingress(String),
    /// The cluster DNS.
    Dns,
}

/// What the last programmed policy means.
#[derive(Debug, Default)]
pub struct Names {
    /// Address → who has it.
    pub addresses: HashMap<IpAddr, Who>,
    /// Number of a local endpoint → its pod.
    pub endpoints: HashMap<u32, Key>,
    /// Rules.
    pub rules: Rules,
    /// Endpoint and direction (`policy::INGRESS`, `EGRESS`) → the policies that isolate it.
    pub isolating: HashMap<(u32, u8), Vec<Key>>,
}

/// What the last programmed services mean.
#[derive(Debug, Default)]
pub struct ServiceNames {
    by_key: HashMap<ServiceKey, ServicePortName>,
    by_backend: HashMap<(Addr, Port, u8), ServicePortName>,
}

impl ServiceNames {
    pub(super) fn new(desired: &Desired) -> Self {
        let mut names = Self::default();
        for (key, service) in desired {
            names.by_key.insert(*key, service.name.clone());
            // A pod behind a host port is known by its Service.
            if service.flags & HOST_PORT != 0 {
                continue;
            }
            for backend in &service.backends {
                let end = (backend.addr, backend.port, key.protocol);
                let name = names
                    .by_backend
                    .entry(end)
                    .or_insert_with(|| service.name.clone());
                // Of several Services with one backend, always the same is named.
                if service.name < *name {
                    *name = service.name.clone();
                }
            }
        }
        names
    }

    /// The Service port that an address and port belong to: its own, or a backend's.
    #[must_use]
    pub fn of(&self, addr: Addr, port: Port, protocol: u8) -> Option<&ServicePortName> {
        let key = |addr| ServiceKey {
            addr,
            port,
            protocol,
            scope: SCOPE_ANY,
        };
        self.by_key
            .get(&key(addr))
            .or_else(|| self.by_backend.get(&(addr, port, protocol)))
    }
}
