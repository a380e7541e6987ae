//! The next hop to an end that is not on this node: a router, or a node that the overlay leads to.

use naru_ebpf_common::{IpInfo, NodeConfig, flow, ipcache};

/// A next hop, in one register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Hop(u64);

impl Hop {
    /// It has to be looked up.
    pub const UNKNOWN: Self = Self(0);

    const OVERLAY: u64 = 1 << 32;

    /// On the uplink: an IPv4 address in network order, or [`flow::BY_ROUTES`].
    #[inline(always)]
    pub const fn router(address: u32) -> Self {
        Self(address as u64)
    }

    /// Through the overlay: the IPv4 address of a node, in network order.
    #[inline(always)]
    pub const fn node(address: u32) -> Self {
        Self(Self::OVERLAY | address as u64)
    }

    /// The next hop to an address of which the ipcache says `info`.
    #[inline(always)]
    pub(crate) fn to(config: &NodeConfig, info: &IpInfo) -> Self {
        if config.overlay_ifindex == 0 {
            Self::router(info.next_hop())
        } else if info.node.is_v4() && info.flags & ipcache::HOST == 0 {
            Self::node(info.node.word_v4())
        } else {
            Self::UNKNOWN
        }
    }

    /// This one, or the other if this one is not known.
    #[inline(always)]
    pub(crate) const fn or(self, other: Self) -> Self {
        if self.is_known() { self } else { other }
    }

    /// Whether there is one.
    #[inline(always)]
    pub const fn is_known(self) -> bool {
        self.0 != 0
    }

    /// The address of the router or of the node, network order.
    #[inline(always)]
    pub const fn address(self) -> u32 {
        self.0 as u32
    }

    /// What a flow keeps of it in its flags.
    #[inline(always)]
    pub(crate) const fn flag(self) -> u8 {
        if self.0 & Self::OVERLAY == 0 {
            0
        } else {
            flow::OVERLAY
        }
    }
}
