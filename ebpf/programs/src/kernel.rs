//! The kernel's maps, clock and chance for the decisions.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_coarse_ns};
use aya_ebpf::maps::lpm_trie::Key;
use naru_ebpf_common::{
    Addr, Affinity, AffinityKey, Backend, BackendKey, Bandwidth, BandwidthKey, Conn, DropCount,
    DropKey, Endpoint, Event, FragmentKey, Fragmented, IpInfo, MaglevKey, MemberKey, NatEntry,
    NatKey, NodeConfig, Pace, PodAddrs, PolicyEntry, PolicyKey, RangeKey, Service, ServiceKey,
    SocketKey, SocketPeer, Tuple,
};
use naru_ebpf_logic::{Maps, Trace};

use crate::maps;

/// Bits of an address.
const ADDR_BITS: u32 = 128;
/// Bits of a client with its service.
const RANGE_BITS: u32 = 160;

/// Access to the pinned maps. Values are read and changed in place: an entry that user space
/// replaces at the same moment shows its old or its new value, since the kernel frees neither
/// before the program has ended (RCU). Fields changed here are single words or bytes that belong to
/// one side of a flow.
pub struct Kernel;

impl Trace for Kernel {}

impl Maps for Kernel {
    #[inline(always)]
    fn config(&self) -> Option<&NodeConfig> {
        maps::NODE_CONFIG.get(0)
    }

    #[inline(always)]
    fn endpoint(&self, addr: &Addr) -> Option<&Endpoint> {
        // SAFETY: see `Kernel`.
        unsafe { maps::ENDPOINTS.get(addr) }
    }

    #[inline(always)]
    fn ip_info(&self, addr: &Addr) -> Option<&IpInfo> {
        maps::IPCACHE.get(Key::new(ADDR_BITS, *addr))
    }

    #[inline(always)]
    fn policy(&self, key: &PolicyKey) -> Option<&PolicyEntry> {
        // SAFETY: see `Kernel`.
        unsafe { maps::POLICY.get(key) }
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<&Service> {
        // SAFETY: see `Kernel`.
        unsafe { maps::SERVICES.get(key) }
    }

    #[inline(always)]
    fn backend(&self, key: &BackendKey) -> Option<&Backend> {
        // SAFETY: see `Kernel`.
        unsafe { maps::BACKENDS.get(key) }
    }

    #[inline(always)]
    fn update_affinity<R>(
        &self,
        key: &AffinityKey,
        change: impl FnOnce(&mut Affinity) -> R,
    ) -> Option<R> {
        let entry = maps::AFFINITY.get_ptr_mut(key)?;
        // SAFETY: the pointer is valid until the program ends; see `Kernel`.
        Some(change(unsafe { &mut *entry }))
    }

    #[inline(always)]
    fn insert_affinity(&self, key: &AffinityKey, affinity: &Affinity) {
        // A full map costs the client its backend, not the connection.
        let _ = maps::AFFINITY.insert(key, affinity, BPF_ANY.into());
    }

    #[inline(always)]
    fn member(&self, key: &MemberKey) -> Option<u32> {
        // SAFETY: see `Kernel`.
        unsafe { maps::MEMBERS.get(key).copied() }
    }

    #[inline(always)]
    fn table(&self, key: &MaglevKey, place: usize) -> Option<u16> {
        // SAFETY: see `Kernel`.
        let block = unsafe { maps::MAGLEV.get(key) }?;
        block.backends.get(place).copied()
    }

    #[inline(always)]
    fn pod_in(&self, netns: u64) -> Option<&PodAddrs> {
        // SAFETY: see `Kernel`.
        unsafe { maps::NAMESPACES.get(&netns) }
    }

    #[inline(always)]
    fn is_in_range(&self, key: &RangeKey) -> bool {
        maps::RANGES.get(Key::new(RANGE_BITS, *key)).is_some()
    }

    #[inline(always)]
    fn update_conn<R>(&self, key: &Tuple, change: impl FnOnce(&mut Conn) -> R) -> Option<R> {
        let conn = maps::CONNTRACK.get_ptr_mut(key)?;
        // SAFETY: the pointer is valid until the program ends; see `Kernel`.
        Some(change(unsafe { &mut *conn }))
    }

    #[inline(always)]
    fn insert_conn(&self, key: &Tuple, conn: &Conn) -> bool {
        maps::CONNTRACK.insert(key, conn, BPF_ANY.into()).is_ok()
    }

    #[inline(always)]
    fn remove_conn(&self, key: &Tuple) {
        // An entry that is gone already is as good as removed.
        let _ = maps::CONNTRACK.remove(key);
    }

    #[inline(always)]
    fn in_a_rush(&self, now_ns: u64, limit: u32) -> bool {
        is_exceeded(Pace::FLOWS, now_ns, limit)
    }

    #[inline(always)]
    fn may_answer(&self, now_ns: u64) -> bool {
        !is_exceeded(Pace::REFUSALS, now_ns, Pace::ANSWERS)
    }

    #[inline(always)]
    fn update_bandwidth<R>(
        &self,
        key: &BandwidthKey,
        change: impl FnOnce(&mut Bandwidth) -> R,
    ) -> Option<R> {
        let limit = maps::BANDWIDTH.get_ptr_mut(key)?;
        // SAFETY: the pointer is valid until the program ends; see `Kernel`. Programs of other
        // processors write `next_ns` too, which `departure` reckons with.
        Some(change(unsafe { &mut *limit }))
    }

    #[inline(always)]
    fn update_nat<R>(&self, key: &NatKey, change: impl FnOnce(&mut NatEntry) -> R) -> Option<R> {
        let entry = maps::NAT.get_ptr_mut(key)?;
        // SAFETY: the pointer is valid until the program ends; see `Kernel`.
        Some(change(unsafe { &mut *entry }))
    }

    #[inline(always)]
    fn insert_nat(&self, key: &NatKey, entry: &NatEntry, only_new: bool) -> bool {
        let flags = if only_new { BPF_NOEXIST } else { BPF_ANY };
        maps::NAT.insert(key, entry, flags.into()).is_ok()
    }

    #[inline(always)]
    fn remove_nat(&self, key: &NatKey) {
        // An entry that is gone already is as good as removed.
        let _ = maps::NAT.remove(key);
    }

    #[inline(always)]
    fn fragmented(&self, key: &FragmentKey) -> Option<Fragmented> {
        // SAFETY: see `Kernel`.
        unsafe { maps::FRAGMENTS.get(key).copied() }
    }

    #[inline(always)]
    fn insert_fragmented(&self, key: &FragmentKey, first: &Fragmented) {
        // A full map costs the rest of the packet, which is dropped with its reason.
        let _ = maps::FRAGMENTS.insert(key, first, BPF_ANY.into());
    }

    #[inline(always)]
    fn insert_socket(&self, key: &SocketKey, peer: &SocketPeer) {
        // A full map costs the service's name in `getpeername`, not the connection.
        let _ = maps::SOCKETS.insert(key, peer, BPF_ANY.into());
    }

    #[inline(always)]
    fn socket(&self, key: &SocketKey) -> Option<SocketPeer> {
        // SAFETY: see `Kernel`.
        unsafe { maps::SOCKETS.get(key).copied() }
    }

    #[inline(always)]
    fn update_drop<R>(&self, key: &DropKey, change: impl FnOnce(&mut DropCount) -> R) -> Option<R> {
        let count = maps::DROPS.get_ptr_mut(key)?;
        // SAFETY: the pointer is valid until the program ends; see `Kernel`.
        Some(change(unsafe { &mut *count }))
    }

    #[inline(always)]
    fn insert_drop(&self, key: &DropKey, count: &DropCount) {
        // A lost counter is still counted per reason.
        let _ = maps::DROPS.insert(key, count, BPF_ANY.into());
    }

    #[inline(always)]
    fn emit(&self, event: &Event, urgent: bool) {
        let flags = if urgent { 0 } else { BPF_RB_NO_WAKEUP };
        // A full buffer costs the event; counters and the drop table have the totals.
        let _ = maps::EVENTS.output::<Event>(event, flags.into());
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_get_prandom_u32() }
    }
}

#[inline(always)]
fn is_exceeded(pace: u32, now_ns: u64, limit: u32) -> bool {
    let Some(pace) = maps::PACE.get_ptr_mut(pace) else {
        return false;
    };
    // SAFETY: a per-CPU value is this program's alone while it runs.
    unsafe { (*pace).count(now_ns, limit) }
}
