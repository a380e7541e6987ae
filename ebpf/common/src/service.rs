//! Services and their backends. Maps [`crate::names::SERVICES`] and [`crate::names::BACKENDS`].
//!
//! A changed service gets a new revision: its slots are written first, then the service entry is
//! swapped, then the slots of the old revision are deleted. A reader that falls between the last
//! two steps finds no slot and reads the service once more.
//!
//! A service with session affinity remembers per client which backend it chose
//! ([`crate::names::AFFINITY`]); whether that one still belongs to the service says the table of
//! members ([`crate::names::MEMBERS`]), which is written and deleted together with the slots.
//! So is the lookup table ([`crate::maglev`]) of a service whose flags name one.

use crate::{Addr, Port, abi};

/// The entry is a node port: its key's address is [`Addr::any`].
pub const NODE_PORT: u32 = 1 << 0;
/// The address is an external or load balancer address.
pub const EXTERNAL: u32 = 1 << 1;
/// External traffic goes to backends of this node only, and keeps its source
/// (`externalTrafficPolicy: Local`). The slots hold local backends only.
pub const LOCAL_ONLY: u32 = 1 << 2;

/// There are endpoints, but the traffic policy asks for one of this node and this node has none.
pub const ELSEWHERE: u32 = 1 << 3;
/// Only clients in a range of [`crate::names::RANGES`] may come.
pub const RANGED: u32 = 1 << 4;
/// Only the node's own sockets may come: the address is the loopback's (host port).
pub const OWN_SOCKETS: u32 = 1 << 5;
/// The entry is a port of the host that leads to a pod.
pub const HOST_PORT: u32 = 1 << 6;
/// Place of the seconds of session affinity in [`Service::flags`]: 17 bits, enough for a day, which
/// is the most that the API allows.
pub const AFFINITY_SHIFT: u32 = 8;
/// The bits of session affinity.
pub const AFFINITY: u32 = 0x1_ffff << AFFINITY_SHIFT;
/// The bits that say how large the lookup table is ([`crate::TableSize`]). Only services of
/// [`SCOPE_OUTSIDE`] have one.
pub const TABLE: u32 = u32::MAX << crate::maglev::TABLE_SHIFT;

/// [`ServiceKey::scope`]: for everybody, or for everybody but [`SCOPE_OUTSIDE`] where that exists.
pub const SCOPE_ANY: u8 = 0;
/// [`ServiceKey::scope`]: for packets that arrive on the uplink, where those are treated otherwise
/// than the cluster's own.
pub const SCOPE_OUTSIDE: u8 = 1;

/// The backend is a pod of this node.
pub const BACKEND_LOCAL: u8 = 1 << 0;

abi! {
    /// Where a service is reached.
    pub struct ServiceKey = 20 {
        /// Cluster, external or load balancer address; [`Addr::any`] for a node port.
        pub addr: Addr,
        /// Port of the service.
        pub port: Port,
        /// IP protocol, TCP or UDP.
        pub protocol: u8,
        /// [`SCOPE_ANY`] or [`SCOPE_OUTSIDE`].
        pub scope: u8,
    }
}

abi! {
    /// A service as it stands now.
    pub struct Service = 16 {
        /// Which slots of [`crate::names::BACKENDS`] are its own; never 0, never used twice while
        /// its slots exist.
        pub revision: u32,
        /// Number of backends; slots are 0 to `backends - 1`. With 0 a connection is refused.
        pub backends: u32,
        /// [`NODE_PORT`], [`EXTERNAL`], [`LOCAL_ONLY`], [`ELSEWHERE`], [`RANGED`],
        /// [`OWN_SOCKETS`], [`HOST_PORT`]; seconds of session affinity from [`AFFINITY_SHIFT`] on, 0
        /// for none; [`TABLE`].
        pub flags: u32,
        /// Number that the daemon gave to the service port, stable across revisions; for events.
        pub id: u32,
    }
}

impl Service {
    /// How long a client keeps its backend, in nanoseconds; 0 when it does not.
    #[inline(always)]
    pub const fn affinity_ns(&self) -> u64 {
        ((self.flags & AFFINITY) >> AFFINITY_SHIFT) as u64 * 1_000_000_000
    }
}

abi! {
    /// One slot of one revision.
    pub struct BackendKey = 8 {
        /// [`Service::revision`].
        pub revision: u32,
        /// 0 to [`Service::backends`] - 1.
        pub slot: u32,
    }
}

abi! {
    /// A backend of a service.
    pub struct Backend = 20 {
        /// Address of the pod (or of a node, for a pod on the host's network).
        pub addr: Addr,
        /// Port of the container.
        pub port: Port,
        /// [`BACKEND_LOCAL`].
        pub flags: u8,
        /// Zero.
        pub reserved: u8,
    }
}

abi! {
    /// A client of a service with session affinity.
    pub struct AffinityKey = 20 {
        /// Address of the client: a pod's, or the node's for those that have none of their own.
        pub client: Addr,
        /// [`Service::id`]: all addresses of a service port share its clients.
        pub service: u32,
    }
}

abi! {
    /// The backend that a client keeps.
    pub struct Affinity = 32 {
        /// Address of the backend.
        pub addr: Addr,
        /// Port of the backend.
        pub port: Port,
        /// Zero.
        pub reserved: [u16; 3],
        /// When the client last opened a flow, nanoseconds of the monotonic clock.
        pub seen_ns: u64,
    }
}

abi! {
    /// A backend of one revision of a service with affinity; the value is its slot.
    pub struct MemberKey = 24 {
        /// [`Service::revision`].
        pub revision: u32,
        /// Address of the backend.
        pub addr: Addr,
        /// Port of the backend.
        pub port: Port,
        /// Zero.
        pub reserved: u16,
    }
}

abi! {
    /// A client as the source ranges of a load balancer know it. The prefix of a range counts the
    /// 32 bits of the service too.
    pub struct RangeKey = 20 {
        /// [`Service::id`], big endian, so that a prefix of the key is one of its bytes.
        pub service: u32,
        /// Address, or network, of clients.
        pub client: Addr,
    }
}
