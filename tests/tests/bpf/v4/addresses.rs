//! The cast: one node, its pods, another node, the outside, in IPv4.

use naru_ebpf_common::Addr;

/// This node, on its uplink.
pub(crate) const NODE: Addr = Addr::v4([192, 168, 77, 101]);
/// Another address of this node.
pub(crate) const SECOND: Addr = Addr::v4([192, 168, 77, 201]);
/// Another node.
pub(crate) const NODE2: Addr = Addr::v4([192, 168, 77, 102]);
/// Something beyond the cluster.
pub(crate) const OUTSIDE: Addr = Addr::v4([192, 168, 77, 2]);
/// The source of this node's ingress proxy.
pub(crate) const INGRESS: Addr = Addr::v4([10, 244, 1, 1]);
/// The pod gateway.
pub(crate) const GATEWAY: Addr = Addr::v4([169, 254, 1, 1]);
/// A pod of this node.
pub(crate) const WEB: Addr = Addr::v4([10, 244, 1, 2]);
/// Another pod of this node.
pub(crate) const API: Addr = Addr::v4([10, 244, 1, 3]);
/// A pod of the other node.
pub(crate) const REMOTE: Addr = Addr::v4([10, 244, 2, 2]);
/// A service.
pub(crate) const SERVICE: Addr = Addr::v4([10, 96, 0, 50]);
/// The cluster's DNS address, on this node's `lo`.
pub(crate) const DNS: Addr = Addr::v4([10, 96, 0, 10]);
/// Beyond an address pool, for load balancers.
pub(crate) const VIP: Addr = Addr::v4([192, 0, 2, 7]);
/// A router of the outside.
pub(crate) const ROUTER: Addr = Addr::v4([192, 168, 77, 1]);
/// An address of this node's pods that none has.
pub(crate) const NOBODY: Addr = Addr::v4([10, 244, 1, 99]);
/// An address of the services that none has.
pub(crate) const NO_SERVICE: Addr = Addr::v4([10, 96, 9, 9]);
/// A group that pods like to speak to.
pub(crate) const GROUP: Addr = Addr::v4([224, 0, 0, 251]);
/// The node itself, for the tests of sockets.
pub(crate) const LOOPBACK: Addr = Addr::v4([127, 0, 0, 1]);
/// No address.
pub(crate) const NONE: Addr = Addr::v4([0; 4]);

/// The network of this node's pods, its prefix counted from the first of 128 bits.
pub(crate) const POD_NET: (Addr, u32) = (Addr::v4([10, 244, 1, 0]), 96 + 24);
/// The network of the services, counted likewise.
pub(crate) const SERVICE_NET: (Addr, u32) = (Addr::v4([10, 96, 0, 0]), 96 + 12);
/// The network of the nodes, counted likewise.
pub(crate) const NODE_NET: (Addr, u32) = (Addr::v4([192, 168, 77, 0]), 96 + 24);
/// Bits of an address that are no bits of IPv4.
pub(crate) const NOT_COUNTED: u32 = 96;

/// The protocol of echoes and errors.
pub(crate) const ICMP: u8 = naru_ebpf_common::protocol::ICMP;
/// Type and code of an error about a port.
pub(crate) const PORT_UNREACHABLE: (u8, u8) = (3, 3);
/// What a flow remembers as its next hop to a pod of the other node.
pub(crate) const HOP_TO_NODE2: u32 = NODE2.word_v4();
/// And to the other node itself, before the routes were asked.
pub(crate) const HOP_UNKNOWN: u32 = 0;
