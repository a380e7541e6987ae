//! Names and sizes of maps, names of programs and objects.
//!
//! A map's name begins the name of its pin below the daemon's bpffs directory. An object
//! `NAME.o` holds the program `NAME`.

/// Pods of this node: hash, [`crate::Addr`] → [`crate::Endpoint`].
pub const ENDPOINTS: &str = "ENDPOINTS";
/// LPM trie, prefix of [`crate::Addr`] → [`crate::IpInfo`].
pub const IPCACHE: &str = "IPCACHE";
/// Hash, [`crate::PolicyKey`] → [`crate::PolicyEntry`].
pub const POLICY: &str = "POLICY";
/// Hash, [`crate::ServiceKey`] → [`crate::Service`].
pub const SERVICES: &str = "SERVICES";
/// Hash, [`crate::BackendKey`] → [`crate::Backend`].
pub const BACKENDS: &str = "BACKENDS";
/// LRU hash, [`crate::AffinityKey`] → [`crate::Affinity`].
pub const AFFINITY: &str = "AFFINITY";
/// Hash, [`crate::MemberKey`] → slot (`u32`).
pub const MEMBERS: &str = "MEMBERS";
/// Hash, [`crate::MaglevKey`] → [`crate::MaglevBlock`]. Its version grows with a change of the way in
/// which tables are filled, too.
pub const MAGLEV: &str = "MAGLEV";
/// Hash, cookie of a network namespace (`u64`) → [`crate::PodAddrs`] of the pod of
/// this node in it.
pub const NAMESPACES: &str = "NAMESPACES";
/// LPM trie, prefix of [`crate::RangeKey`] → 1 (`u32`).
pub const RANGES: &str = "RANGES";
/// LRU hash, [`crate::Tuple`] → [`crate::Conn`].
pub const CONNTRACK: &str = "CONNTRACK";
/// LRU hash, [`crate::NatKey`] → [`crate::NatEntry`].
pub const NAT: &str = "NAT";
/// LRU hash, [`crate::FragmentKey`] → [`crate::Fragmented`].
pub const FRAGMENTS: &str = "FRAGMENTS";
/// LRU hash, [`crate::SocketKey`] → [`crate::SocketPeer`].
pub const SOCKETS: &str = "SOCKETS";
/// Hash, kernel address of a socket (`u64`) → [`crate::ConnectedPeer`].
pub const CONNECTED: &str = "CONNECTED";
/// Array of one [`crate::NodeConfig`].
pub const NODE_CONFIG: &str = "NODE_CONFIG";
/// LRU hash, [`crate::DropKey`] → [`crate::DropCount`].
pub const DROPS: &str = "DROPS";
/// Per-CPU array of [`crate::Counter`], see [`crate::counter::index`].
pub const COUNTERS: &str = "COUNTERS";
/// Per-CPU array of two [`crate::Pace`].
pub const PACE: &str = "PACE";
/// Hash, [`crate::BandwidthKey`] → [`crate::Bandwidth`].
pub const BANDWIDTH: &str = "BANDWIDTH";
/// Ring buffer of [`crate::Event`].
pub const EVENTS: &str = "EVENTS";

/// Every map with the version of its layout, which grows with each change of the map's key, value,
/// kind or size. The pin carries it, so that an upgrade keeps every map that it can read.
pub const MAPS: [(&str, u32); 21] = [
    (ENDPOINTS, 1),
    (IPCACHE, 1),
    (POLICY, 1),
    (SERVICES, 1),
    (BACKENDS, 1),
    (AFFINITY, 1),
    (MEMBERS, 1),
    (MAGLEV, 1),
    (NAMESPACES, 2),
    (RANGES, 1),
    (CONNTRACK, 1),
    (NAT, 1),
    (FRAGMENTS, 1),
    (SOCKETS, 1),
    (CONNECTED, 2),
    (NODE_CONFIG, 3),
    (DROPS, 1),
    (COUNTERS, 4),
    (PACE, 3),
    (BANDWIDTH, 1),
    (EVENTS, 1),
];

/// Entries of [`ENDPOINTS`].
pub const ENDPOINTS_SIZE: u32 = 4096;
/// Entries of [`IPCACHE`].
pub const IPCACHE_SIZE: u32 = 131_072;
/// Entries of [`POLICY`].
pub const POLICY_SIZE: u32 = 131_072;
/// Entries of [`SERVICES`].
pub const SERVICES_SIZE: u32 = 65_536;
/// Entries of [`BACKENDS`].
pub const BACKENDS_SIZE: u32 = 262_144;
/// Entries of [`AFFINITY`].
pub const AFFINITY_SIZE: u32 = 32_768;
/// Entries of [`MEMBERS`].
pub const MEMBERS_SIZE: u32 = 131_072;
/// Entries of [`MAGLEV`]: twice what the daemon uses, so that every table may change at once.
pub const MAGLEV_SIZE: u32 = 262_144;
/// Entries of [`NAMESPACES`].
pub const NAMESPACES_SIZE: u32 = 4096;
/// Entries of [`RANGES`].
pub const RANGES_SIZE: u32 = 65_536;
/// Entries of [`CONNTRACK`], unless the daemon decides otherwise.
pub const CONNTRACK_SIZE: u32 = 131_072;
/// Entries of [`NAT`]: half as many as of [`CONNTRACK`], whatever size that has.
pub const NAT_SIZE: u32 = 65_536;
/// Entries of [`FRAGMENTS`].
pub const FRAGMENTS_SIZE: u32 = 4096;
/// Entries of [`SOCKETS`].
pub const SOCKETS_SIZE: u32 = 65_536;
/// Entries of [`CONNECTED`].
pub const CONNECTED_SIZE: u32 = 65_536;
/// Entries of [`DROPS`].
pub const DROPS_SIZE: u32 = 4096;
/// Entries of [`PACE`].
pub const PACE_SIZE: u32 = 2;
/// Entries of [`BANDWIDTH`]: two directions of every endpoint.
pub const BANDWIDTH_SIZE: u32 = 2 * ENDPOINTS_SIZE;
/// Bytes of [`EVENTS`], a power of two.
pub const EVENTS_BYTES: u32 = 1 << 20;

/// tc, ingress of the host side of a pod's veth.
pub const FROM_POD: &str = "from_pod";
/// tc, egress of the host side of a pod's veth.
pub const TO_POD: &str = "to_pod";
/// tc, ingress of the uplink.
pub const FROM_NETWORK: &str = "from_network";
/// tc, ingress of the overlay's device, on a node that has one.
pub const FROM_OVERLAY: &str = "from_overlay";
/// tc, egress of the uplink and of the overlay's device, while a service has an endpoint on the
/// node's own network.
pub const TO_NETWORK: &str = "to_network";
/// XDP, the uplink's driver, on a node where that is asked for.
pub const FROM_WIRE: &str = "from_wire";

/// The tc programs.
pub const TC_PROGRAMS: [&str; 5] = [FROM_POD, TO_POD, FROM_NETWORK, FROM_OVERLAY, TO_NETWORK];

/// Every program.
pub fn programs() -> impl Iterator<Item = &'static str> {
    let others = [FROM_WIRE].into_iter().chain(CGROUP_PROGRAMS);
    TC_PROGRAMS.into_iter().chain(others)
}

/// The cgroup programs (`cgroup/connect4` and so on), attached to the node's cgroup.
pub const CGROUP_PROGRAMS: [&str; 9] = [
    "connect4",
    "connect6",
    "sendmsg4",
    "sendmsg6",
    "recvmsg4",
    "recvmsg6",
    "getpeername4",
    "getpeername6",
    "sock_release",
];
