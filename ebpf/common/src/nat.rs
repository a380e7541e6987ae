//! Address translation. LRU map [`crate::names::NAT`]: the exact tuple of a packet → what it
//! becomes. Every translated flow has two entries, one per direction; a flow that is handed on to
//! another node has one there and one here, which changes nothing and names the backend.

use crate::{Addr, Port, abi};

/// Pod to outside: the source becomes the node's address.
pub const MASQUERADE: u8 = 1;
/// Outside to a node port with a backend on this node: the destination becomes the backend.
pub const NODE_PORT_LOCAL: u8 = 2;
/// Outside to a node port with a backend on another node: both ends change.
pub const NODE_PORT_REMOTE: u8 = 3;
/// Pod to a service whose socket was not translated.
pub const SERVICE: u8 = 4;
/// Pod to a service whose backend is the pod itself; the source becomes the pod gateway.
pub const HAIRPIN: u8 = 5;
/// Outside to a service with a backend on another node, which answers by itself: the packet goes
/// there as it is. The only kind that is not a translation, and without an entry for answers: its
/// destination is the backend, its source the IPv4 address of the backend's node.
pub const HANDED_ON: u8 = 6;
/// The other end of that: what another node handed on to a backend of this one.
pub const HANDED_OVER: u8 = 7;
/// To a service whose backend is on this node's own network, from outside or from a pod: the
/// destination becomes the backend, and the answers of the node's stack are translated where they
/// leave it.
pub const OWN_NETWORK: u8 = 8;

/// [`NatEntry::flags`]: a FIN was seen in this entry's direction.
pub const FIN: u8 = 1 << 0;
/// [`NatEntry::flags`]: this entry is the reply direction.
pub const REPLY: u8 = 1 << 1;
/// [`NatEntry::flags`]: a FIN was seen in the other direction.
pub const PEER_FIN: u8 = 1 << 2;
/// [`NatEntry::flags`]: a RST was seen in either direction.
pub const RESET: u8 = 1 << 3;
/// [`NatEntry::flags`]: no answer was seen yet.
pub const UNANSWERED: u8 = 1 << 4;

abi! {
    /// A packet's source and destination before translation. ICMP echo has its identifier in both
    /// ports.
    pub struct NatKey = 40 {
        /// Source address.
        pub src: Addr,
        /// Destination address.
        pub dst: Addr,
        /// Source port.
        pub src_port: Port,
        /// Destination port.
        pub dst_port: Port,
        /// IP protocol.
        pub protocol: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }
}

abi! {
    /// A packet's source and destination after translation.
    pub struct NatEntry = 48 {
        /// Source address.
        pub src: Addr,
        /// Destination address.
        pub dst: Addr,
        /// Source port.
        pub src_port: Port,
        /// Destination port.
        pub dst_port: Port,
        /// [`MASQUERADE`] to [`OWN_NETWORK`].
        pub kind: u8,
        /// [`FIN`], [`REPLY`], [`PEER_FIN`], [`RESET`], [`UNANSWERED`]; but for [`REPLY`] both
        /// entries of a flow say the same.
        pub flags: u8,
        /// Zero.
        pub reserved: u16,
        /// When the entry was last used, nanoseconds of the monotonic clock, precise to about a
        /// second.
        pub seen_ns: u64,
    }
}

impl NatKey {
    /// Makes this what an answer to a packet that `entry` translated looks like, in place: a
    /// program's stack is too small for one key more. `reserved` is zero already.
    #[inline(always)]
    pub fn set_answer(&mut self, entry: &NatEntry, protocol: u8) {
        self.src = entry.dst;
        self.dst = entry.src;
        self.src_port = entry.dst_port;
        self.dst_port = entry.src_port;
        self.protocol = protocol;
    }
}
