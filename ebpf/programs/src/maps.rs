//! Every map of the data path, pinned by name. Sizes and meanings stand in `naru-ebpf-common`.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};
use naru_ebpf_common::{
    Addr, Affinity, AffinityKey, Backend, BackendKey, Bandwidth, BandwidthKey, Conn, ConnectedPeer,
    Counter, DropCount, DropKey, Endpoint, FragmentKey, Fragmented, IpInfo, MaglevBlock, MaglevKey,
    MemberKey, NatEntry, NatKey, NodeConfig, Pace, PodAddrs, PolicyEntry, PolicyKey, RangeKey,
    Service, ServiceKey, SocketKey, SocketPeer, Tuple, counter, names,
};
use naru_ebpf_logic::Packet;

use crate::hops::{self, Hop};

#[map]
pub static ENDPOINTS: HashMap<Addr, Endpoint> = HashMap::pinned(names::ENDPOINTS_SIZE, 0);

#[map]
pub static IPCACHE: LpmTrie<Addr, IpInfo> = LpmTrie::pinned(names::IPCACHE_SIZE, BPF_F_NO_PREALLOC);

#[map]
pub static POLICY: HashMap<PolicyKey, PolicyEntry> =
    HashMap::pinned(names::POLICY_SIZE, BPF_F_NO_PREALLOC);

#[map]
pub static SERVICES: HashMap<ServiceKey, Service> =
    HashMap::pinned(names::SERVICES_SIZE, BPF_F_NO_PREALLOC);

#[map]
pub static BACKENDS: HashMap<BackendKey, Backend> =
    HashMap::pinned(names::BACKENDS_SIZE, BPF_F_NO_PREALLOC);

#[map]
pub static AFFINITY: LruHashMap<AffinityKey, Affinity> =
    LruHashMap::pinned(names::AFFINITY_SIZE, 0);

#[map]
pub static MEMBERS: HashMap<MemberKey, u32> =
    HashMap::pinned(names::MEMBERS_SIZE, BPF_F_NO_PREALLOC);

#[map]
pub static MAGLEV: HashMap<MaglevKey, MaglevBlock> =
    HashMap::pinned(names::MAGLEV_SIZE, BPF_F_NO_PREALLOC);

#[map]
pub static NAMESPACES: HashMap<u64, PodAddrs> =
    HashMap::pinned(names::NAMESPACES_SIZE, BPF_F_NO_PREALLOC);

#[map]
pub static RANGES: LpmTrie<RangeKey, u32> = LpmTrie::pinned(names::RANGES_SIZE, BPF_F_NO_PREALLOC);

#[map]
pub static CONNTRACK: LruHashMap<Tuple, Conn> = LruHashMap::pinned(names::CONNTRACK_SIZE, 0);

#[map]
pub static NAT: LruHashMap<NatKey, NatEntry> = LruHashMap::pinned(names::NAT_SIZE, 0);

#[map]
pub static FRAGMENTS: LruHashMap<FragmentKey, Fragmented> =
    LruHashMap::pinned(names::FRAGMENTS_SIZE, 0);

#[map]
pub static SOCKETS: LruHashMap<SocketKey, SocketPeer> = LruHashMap::pinned(names::SOCKETS_SIZE, 0);

#[map]
pub static CONNECTED: HashMap<u64, ConnectedPeer> = HashMap::pinned(names::CONNECTED_SIZE, 0);

#[map]
pub static NODE_CONFIG: Array<NodeConfig> = Array::pinned(1, 0);

#[map]
pub static DROPS: LruHashMap<DropKey, DropCount> = LruHashMap::pinned(names::DROPS_SIZE, 0);

#[map]
pub static COUNTERS: PerCpuArray<Counter> =
    PerCpuArray::pinned(counter::HOOKS * counter::REASONS, 0);

#[map]
pub static PACE: PerCpuArray<Pace> = PerCpuArray::pinned(names::PACE_SIZE, 0);

#[map]
pub static BANDWIDTH: HashMap<BandwidthKey, Bandwidth> =
    HashMap::pinned(names::BANDWIDTH_SIZE, BPF_F_NO_PREALLOC);

#[map]
pub static EVENTS: RingBuf = RingBuf::pinned(names::EVENTS_BYTES, 0);

/// Next hops of the uplink's driver, each in its place (`hops`). A processor's own, so that nobody else
/// writes them.
#[map]
pub static HOPS: PerCpuArray<Hop> = PerCpuArray::with_max_entries(hops::PLACES, 0);

/// Working memory of the tc programs, one packet per hook: too large for the stack, and opaque to
/// the verifier. Programs of one hook do not nest on a CPU.
#[map]
pub static SCRATCH: PerCpuArray<Packet> = PerCpuArray::with_max_entries(counter::HOOKS, 0);
