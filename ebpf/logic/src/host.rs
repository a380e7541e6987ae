//! Maps held in memory: a snapshot of a node, or a node made up by a test.
//!
//! The same decisions run over them as in the kernel, and the steps are recorded, so that
//! `netctl why` explains what the data path would do with a packet.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use naru_ebpf_common::{
    Addr, Affinity, AffinityKey, Backend, BackendKey, Bandwidth, BandwidthKey, Conn, DropCount,
    DropKey, Endpoint, Event, FragmentKey, Fragmented, IpInfo, MaglevBlock, MaglevKey, MemberKey,
    NatEntry, NatKey, NodeConfig, PodAddrs, PolicyEntry, PolicyKey, RangeKey, Service, ServiceKey,
    SocketKey, SocketPeer, Tuple,
};

use crate::parse::Frame;
use crate::{Maps, Step, Trace};

/// A frame in memory.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Frame for Bytes<'_> {
    fn half(&self, offset: usize) -> Option<u16> {
        let bytes = self.0.get(offset..offset + 2)?;
        Some(u16::from_ne_bytes(bytes.try_into().ok()?))
    }

    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        let bytes = self.0.get(offset..offset + 4 * N)?;
        let mut words = [0; N];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks(4)) {
            *word = u32::from_ne_bytes(chunk.try_into().ok()?);
        }
        Some(words)
    }

    fn bytes(&self) -> u32 {
        self.0.len() as u32
    }
}

/// A node's maps, its clock and its chance, and what a decision did.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The node's facts.
    pub config: Option<NodeConfig>,
    /// Local pods.
    pub endpoints: HashMap<Addr, Endpoint>,
    /// Prefixes with their lengths (0 to 128).
    pub ipcache: Vec<(Addr, u32, IpInfo)>,
    /// Policy entries.
    pub policy: HashMap<PolicyKey, PolicyEntry>,
    /// Services.
    pub services: HashMap<ServiceKey, Service>,
    /// Backend slots.
    pub backends: HashMap<BackendKey, Backend>,
    /// Backends that clients keep.
    pub affinity: RefCell<HashMap<AffinityKey, Affinity>>,
    /// Slots of the backends of services with affinity.
    pub members: HashMap<MemberKey, u32>,
    /// Lookup tables.
    pub tables: HashMap<MaglevKey, MaglevBlock>,
    /// Pods by the cookie of their network namespace.
    pub namespaces: HashMap<u64, PodAddrs>,
    /// Source ranges: service, network, prefix length (0 to 128).
    pub ranges: Vec<(u32, Addr, u32)>,
    /// Flows.
    pub conntrack: RefCell<HashMap<Tuple, Conn>>,
    /// Limits of pods.
    pub bandwidth: RefCell<HashMap<BandwidthKey, Bandwidth>>,
    /// Translations.
    pub nat: RefCell<HashMap<NatKey, NatEntry>>,
    /// Packets that come in fragments.
    pub fragments: RefCell<HashMap<FragmentKey, Fragmented>>,
    /// Translated sockets.
    pub sockets: RefCell<HashMap<SocketKey, SocketPeer>>,
    /// Whether conntrack and NAT have no room for another flow.
    pub full: Cell<bool>,
    /// Drops.
    pub drops: RefCell<HashMap<DropKey, DropCount>>,
    /// Events sent so far.
    pub events: RefCell<Vec<Event>>,
    /// Steps taken so far.
    pub steps: RefCell<Vec<Step>>,
    /// The time in nanoseconds.
    pub now_ns: Cell<u64>,
    /// The next random number; each call adds the golden ratio.
    pub chance: Cell<u32>,
}

impl Snapshot {
    /// Takes the steps recorded since the last call.
    pub fn take_steps(&self) -> Vec<Step> {
        self.steps.take()
    }
}

impl Trace for Snapshot {
    fn step(&self, step: impl FnOnce() -> Step) {
        self.steps.borrow_mut().push(step());
    }
}

impl Maps for Snapshot {
    fn config(&self) -> Option<&NodeConfig> {
        self.config.as_ref()
    }

    fn endpoint(&self, addr: &Addr) -> Option<&Endpoint> {
        self.endpoints.get(addr)
    }

    fn ip_info(&self, addr: &Addr) -> Option<&IpInfo> {
        let matching = self
            .ipcache
            .iter()
            .filter(|(net, len, _)| addr.within(net, *len));
        matching
            .max_by_key(|(_, len, _)| *len)
            .map(|(_, _, info)| info)
    }

    fn policy(&self, key: &PolicyKey) -> Option<&PolicyEntry> {
        self.policy.get(key)
    }

    fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.services.get(key)
    }

    fn backend(&self, key: &BackendKey) -> Option<&Backend> {
        self.backends.get(key)
    }

    fn update_affinity<R>(
        &self,
        key: &AffinityKey,
        change: impl FnOnce(&mut Affinity) -> R,
    ) -> Option<R> {
        self.affinity.borrow_mut().get_mut(key).map(change)
    }

    fn insert_affinity(&self, key: &AffinityKey, affinity: &Affinity) {
        self.affinity.borrow_mut().insert(*key, *affinity);
    }

    fn member(&self, key: &MemberKey) -> Option<u32> {
        self.members.get(key).copied()
    }

    fn table(&self, key: &MaglevKey, place: usize) -> Option<u16> {
        let block = self.tables.get(key)?;
        block.backends.get(place).copied()
    }

    fn pod_in(&self, netns: u64) -> Option<&PodAddrs> {
        self.namespaces.get(&netns)
    }

    fn is_in_range(&self, key: &RangeKey) -> bool {
        let service = u32::from_be(key.service);
        self.ranges
            .iter()
            .any(|(id, net, len)| *id == service && key.client.within(net, *len))
    }

    fn update_conn<R>(&self, key: &Tuple, change: impl FnOnce(&mut Conn) -> R) -> Option<R> {
        self.conntrack.borrow_mut().get_mut(key).map(change)
    }

    fn insert_conn(&self, key: &Tuple, conn: &Conn) -> bool {
        if !self.full.get() {
            self.conntrack.borrow_mut().insert(*key, *conn);
        }
        !self.full.get()
    }

    fn remove_conn(&self, key: &Tuple) {
        self.conntrack.borrow_mut().remove(key);
    }

    fn in_a_rush(&self, _: u64, _: u32) -> bool {
        false
    }

    fn may_answer(&self, _: u64) -> bool {
        true
    }

    fn update_bandwidth<R>(
        &self,
        key: &BandwidthKey,
        change: impl FnOnce(&mut Bandwidth) -> R,
    ) -> Option<R> {
        self.bandwidth.borrow_mut().get_mut(key).map(change)
    }

    fn update_nat<R>(&self, key: &NatKey, change: impl FnOnce(&mut NatEntry) -> R) -> Option<R> {
        self.nat.borrow_mut().get_mut(key).map(change)
    }

    fn insert_nat(&self, key: &NatKey, entry: &NatEntry, only_new: bool) -> bool {
        let mut nat = self.nat.borrow_mut();
        if self.full.get() || only_new && nat.contains_key(key) {
            return false;
        }
        nat.insert(*key, *entry);
        true
    }

    fn remove_nat(&self, key: &NatKey) {
        self.nat.borrow_mut().remove(key);
    }

    fn fragmented(&self, key: &FragmentKey) -> Option<Fragmented> {
        self.fragments.borrow().get(key).copied()
    }

    fn insert_fragmented(&self, key: &FragmentKey, first: &Fragmented) {
        self.fragments.borrow_mut().insert(*key, *first);
    }

    fn insert_socket(&self, key: &SocketKey, peer: &SocketPeer) {
        self.sockets.borrow_mut().insert(*key, *peer);
    }

    fn socket(&self, key: &SocketKey) -> Option<SocketPeer> {
        self.sockets.borrow().get(key).copied()
    }

    fn update_drop<R>(&self, key: &DropKey, change: impl FnOnce(&mut DropCount) -> R) -> Option<R> {
        self.drops.borrow_mut().get_mut(key).map(change)
    }

    fn insert_drop(&self, key: &DropKey, count: &DropCount) {
        self.drops.borrow_mut().insert(*key, *count);
    }

    fn emit(&self, event: &Event, _urgent: bool) {
        self.events.borrow_mut().push(*event);
    }

    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    fn random(&self) -> u32 {
        let number = self.chance.get();
        self.chance.set(number.wrapping_add(0x9E37_79B9));
        number
    }
}
