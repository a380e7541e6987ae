//! The cast: one node, its pods, another node, the outside.

use naru_ebpf_common::Addr;

/// This node, on its uplink.
pub(crate) const NODE: Addr = Addr::v4([192, 168, 77, 101]);
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

/// Interface that test runs arrive on: `lo`.
pub(crate) const WEB_IFINDEX: u32 = 1;
/// Interface of the other pod.
pub(crate) const API_IFINDEX: u32 = 12;
/// The uplink.
pub(crate) const UPLINK: u32 = 2;

/// Identities, numbers as the daemon gives them.
pub(crate) const ID_WEB: u32 = 300;
pub(crate) const ID_API: u32 = 301;
pub(crate) const ID_REMOTE: u32 = 302;
pub(crate) const ID_PROXY: u32 = 303;
pub(crate) const ID_DNS: u32 = 304;
