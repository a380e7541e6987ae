//! The ipcache: address → identity. Longest prefix match, map [`crate::names::IPCACHE`], key
//! `LpmKey { prefix_len, Addr }` with prefix lengths of 0 to 128 (an IPv4 /24 is 120).

use crate::{Addr, abi, flow};

/// Never in the ipcache; in a policy key it matches every identity.
pub const IDENTITY_ANY: u32 = 0;
/// This node's own addresses. Traffic between them and the node's pods is always allowed.
pub const IDENTITY_HOST: u32 = 1;
/// Addresses of other nodes.
pub const IDENTITY_REMOTE_NODE: u32 = 2;
/// Every address that the ipcache does not hold.
pub const IDENTITY_WORLD: u32 = 3;
/// The first identity that the daemon gives to a class of addresses.
pub const IDENTITY_FIRST: u32 = 256;

/// The address is a pod's (of any node).
pub const POD: u32 = 1 << 0;
/// The address is a node's (this one or another).
pub const NODE: u32 = 1 << 1;
/// The address ends in this node's own stack: the node's addresses, the cluster DNS address, the
/// ingress address.
pub const HOST: u32 = 1 << 2;
/// Reached with the pod's own address as the source: never masqueraded.
pub const NO_MASQUERADE: u32 = 1 << 3;
/// The same of the outside: a network that knows the ways to pods. Unlike [`NO_MASQUERADE`] it is on no
/// node, and no overlay leads there.
pub const ROUTED: u32 = 1 << 4;

abi! {
    /// What is known of a prefix.
    pub struct IpInfo = 24 {
        /// The identity, a number of this node.
        pub identity: u32,
        /// [`POD`], [`NODE`], [`HOST`], [`NO_MASQUERADE`], [`ROUTED`].
        pub flags: u32,
        /// The node where the address lives, `::` when it lives on none: that node's address in
        /// the family of this one, or its IPv4 address where an overlay leads to it. Of another
        /// node's own address it is that node's IPv4 address, if it has one.
        pub node: Addr,
    }
}

impl IpInfo {
    /// What holds for an address that the ipcache does not know.
    pub const WORLD: Self = Self {
        identity: IDENTITY_WORLD,
        flags: 0,
        node: Addr::UNSPECIFIED,
    };

    /// The next hop to a pod of another node, as in [`crate::Conn::next_hop`]: that node, to which
    /// the daemon keeps a route for its pods. 0 for whatever has to be asked of the routes.
    #[inline(always)]
    pub fn next_hop(&self) -> u32 {
        if self.flags & POD == 0 || self.node == Addr::UNSPECIFIED {
            0
        } else if self.node.is_v4() {
            self.node.word_v4()
        } else {
            flow::BY_ROUTES
        }
    }
}
