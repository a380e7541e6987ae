//! Direct server return: the way of packets from outside to a backend on another node.
//!
//! The node that the client asked chooses a backend, notes it, and hands the packet on as it came, to
//! the backend's node, through the overlay's device under an identifier of its own. That node does
//! what the first one would do for a backend of its own: it translates the packet, opens the flow
//! with the client's address as its source, and translates the answers, which go straight to the
//! client. So the backend sees who asks, and answers take no detour.
//!
//! Who chose stays the master of the flow: the frame names the backend, and a flow that is led to
//! another one is translated anew. Errors of ICMP about answers reach the node that the client asked,
//! for it has the address, and are handed on like all the rest.
//!
//! Only clients outside the cluster are served so. A pod or a node among them is translated to the
//! node's own address as ever, and so is everything for a backend on a node's own network, or on a
//! node whose IPv4 address is not known.

use naru_ebpf_common::nat::{HANDED_ON, HANDED_OVER};
use naru_ebpf_common::{Addr, IpInfo, Reason, ipcache, protocol};

use crate::admission::info;
use crate::departure::scheduled;
use crate::from_network::after_translation;
use crate::{Hop, Maps, Packet, Step, Verdict, nat};

/// Hands the first packet of a flow on to the node of the backend `p.to`; false if that is not to be,
/// else the verdict stands in `p`.
#[inline(never)]
pub(crate) fn open<M: Maps>(m: &M, p: &mut Packet) -> bool {
    let is_wanted = m.config().is_some_and(|c| c.is_direct(p.protocol));
    if !is_wanted || !is_outside(m, &p.src) {
        return false;
    }
    let node = tunnel_to(m, &p.to.dst);
    if node == 0 {
        return false;
    }
    p.to.kind = HANDED_ON;
    p.to.src = Addr::v4_word(node);
    let reason = nat::note(m, p);
    p.verdict = if reason == Reason::FORWARDED {
        Verdict::hand_on(node)
    } else {
        Verdict::drop(reason)
    };
    true
}

/// Hands a packet on to the node of the backend that was noted, `p.to`. A backend whose node has
/// another address than it had is noted with that one.
#[inline(never)]
pub(crate) fn go_on<M: Maps>(m: &M, p: &mut Packet) {
    let node = tunnel_to(m, &p.to.dst);
    if node == 0 {
        p.verdict = Verdict::drop(Reason::NO_TUNNEL_ENDPOINT);
        return;
    }
    p.verdict = Verdict::hand_on(node);
    let src = Addr::v4_word(node);
    if p.to.src != src {
        p.set_nat_key();
        m.update_nat(&p.nat_key, |entry| entry.src = src);
    }
}

/// Decides about a packet that the node with the IPv4 address `node` (network order) handed on, for
/// the backend with the address and port of the destination of `p.to`.
#[inline(always)]
pub fn handed_over<M: Maps>(m: &M, p: &mut Packet, node: u32) -> Verdict {
    decide(m, p, node);
    let verdict = scheduled(m, p, p.verdict);
    m.step(|| Step::Verdict(verdict));
    verdict
}

#[inline(always)]
fn decide<M: Maps>(m: &M, p: &mut Packet, node: u32) {
    // The way back is that of the routes.
    p.next_hop = Hop::UNKNOWN;
    if !is_node(m, node) || !is_outside(m, &p.src) {
        p.verdict = Verdict::drop(Reason::SPOOFED_OVERLAY);
    } else if m.endpoint(&p.to.dst).is_none() {
        p.verdict = Verdict::drop(Reason::NO_ENDPOINT);
    } else {
        let reason = to_backend(m, p);
        if reason == Reason::FORWARDED {
            after_translation(m, p);
        } else {
            p.verdict = Verdict::drop(reason);
        }
    }
}

/// Translates a packet to the backend `p.to`.
#[inline(never)]
fn to_backend<M: Maps>(m: &M, p: &mut Packet) -> Reason {
    p.set_nat_key();
    let to = &p.to;
    let is_known = m.update_nat(&p.nat_key, |entry| {
        entry.dst == to.dst && entry.dst_port == to.dst_port
    });
    if is_known == Some(true) && nat::translate(m, p) != 0 {
        return Reason::FORWARDED;
    }
    if p.related != 0 || !protocol::has_ports(p.protocol) {
        return Reason::ICMP_UNRELATED;
    }
    nat::to_destination(p, HANDED_OVER, p.to.dst, p.to.dst_port);
    nat::bind(m, p)
}

/// Whether an address lives on no node.
#[inline(never)]
fn is_outside<M: Maps>(m: &M, addr: &Addr) -> bool {
    let info = info(m, addr);
    info.flags & (ipcache::POD | ipcache::NODE | ipcache::HOST) == 0
        && info.node == Addr::UNSPECIFIED
}

/// Whether an IPv4 address is another node's.
#[inline(never)]
fn is_node<M: Maps>(m: &M, node: u32) -> bool {
    let info = info(m, &Addr::v4_word(node));
    info.flags & (ipcache::NODE | ipcache::HOST) == ipcache::NODE
}

/// The IPv4 address of the node where a pod lives, network order; 0 when there is none, or no pod.
#[inline(never)]
fn tunnel_to<M: Maps>(m: &M, backend: &Addr) -> u32 {
    let info = info(m, backend);
    if info.flags & (ipcache::POD | ipcache::HOST) != ipcache::POD {
        return 0;
    }
    address_v4(m, &info)
}

/// Pods of IPv6 may be known by their node's IPv6 address, of which the ipcache knows the rest.
#[inline(always)]
fn address_v4<M: Maps>(m: &M, of: &IpInfo) -> u32 {
    if of.node.is_v4() {
        return of.node.word_v4();
    }
    let node = info(m, &of.node).node;
    if node.is_v4() { node.word_v4() } else { 0 }
}
