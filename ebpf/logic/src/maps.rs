//! What the decisions need from their surroundings.

use naru_ebpf_common::{
    Addr, Affinity, AffinityKey, Backend, BackendKey, Bandwidth, BandwidthKey, Conn, DropCount,
    DropKey, Endpoint, Event, FragmentKey, Fragmented, IpInfo, MaglevKey, MemberKey, NatEntry,
    NatKey, NodeConfig, PodAddrs, PolicyEntry, PolicyKey, RangeKey, Service, ServiceKey, SocketKey,
    SocketPeer, Tuple,
};

use crate::Trace;

/// The maps, the clock and chance. In the kernel a lookup hands out the value in place; on the host
/// a table in memory does.
///
/// Values that change while packets pass (conntrack, NAT, drops) are reached through closures, so
/// that an update in place needs one lookup only.
pub trait Maps: Trace {
    /// The node's facts; `None` until the daemon has written them.
    fn config(&self) -> Option<&NodeConfig>;
    /// The local pod with this address.
    fn endpoint(&self, addr: &Addr) -> Option<&Endpoint>;
    /// The longest prefix that holds this address.
    fn ip_info(&self, addr: &Addr) -> Option<&IpInfo>;
    /// One policy entry.
    fn policy(&self, key: &PolicyKey) -> Option<&PolicyEntry>;
    /// One service.
    fn service(&self, key: &ServiceKey) -> Option<&Service>;
    /// One backend slot.
    fn backend(&self, key: &BackendKey) -> Option<&Backend>;

    /// Changes in place which backend a client keeps; `None` when it keeps none.
    fn update_affinity<R>(
        &self,
        key: &AffinityKey,
        change: impl FnOnce(&mut Affinity) -> R,
    ) -> Option<R>;
    /// Remembers which backend a client keeps. A full map loses it.
    fn insert_affinity(&self, key: &AffinityKey, affinity: &Affinity);
    /// The slot of a backend of a service with affinity.
    fn member(&self, key: &MemberKey) -> Option<u32>;
    /// The backend slot at `place` (below `maglev::BLOCK_SLOTS`) of a block of a lookup table.
    fn table(&self, key: &MaglevKey, place: usize) -> Option<u16>;
    /// The pod of this node in the network namespace with this cookie.
    fn pod_in(&self, netns: u64) -> Option<&PodAddrs>;
    /// Whether one of the service's source ranges holds the client.
    fn is_in_range(&self, key: &RangeKey) -> bool;

    /// Changes a conntrack entry in place; `None` when there is none.
    fn update_conn<R>(&self, key: &Tuple, change: impl FnOnce(&mut Conn) -> R) -> Option<R>;
    /// Writes a conntrack entry; false when the map refuses.
    fn insert_conn(&self, key: &Tuple, conn: &Conn) -> bool;

    /// Removes a conntrack entry.
    fn remove_conn(&self, key: &Tuple);

    /// Counts a flow opened at `now_ns`; whether there is a rush, more than `limit` of them in a
    /// window ([`naru_ebpf_common::Pace`]).
    fn in_a_rush(&self, now_ns: u64, limit: u32) -> bool;
    /// Counts an answer to a refused datagram at `now_ns`; whether it may be given.
    fn may_answer(&self, now_ns: u64) -> bool;

    /// Changes a pod's limit in place; `None` when it has none in this direction.
    fn update_bandwidth<R>(
        &self,
        key: &BandwidthKey,
        change: impl FnOnce(&mut Bandwidth) -> R,
    ) -> Option<R>;

    /// Changes a NAT entry in place; `None` when there is none.
    fn update_nat<R>(&self, key: &NatKey, change: impl FnOnce(&mut NatEntry) -> R) -> Option<R>;
    /// Writes a NAT entry; with `only_new` it fails when the key exists. False when it failed.
    fn insert_nat(&self, key: &NatKey, entry: &NatEntry, only_new: bool) -> bool;
    /// Removes a NAT entry.
    fn remove_nat(&self, key: &NatKey);

    /// What the first fragment of a packet said.
    fn fragmented(&self, key: &FragmentKey) -> Option<Fragmented>;
    /// Notes what the first fragment of a packet says.
    fn insert_fragmented(&self, key: &FragmentKey, first: &Fragmented);
    /// Remembers which service a socket asked for. A full map loses the name only.
    fn insert_socket(&self, key: &SocketKey, peer: &SocketPeer);
    /// The service that a socket asked for.
    fn socket(&self, key: &SocketKey) -> Option<SocketPeer>;

    /// Changes a drop counter in place; `None` when there is none.
    fn update_drop<R>(&self, key: &DropKey, change: impl FnOnce(&mut DropCount) -> R) -> Option<R>;
    /// Starts a drop counter.
    fn insert_drop(&self, key: &DropKey, count: &DropCount);

    /// Sends an event; `urgent` wakes the reader at once.
    fn emit(&self, event: &Event, urgent: bool);

    /// Nanoseconds of the monotonic clock; some milliseconds of lag do no harm.
    fn now_ns(&self) -> u64;
    /// Any 32 bits.
    fn random(&self) -> u32;
}
