//! The way out of the node: out of the uplink, or through the overlay to the node where the
//! destination lives.
//!
//! With an overlay the network between nodes need not know any pod's address, so everything that
//! has a pod at one end goes through it, pods speaking to another node itself and that node's
//! answers included. Nodes among themselves need no overlay.

use naru_ebpf_common::{IpInfo, NodeConfig, Reason, ipcache};

use crate::admission::info;
use crate::{Hop, Maps, Packet, Verdict};

/// Sends `p`, as it is after every translation, to a destination that is not on this node.
#[inline(always)]
pub(crate) fn leave<M: Maps>(m: &M, config: &NodeConfig, p: &mut Packet) -> Verdict {
    if config.overlay_ifindex == 0 {
        Verdict::uplink(config.uplink_ifindex)
    } else {
        look_up_and_leave(m, p)
    }
}

#[inline(never)]
fn look_up_and_leave<M: Maps>(m: &M, p: &mut Packet) -> Verdict {
    let Some(config) = m.config() else {
        return Verdict::drop(Reason::NOT_CONFIGURED);
    };
    let info = info(m, &p.dst);
    leave_for(config, p, &info)
}

/// The same, when it is known what the ipcache says of the destination.
#[inline(always)]
pub(crate) fn leave_for(config: &NodeConfig, p: &mut Packet, info: &IpInfo) -> Verdict {
    if config.overlay_ifindex == 0 {
        return Verdict::uplink(config.uplink_ifindex);
    }
    let is_among_nodes = info.flags & ipcache::NODE != 0 && config.is_node(&p.src);
    if is_among_nodes || !is_of_cluster(info) {
        p.next_hop = Hop::UNKNOWN;
        return Verdict::uplink(config.uplink_ifindex);
    }
    p.next_hop = Hop::to(config, info);
    if !p.next_hop.is_known() {
        Verdict::drop(Reason::NO_TUNNEL_ENDPOINT)
    } else if info.node == config.v4.node_addr {
        Verdict::drop(Reason::NO_ENDPOINT)
    } else {
        Verdict::encapsulate(p.next_hop.address())
    }
}

/// Whether an address belongs to some node, so that nobody else may be asked for it.
#[inline(always)]
const fn is_of_cluster(info: &IpInfo) -> bool {
    info.flags & (ipcache::POD | ipcache::NODE | ipcache::NO_MASQUERADE) != 0
}
