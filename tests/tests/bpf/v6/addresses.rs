//! The cast: one node, its pods, another node, the outside, in IPv6.

use naru_ebpf_common::{Addr, flow};

/// Sixteen bytes from eight groups.
const fn v6(g: [u16; 8]) -> Addr {
    Addr::from_bytes(
        core::net::Ipv6Addr::new(g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7]).octets(),
    )
}

/// This node, on its uplink.
pub(crate) const NODE: Addr = v6([0xfd00, 0x77, 0, 0, 0, 0, 0, 0x101]);
/// Another address of this node.
pub(crate) const SECOND: Addr = v6([0xfd00, 0x77, 0, 0, 0, 0, 0, 0x201]);
/// Another node.
pub(crate) const NODE2: Addr = v6([0xfd00, 0x77, 0, 0, 0, 0, 0, 0x102]);
/// Something beyond the cluster.
pub(crate) const OUTSIDE: Addr = v6([0xfd00, 0x77, 0, 0, 0, 0, 0, 2]);
/// The source of this node's ingress proxy.
pub(crate) const INGRESS: Addr = v6([0xfd00, 0x244, 0, 1, 0, 0, 0, 1]);
/// The pod gateway.
pub(crate) const GATEWAY: Addr = v6([0xfe80, 0, 0, 0, 0, 0, 0, 1]);
/// A pod of this node.
pub(crate) const WEB: Addr = v6([0xfd00, 0x244, 0, 1, 0, 0, 0, 2]);
/// Another pod of this node.
pub(crate) const API: Addr = v6([0xfd00, 0x244, 0, 1, 0, 0, 0, 3]);
/// A pod of the other node.
pub(crate) const REMOTE: Addr = v6([0xfd00, 0x244, 0, 2, 0, 0, 0, 2]);
/// A service.
pub(crate) const SERVICE: Addr = v6([0xfd00, 0x96, 0, 0, 0, 0, 0, 50]);
/// The cluster's DNS address, on this node's `lo`.
pub(crate) const DNS: Addr = v6([0xfd00, 0x96, 0, 0, 0, 0, 0, 10]);
/// Beyond an address pool, for load balancers.
pub(crate) const VIP: Addr = v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7]);
/// A router of the outside.
pub(crate) const ROUTER: Addr = v6([0xfd00, 0x77, 0, 0, 0, 0, 0, 1]);
/// An address of this node's pods that none has.
pub(crate) const NOBODY: Addr = v6([0xfd00, 0x244, 0, 1, 0, 0, 0, 99]);
/// An address of the services that none has.
pub(crate) const NO_SERVICE: Addr = v6([0xfd00, 0x96, 0, 0, 0, 0, 9, 9]);
/// A group that pods like to speak to.
pub(crate) const GROUP: Addr = v6([0xff02, 0, 0, 0, 0, 0, 0, 0xfb]);
/// The node itself, for the tests of sockets.
pub(crate) const LOOPBACK: Addr = v6([0, 0, 0, 0, 0, 0, 0, 1]);
/// No address.
pub(crate) const NONE: Addr = Addr::UNSPECIFIED;

/// The network of this node's pods and its prefix.
pub(crate) const POD_NET: (Addr, u32) = (v6([0xfd00, 0x244, 0, 1, 0, 0, 0, 0]), 64);
/// The network of the services and its prefix.
pub(crate) const SERVICE_NET: (Addr, u32) = (v6([0xfd00, 0x96, 0, 0, 0, 0, 0, 0]), 108);
/// The network of the nodes and its prefix.
pub(crate) const NODE_NET: (Addr, u32) = (v6([0xfd00, 0x77, 0, 0, 0, 0, 0, 0]), 64);
/// Bits of an address that are no bits of IPv6.
pub(crate) const NOT_COUNTED: u32 = 0;

/// The protocol of echoes and errors.
pub(crate) const ICMP: u8 = naru_ebpf_common::protocol::ICMPV6;
/// Type and code of an error about a port.
pub(crate) const PORT_UNREACHABLE: (u8, u8) = (1, 4);
/// What a flow remembers as its next hop to a pod of the other node.
pub(crate) const HOP_TO_NODE2: u32 = flow::BY_ROUTES;
/// And to the other node itself.
pub(crate) const HOP_UNKNOWN: u32 = flow::BY_ROUTES;
