//! Services as a node's maps hold them.

use aya::maps::lpm_trie::{Key, LpmTrie};
use naru_ebpf_common::service::{AFFINITY_SHIFT, NODE_PORT};
use naru_ebpf_common::{
    Addr, Affinity, AffinityKey, Backend, BackendKey, MemberKey, PodAddrs, Port, RangeKey, Service,
    ServiceKey, TableSize, names,
};
use naru_ebpf_logic::maglev::table;

use super::addresses::NODE;
use super::node::Node;

/// The number of every service port here.
pub(crate) const ID: u32 = 9;

/// A service to be written.
pub(crate) struct Entry<'a> {
    pub(crate) addr: Addr,
    pub(crate) port: u16,
    pub(crate) protocol: u8,
    pub(crate) scope: u8,
    pub(crate) flags: u32,
    /// Told apart from others of the same port and protocol.
    pub(crate) version: u32,
    pub(crate) backends: &'a [(Addr, u16)],
}

impl Node {
    /// A service at `addr:port` with these backends.
    pub(crate) fn service(
        &mut self,
        addr: Addr,
        port: u16,
        protocol: u8,
        backends: &[(Addr, u16)],
    ) {
        self.entry(&Entry {
            addr,
            port,
            protocol,
            scope: 0,
            flags: 0,
            version: 0,
            backends,
        });
    }

    pub(crate) fn entry(&mut self, entry: &Entry<'_>) {
        let revision = entry.version << 24
            | u32::from(entry.port) << 8
            | u32::from(entry.protocol)
            | u32::from(entry.scope) << 7;
        for (slot, (addr, port)) in (0..).zip(entry.backends) {
            self.slot(revision, slot, *addr, Port::new(*port));
        }
        if let Some(size) = TableSize::of(entry.flags) {
            self.table(revision, size, entry.backends);
        }
        let key = ServiceKey {
            addr: entry.addr,
            port: Port::new(entry.port),
            protocol: entry.protocol,
            scope: entry.scope,
        };
        let node_port = if entry.addr == NODE.any() {
            NODE_PORT
        } else {
            0
        };
        let service = Service {
            revision,
            backends: entry.backends.len() as u32,
            flags: entry.flags | node_port,
            id: ID,
        };
        self.hash(names::SERVICES)
            .insert(key, service, 0)
            .expect("service");
    }

    fn table(&mut self, revision: u32, size: TableSize, backends: &[(Addr, u16)]) {
        let backends: Vec<_> = backends
            .iter()
            .map(|(addr, port)| Backend {
                addr: *addr,
                port: Port::new(*port),
                ..Backend::default()
            })
            .collect();
        let mut map = self.hash(names::MAGLEV);
        for (key, block) in table::blocks(revision, &table::fill(&backends, size)) {
            map.insert(key, block, 0).expect("a block");
        }
    }

    fn slot(&mut self, revision: u32, slot: u32, addr: Addr, port: Port) {
        let backend = Backend {
            addr,
            port,
            flags: 0,
            reserved: 0,
        };
        self.hash(names::BACKENDS)
            .insert(BackendKey { revision, slot }, backend, 0)
            .expect("backend");
        let member = MemberKey {
            revision,
            addr,
            port,
            reserved: 0,
        };
        self.hash(names::MEMBERS)
            .insert(member, slot, 0)
            .expect("member");
    }

    /// A service whose clients keep their backend for `seconds`.
    pub(crate) fn affine_service(
        &mut self,
        (addr, port, protocol): (Addr, u16, u8),
        seconds: u32,
        version: u32,
        backends: &[(Addr, u16)],
    ) {
        self.entry(&Entry {
            addr,
            port,
            protocol,
            scope: 0,
            flags: seconds << AFFINITY_SHIFT,
            version,
            backends,
        });
    }

    /// The backend that a client keeps.
    pub(crate) fn kept(&mut self, client: Addr) -> Option<Affinity> {
        let key = AffinityKey {
            client,
            service: ID,
        };
        self.hash(names::AFFINITY).get(&key, 0).ok()
    }

    /// Lets a client have kept its backend since the start of time.
    pub(crate) fn age_kept(&mut self, client: Addr) {
        let kept = self.kept(client).expect("a backend is kept");
        let key = AffinityKey {
            client,
            service: ID,
        };
        self.hash(names::AFFINITY)
            .insert(key, Affinity { seen_ns: 1, ..kept }, 0)
            .expect("affinity");
    }

    /// Says which pod a network namespace is.
    pub(crate) fn pod_in(&mut self, netns: u64, pod: Addr) {
        let pod = PodAddrs { v4: pod, v6: pod };
        self.hash(names::NAMESPACES)
            .insert(netns, pod, 0)
            .expect("namespace");
    }

    /// Allows clients of a network (its prefix counted from the first of 128 bits) to the service with ranges.
    pub(crate) fn range(&mut self, (net, length): (Addr, u32)) {
        let key = RangeKey {
            service: ID.to_be(),
            client: net,
        };
        let map = self.map(names::RANGES);
        let mut map: LpmTrie<_, RangeKey, u32> = map.try_into().expect("LPM trie");
        map.insert(&Key::new(32 + length, key), 1, 0)
            .expect("range");
    }
}
