//! Endpoints of services on this node's own network: hook `to_network`, packets of the node's stack
//! that leave it.
//!
//! A packet for such an endpoint is translated on its way in like one for a pod, and goes to the
//! stack. What the stack answers is translated here when it leaves by the uplink or the overlay's
//! device, and in `to_pod` when it goes to a pod of this node. Everything else that the node sends
//! passes as it is, fragments and what can't be read included: nothing is dropped here.
//!
//! The hook costs every packet of the node's own programs a lookup. So it is attached only while
//! there is such an endpoint ([`config::OWN_NETWORK`]).

use naru_ebpf_common::nat::OWN_NETWORK;
use naru_ebpf_common::{Addr, NatKey, NodeConfig, config, ipcache};

use crate::admission::info;
use crate::parse::{self, Frame, plain};
use crate::{Maps, Packet, Step, Verdict, nat};

/// Decides about a packet that the node's stack sends to another node or to the outside.
#[inline(always)]
pub fn to_network<M: Maps>(m: &M, p: &mut Packet) -> Verdict {
    let is_answer = m.config().is_some_and(is_wanted) && translate_answer(m, p);
    let verdict = if is_answer {
        Verdict::PASS.rewritten()
    } else {
        Verdict::PASS
    };
    m.step(|| Step::Verdict(verdict));
    verdict
}

/// Whether the packet in `frame` may be the answer of an endpoint on this node's own network. One
/// that is not plain always may.
#[inline(always)]
pub fn may_be_answer<M: Maps, F: Frame>(m: &M, frame: &F) -> bool {
    if !m.config().is_some_and(is_wanted) {
        return false;
    }
    let mut key = NatKey::default();
    match frame.half(parse::ETHERTYPE).map(u16::from_be) {
        Some(parse::IPV4 | parse::IPV6) => match plain::tuple(frame, &mut key) {
            Some(_) => is_noted(m, &key),
            None => true,
        },
        _ => false,
    }
}

/// Translates `p` if it is the answer of an endpoint on this node's own network.
#[inline(never)]
pub(crate) fn translate_answer<M: Maps>(m: &M, p: &mut Packet) -> bool {
    p.set_nat_key();
    is_noted(m, &p.nat_key) && nat::translate(m, p) == u32::from(OWN_NETWORK)
}

#[inline(always)]
fn is_noted<M: Maps>(m: &M, key: &NatKey) -> bool {
    m.update_nat(key, |entry| entry.kind == OWN_NETWORK) == Some(true)
}

/// Whether anything has to be looked for in what the node sends.
#[inline(always)]
pub(crate) fn is_wanted(config: &NodeConfig) -> bool {
    config.flags & config::OWN_NETWORK != 0
}

/// Whether a backend's address is on this node's own network: the one that stands for the node, or
/// another of its own.
#[inline(always)]
pub(crate) fn has<M: Maps>(m: &M, config: &NodeConfig, backend: &Addr) -> bool {
    config.is_node(backend) || is_wanted(config) && is_of_node(m, backend)
}

/// Whether an address is one of this node's own, be it not the one that stands for it.
#[inline(never)]
pub(crate) fn is_of_node<M: Maps>(m: &M, addr: &Addr) -> bool {
    let own = ipcache::NODE | ipcache::HOST;
    info(m, addr).flags & own == own
}
