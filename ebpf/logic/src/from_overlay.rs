//! Packets that the overlay brings: hook `from_overlay`.
//!
//! The overlay believes nobody but nodes, and those only for what lives on them: a pod's packet
//! comes from that pod's node. Then it is a packet from the network like any other.

use naru_ebpf_common::{Addr, Reason};

use crate::admission::info;
use crate::departure::scheduled;
use crate::from_network::arrived;
use crate::{Hop, Maps, Packet, Step, Verdict};

/// Decides about a packet that arrived on the overlay's device, sent by the node with the IPv4
/// address `node` (network order); 0 for a sender of another overlay.
#[inline(always)]
pub fn from_overlay<M: Maps>(m: &M, p: &mut Packet, node: u32) -> Verdict {
    let verdict = decide(m, p, node);
    let verdict = scheduled(m, p, verdict);
    m.step(|| Step::Verdict(verdict));
    verdict
}

#[inline(always)]
fn decide<M: Maps>(m: &M, p: &mut Packet, node: u32) -> Verdict {
    let Some(config) = m.config().filter(|c| c.overlay_ifindex != 0) else {
        return Verdict::drop(Reason::NOT_CONFIGURED);
    };
    if node == 0 || !is_from(m, p, node) {
        return Verdict::drop(Reason::SPOOFED_OVERLAY);
    }
    p.next_hop = Hop::node(node);
    arrived(m, config, p)
}

/// Whether the source lives on `node`.
#[inline(never)]
fn is_from<M: Maps>(m: &M, p: &mut Packet, node: u32) -> bool {
    let info = info(m, &p.src);
    p.found.src_identity = info.identity;
    info.node == Addr::v4_word(node)
}
