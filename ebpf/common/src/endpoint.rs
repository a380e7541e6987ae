//! Endpoints: the pods of this node. Map [`crate::names::ENDPOINTS`], key [`crate::Addr`].

use crate::{Addr, abi};

/// Only traffic that an entry of the policy map allows may enter (a policy selects the pod for ingress).
pub const ISOLATED_INGRESS: u32 = 1 << 0;
/// Only traffic that an entry of the policy map allows may leave (a policy selects the pod for egress).
pub const ISOLATED_EGRESS: u32 = 1 << 1;
/// What enters the pod is limited ([`crate::Bandwidth`]), and its host interface has a queue that
/// knows departure times.
pub const LIMITED_INGRESS: u32 = 1 << 2;
/// What the pod sends out of the node is limited, and the uplink has such a queue.
pub const LIMITED_EGRESS: u32 = 1 << 3;
/// The limits alone: nothing that policy depends on.
pub const LIMITED: u32 = LIMITED_INGRESS | LIMITED_EGRESS;

abi! {
    /// What the data path knows of a local pod.
    pub struct Endpoint = 40 {
        /// Number of the endpoint on this node, never 0; part of policy keys and events.
        pub id: u32,
        /// Identity of the pod, the same as its ipcache entry's.
        pub identity: u32,
        /// Interface index of the host side of the pod's veth.
        pub ifindex: u32,
        /// Grows with each change of the pod's policy or isolation, never 0. Flows allowed under
        /// another revision are judged again at their next packet.
        pub policy_revision: u32,
        /// [`ISOLATED_INGRESS`], [`ISOLATED_EGRESS`], [`LIMITED_INGRESS`], [`LIMITED_EGRESS`].
        pub flags: u32,
        /// MAC address of `eth0` in the pod.
        pub pod_mac: [u8; 6],
        /// MAC address of the host side of the veth.
        pub host_mac: [u8; 6],
        /// Zero.
        pub reserved: [u32; 2],
    }
}

abi! {
    /// The addresses of a pod, `::` where it has none of the family.
    pub struct PodAddrs = 32 {
        /// IPv4.
        pub v4: Addr,
        /// IPv6.
        pub v6: Addr,
    }
}

impl PodAddrs {
    /// The pod's address in the family of `other`.
    #[inline(always)]
    pub const fn like(&self, other: &Addr) -> Addr {
        if other.is_v4() { self.v4 } else { self.v6 }
    }
}
