//! Netlink: links, addresses, routes and neighbours, wrapped in one place.
//!
//! Every operation states an end ("this route exists") and is harmless when repeated. Nothing
//! here knows of pods' policies or of eBPF; what is made here is the plain part of the network
//! that the kernel needs to find its own way: the veth of a pod and the routes of a node. Frames of
//! one link that the kernel has no business with are sent and received here, too ([`LinkSocket`]),
//! and groups of a link joined for them ([`Groups`]).

mod carrier;
mod cookie;
mod mac;
mod multicast;
mod netlink;
mod news;
mod node;
mod overlay;
mod packet;
mod pod;
mod ports;
mod queue;
mod readdressed;
mod sockdiag;
mod sysctl;

pub use carrier::Carrier;
pub use cookie::namespace_cookie;
pub use mac::Mac;
pub use multicast::Groups;
pub use netlink::{Link, NetError, Netlink};
pub use node::{NodeRoutes, Over, local_addresses, prepare_node};
pub use overlay::{keep_overlay, remove_overlay};
pub use packet::{LinkSocket, Wanted};
pub use pod::{GATEWAY, GATEWAY_V6, PodLink, gateway, host_link_name, link_macs};
pub use ports::reserve_ports;
pub use queue::QueueError;
pub use readdressed::Readdressed;
pub use sockdiag::{Peer, can_end_sockets, end_sockets};
