//! Packets that arrive on the uplink: hook `from_network`.
//!
//! To a pod of this node, to a node port or external address, the answer to a translated packet,
//! or none of the data path's business.

use naru_ebpf_common::nat::{HANDED_ON, NODE_PORT_LOCAL, NODE_PORT_REMOTE, OWN_NETWORK};
use naru_ebpf_common::policy::INGRESS;
use naru_ebpf_common::{Endpoint, NodeConfig, Port, Reason, config, flow, protocol};

use crate::admission::{self, admit, judge_again};
use crate::conntrack;
use crate::departure::{deliver, scheduled};
use crate::direct;
use crate::leave::leave;
use crate::parse::{ECHO_REPLY, ECHO_REPLY_V6};
use crate::service;
use crate::{Maps, Packet, Step, Verdict, nat};

/// Decides about a packet that arrived on the uplink.
#[inline(always)]
pub fn from_network<M: Maps>(m: &M, p: &mut Packet) -> Verdict {
    let verdict = decide(m, p);
    let verdict = scheduled(m, p, verdict);
    m.step(|| Step::Verdict(verdict));
    verdict
}

#[inline(always)]
fn decide<M: Maps>(m: &M, p: &mut Packet) -> Verdict {
    let Some(config) = m.config().filter(|c| c.uplink_ifindex != 0) else {
        return Verdict::PASS;
    };
    arrived(m, config, p)
}

/// Decides about a packet of another node or of the outside.
#[inline(always)]
pub(crate) fn arrived<M: Maps>(m: &M, config: &NodeConfig, p: &mut Packet) -> Verdict {
    let family = config.family(&p.src);
    if p.src == family.node_addr || family.is_of_pods(&p.src) {
        return Verdict::drop(Reason::SPOOFED_NETWORK);
    }
    let Some(dst) = m.endpoint(&p.dst) else {
        m.step(|| Step::NotLocal(p.dst));
        if to_node(m, p) {
            after_translation(m, p);
        }
        return p.verdict;
    };
    m.step(|| Step::Endpoint(p.dst, *dst));
    p.found.endpoint = dst.id;
    p.found.direction = INGRESS;
    let seen = conntrack::touch(m, p, None, Some(dst));
    if seen.is_plain() {
        m.step(|| Step::Known);
        return deliver(p, dst);
    }
    p.seen = seen;
    to_endpoint(m, p, dst, 0);
    p.verdict
}

/// The way into a pod when the flow is new, translated or over. `flags` are those of a new flow's
/// conntrack entry.
#[inline(never)]
fn to_endpoint<M: Maps>(m: &M, p: &mut Packet, dst: &Endpoint, flags: u8) {
    p.verdict = into_endpoint(m, p, dst, flags);
}

#[inline(always)]
fn into_endpoint<M: Maps>(m: &M, p: &mut Packet, dst: &Endpoint, flags: u8) -> Verdict {
    let seen = p.seen;
    if !seen.is_known() {
        let reason = if seen.must_be_judged() {
            judge_again(m, p, None, Some(dst), seen.is_from_opener())
        } else {
            new_flow(m, p, dst, flags)
        };
        if reason != Reason::FORWARDED {
            return Verdict::drop(reason);
        }
    }
    if seen.has_ended() {
        admission::ended(m, p);
    }
    // The answer of a remote backend to a pod that called a service per packet. A packet that was
    // translated on its way in (`flags`) is complete.
    if seen.has_nat() && !seen.is_from_opener() && flags == 0 {
        return if nat::translate(m, p) == 0 {
            Verdict::drop(Reason::NAT_LOST)
        } else {
            deliver(p, dst).rewritten()
        };
    }
    deliver(p, dst)
}

#[inline(always)]
fn new_flow<M: Maps>(m: &M, p: &mut Packet, dst: &Endpoint, flags: u8) -> Reason {
    m.step(|| Step::New);
    if p.related != 0 {
        return Reason::ICMP_UNRELATED;
    }
    let reason = admit(m, p, None, Some(dst));
    if reason != Reason::FORWARDED {
        return reason;
    }
    admission::open(m, p, None, Some(dst), flags)
}

/// A packet that is not addressed to a pod of this node. True if it was translated, and so has to
/// find its way anew; else the verdict stands in `p`.
#[inline(never)]
fn to_node<M: Maps>(m: &M, p: &mut Packet) -> bool {
    p.verdict = Verdict::PASS;
    let Some(config) = m.config() else {
        return false;
    };
    let family = config.family(&p.dst);
    let own = p.dst == family.node_addr;
    if own && !may_be_translated(config, p) {
        return false;
    }
    if !own && family.is_of_pods(&p.dst) {
        if p.dst != family.ingress_addr {
            p.verdict = Verdict::drop(Reason::NO_ENDPOINT);
        }
        return false;
    }
    let kind = nat::translate(m, p);
    if kind == u32::from(OWN_NETWORK) {
        p.verdict = Verdict::PASS.rewritten();
        return false;
    }
    if kind != 0 && kind != u32::from(HANDED_ON) {
        return true;
    }
    // What was handed on in another mode chooses anew.
    if kind != 0 && config.is_direct(p.protocol) {
        direct::go_on(m, p);
        return false;
    }
    if p.related != 0 || !protocol::has_ports(p.protocol) {
        return false;
    }
    open_service(m, p)
}

/// Whether a packet to the node's own address may belong to a node port, a host port or a
/// translated flow.
#[inline(always)]
fn may_be_translated(config: &NodeConfig, p: &Packet) -> bool {
    if p.is_icmp() {
        return p.related != 0 || matches!(p.icmp_type, ECHO_REPLY | ECHO_REPLY_V6);
    }
    may_be_served(config, p.dst_port) || p.related != 0
}

/// Whether a port of the node's own address may be a node port, a host port, or one under which a
/// flow was translated.
#[inline(always)]
pub(crate) fn may_be_served(config: &NodeConfig, port: Port) -> bool {
    config.flags & config::HOST_PORTS != 0
        || service::is_node_port(config, port)
        || config.is_snat_port(port)
}

/// Chooses a backend for a packet from outside; true if there is one with a way to be found. What is
/// on the node's own network is the stack's.
#[inline(never)]
fn open_service<M: Maps>(m: &M, p: &mut Packet) -> bool {
    let Some(config) = m.config() else {
        return false;
    };
    let outcome = service::find(m, config, p, NODE_PORT_LOCAL, true);
    if let Some(reason) = outcome.dropped() {
        p.verdict = service::turn_away(m, p, reason);
        return false;
    }
    if outcome.is_none() {
        return false;
    }
    let reason = if outcome.is_own_network() || m.endpoint(&p.to.dst).is_some() {
        nat::bind(m, p)
    } else if direct::open(m, p) {
        return false;
    } else {
        p.to.kind = NODE_PORT_REMOTE;
        p.to.src = config.family(&p.to.dst).node_addr;
        nat::bind_source(m, p)
    };
    if reason != Reason::FORWARDED {
        p.verdict = Verdict::drop(reason);
        return false;
    }
    if outcome.is_own_network() {
        p.verdict = Verdict::PASS.rewritten();
    }
    !outcome.is_own_network()
}

/// Goes on with a packet that was translated on arrival: into a pod, or out again.
#[inline(never)]
pub(crate) fn after_translation<M: Maps>(m: &M, p: &mut Packet) {
    let Some(config) = m.config() else {
        return;
    };
    let Some(dst) = m.endpoint(&p.dst) else {
        m.step(|| Step::NotLocal(p.dst));
        p.verdict = leave(m, config, p).rewritten();
        return;
    };
    m.step(|| Step::Endpoint(p.dst, *dst));
    p.found.endpoint = dst.id;
    p.found.direction = INGRESS;
    let seen = conntrack::touch(m, p, None, Some(dst));
    p.seen = seen;
    to_endpoint(m, p, dst, flow::NAT);
    p.verdict = p.verdict.rewritten();
}
