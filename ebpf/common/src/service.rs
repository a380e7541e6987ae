//! Services and their backends. Maps [`crate::names::SERVICES`] and [`crate::names::BACKENDS`].
//!
//! A changed service gets a new revision: its slots are written first, then the service entry is
//! swapped, then the slots of the old revision are deleted. A reader that falls between the last
//! two steps finds no slot and reads the service once more.

use crate::{Addr, Port, abi};

/// The entry is a node port: its key's address is [`Addr::ANY_V4`].
pub const NODE_PORT: u32 = 1 << 0;
/// The address is an external or load balancer address.
pub const EXTERNAL: u32 = 1 << 1;
/// External traffic goes to backends of this node only, and keeps its source
/// (`externalTrafficPolicy: Local`). The slots hold local backends only.
pub const LOCAL_ONLY: u32 = 1 << 2;

/// The backend is a pod of this node.
pub const BACKEND_LOCAL: u8 = 1 << 0;

abi! {
    /// Where a service is reached.
    pub struct ServiceKey = 20 {
        /// Cluster, external or load balancer address; [`Addr::ANY_V4`] for a node port.
        pub addr: Addr,
        /// Port of the service.
        pub port: Port,
        /// IP protocol, TCP or UDP.
        pub protocol: u8,
        /// Zero.
        pub reserved: u8,
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
        /// [`NODE_PORT`], [`EXTERNAL`], [`LOCAL_ONLY`].
        pub flags: u32,
        /// Number that the daemon gave to the service port, stable across revisions; for events.
        pub id: u32,
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
