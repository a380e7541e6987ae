//! Packets that a pod sends: hook `from_pod`.
//!
//! Most packets never come here ([`crate::quick`]). The destination's ingress policy is decided here
//! too when it is a pod of this node, because the packet goes straight into that pod.

use naru_ebpf_common::endpoint::LIMITED_EGRESS;
use naru_ebpf_common::ipcache::{self, IDENTITY_HOST};
use naru_ebpf_common::nat::{HAIRPIN, MASQUERADE, OWN_NETWORK, SERVICE};
use naru_ebpf_common::policy::EGRESS;
use naru_ebpf_common::{
    BandwidthKey, Endpoint, IpInfo, NodeConfig, Reason, config, flow, protocol,
};

use crate::admission::{self, admit, info, judge_again};
use crate::conntrack::{self, Seen};
use crate::departure::{deliver, scheduled};
use crate::leave::{leave, leave_for};
use crate::service::{self, Outcome};
use crate::{Hop, Maps, Packet, Step, Verdict, nat};

/// Decides about a packet that arrived on the host side of a veth, `ifindex`.
#[inline(always)]
pub fn from_pod<M: Maps>(m: &M, p: &mut Packet, ifindex: u32) -> Verdict {
    let verdict = decide(m, p, ifindex);
    let verdict = scheduled(m, p, verdict);
    m.step(|| Step::Verdict(verdict));
    verdict
}

#[inline(always)]
fn decide<M: Maps>(m: &M, p: &mut Packet, ifindex: u32) -> Verdict {
    let Some(config) = m.config().filter(|c| c.uplink_ifindex != 0) else {
        return Verdict::drop(Reason::NOT_CONFIGURED);
    };
    let Some(src) = m.endpoint(&p.src) else {
        m.step(|| Step::NotLocal(p.src));
        return Verdict::drop(if config.family(&p.src).exists() {
            Reason::SPOOFED_SOURCE
        } else {
            Reason::IPV6_UNSUPPORTED
        });
    };
    m.step(|| Step::Endpoint(p.src, *src));
    p.found.endpoint = src.id;
    p.found.direction = EGRESS;
    if src.ifindex != ifindex || p.foreign_sender != 0 {
        return Verdict::drop(Reason::SPOOFED_SOURCE);
    }
    if src.flags & LIMITED_EGRESS != 0 {
        p.limit = BandwidthKey::new(src.id, EGRESS);
    }
    let dst = m.endpoint(&p.dst);
    let seen = conntrack::touch(m, p, Some(src), dst);
    if seen.is_plain() {
        m.step(|| Step::Known);
        return next_hop(m, config, p, dst);
    }
    p.seen = seen;
    // Two functions, not one that calls the other: their frames share the program's 512 bytes.
    if seen.is_known() || seen.must_be_judged() {
        slow(m, p, src, dst);
    } else {
        fresh(m, p, src, dst);
    }
    p.verdict
}

/// A local pod, or out of the node.
#[inline(always)]
fn next_hop<M: Maps>(
    m: &M,
    config: &NodeConfig,
    p: &mut Packet,
    dst: Option<&Endpoint>,
) -> Verdict {
    match dst {
        Some(dst) => {
            m.step(|| Step::Endpoint(p.dst, *dst));
            deliver(p, dst)
        }
        None => leave(m, config, p),
    }
}

#[inline(never)]
fn slow<M: Maps>(m: &M, p: &mut Packet, src: &Endpoint, dst: Option<&Endpoint>) {
    p.verdict = decide_slowly(m, p, src, dst);
}

#[inline(always)]
fn decide_slowly<M: Maps>(
    m: &M,
    p: &mut Packet,
    src: &Endpoint,
    dst: Option<&Endpoint>,
) -> Verdict {
    let seen = p.seen;
    let Some(config) = m.config() else {
        return Verdict::drop(Reason::NOT_CONFIGURED);
    };
    if seen.must_be_judged() {
        let reason = judge_again(m, p, Some(src), dst, seen.is_from_opener());
        if reason != Reason::FORWARDED {
            return Verdict::drop(reason);
        }
    }
    m.step(|| Step::Known);
    if seen.has_ended() {
        admission::ended(m, p);
    }
    if seen.is_host() {
        return Verdict::PASS;
    }
    if !seen.has_nat() {
        return next_hop(m, config, p, dst);
    }
    translated(m, config, p, seen)
}

/// A known flow with an entry in the NAT table: masqueraded, or the answer of a service's backend.
#[inline(always)]
fn translated<M: Maps>(m: &M, config: &NodeConfig, p: &mut Packet, seen: Seen) -> Verdict {
    if nat::translate(m, p) == 0 {
        if !seen.is_from_opener() {
            return Verdict::drop(Reason::NAT_LOST);
        }
        return masquerade(m, config, p);
    }
    let dst = m.endpoint(&p.dst);
    next_hop(m, config, p, dst).rewritten()
}

#[inline(never)]
fn fresh<M: Maps>(m: &M, p: &mut Packet, src: &Endpoint, dst: Option<&Endpoint>) {
    p.verdict = new_flow(m, p, src, dst);
}

#[inline(always)]
fn new_flow<M: Maps>(m: &M, p: &mut Packet, src: &Endpoint, dst: Option<&Endpoint>) -> Verdict {
    let Some(config) = m.config() else {
        return Verdict::drop(Reason::NOT_CONFIGURED);
    };
    m.step(|| Step::New);
    if dst.is_some() {
        return if p.related != 0 {
            Verdict::drop(Reason::ICMP_UNRELATED)
        } else {
            open_and_go(m, p, src, dst, 0)
        };
    }
    let has_host_ports = config.flags & config::HOST_PORTS != 0;
    let may_be_service = has_host_ports || service::is_node_port(config, p.dst_port);
    if config.is_node(&p.dst) && !may_be_service {
        m.step(|| Step::Exempt);
        return Verdict::PASS;
    }
    if p.dst.is_multicast() {
        return Verdict::drop(Reason::MULTICAST);
    }
    let info = info(m, &p.dst);
    // No service has the address of a pod, and who opens a connection answers nobody.
    if !(info.flags & ipcache::POD != 0 && p.is_syn()) {
        let outcome = to_service(m, config, p);
        if !outcome.is_none() {
            return after_service(m, p, src, outcome);
        }
    }
    if p.related != 0 {
        return Verdict::drop(Reason::ICMP_UNRELATED);
    }
    beyond(m, config, p, src, info)
}

/// Service translation for packets whose socket was not translated.
#[inline(never)]
fn to_service<M: Maps>(m: &M, config: &NodeConfig, p: &mut Packet) -> Outcome {
    let kind = nat::translate(m, p);
    if kind != 0 {
        return reached(kind);
    }
    if !protocol::has_ports(p.protocol) {
        return Outcome::NONE;
    }
    let outcome = service::find(m, config, p, SERVICE, false);
    if outcome.is_none() || outcome.dropped().is_some() {
        return outcome;
    }
    bind_backend(m, config, p)
}

/// Where a translation of this kind leads.
#[inline(always)]
fn reached(kind: u32) -> Outcome {
    if kind == u32::from(HAIRPIN) {
        Outcome::HAIRPIN
    } else if kind == u32::from(OWN_NETWORK) {
        Outcome::OWN_NETWORK
    } else {
        Outcome::BACKEND
    }
}

/// Translates `p` to the backend that `p.to` names.
#[inline(always)]
fn bind_backend<M: Maps>(m: &M, config: &NodeConfig, p: &mut Packet) -> Outcome {
    let hairpin = p.to.dst == p.src;
    let reason = if hairpin {
        p.to.kind = HAIRPIN;
        p.to.src = config.family(&p.src).gateway_addr;
        nat::bind_source(m, p)
    } else {
        nat::bind(m, p)
    };
    match reason {
        Reason::FORWARDED => reached(p.to.kind.into()),
        reason => Outcome::drop(reason),
    }
}

/// Goes on with a packet that was sent to a service.
#[inline(never)]
fn after_service<M: Maps>(m: &M, p: &mut Packet, src: &Endpoint, outcome: Outcome) -> Verdict {
    let Some(config) = m.config() else {
        return Verdict::drop(Reason::NOT_CONFIGURED);
    };
    if let Some(reason) = outcome.dropped() {
        return service::turn_away(m, p, reason);
    }
    if outcome.is_hairpin() {
        return deliver(p, src).rewritten();
    }
    // As if the pod had asked its node itself.
    if outcome.is_own_network() {
        m.step(|| Step::Exempt);
        return Verdict::PASS.rewritten();
    }
    let dst = m.endpoint(&p.dst);
    let seen = conntrack::touch(m, p, Some(src), dst);
    if seen.must_be_judged() {
        let reason = judge_again(m, p, Some(src), dst, seen.is_from_opener());
        if reason != Reason::FORWARDED {
            return Verdict::drop(reason);
        }
    } else if !seen.is_known() {
        return open_and_go(m, p, src, dst, flow::NAT).rewritten();
    }
    next_hop(m, config, p, dst).rewritten()
}

/// Admits and opens a flow whose next hop is a pod or a route.
#[inline(never)]
fn open_and_go<M: Maps>(
    m: &M,
    p: &mut Packet,
    src: &Endpoint,
    dst: Option<&Endpoint>,
    flags: u8,
) -> Verdict {
    let Some(config) = m.config() else {
        return Verdict::drop(Reason::NOT_CONFIGURED);
    };
    let mut reason = admit(m, p, Some(src), dst);
    if reason == Reason::FORWARDED {
        reason = admission::open(m, p, Some(src), dst, flags);
    }
    if reason != Reason::FORWARDED {
        return Verdict::drop(reason);
    }
    next_hop(m, config, p, dst)
}

/// A flow to something that is neither a pod of this node nor a service.
#[inline(never)]
fn beyond<M: Maps>(
    m: &M,
    config: &NodeConfig,
    p: &mut Packet,
    src: &Endpoint,
    info: IpInfo,
) -> Verdict {
    p.found.dst_identity = info.identity;
    p.next_hop = Hop::to(config, &info);
    if info.flags & ipcache::HOST == 0 {
        let family = config.family(&p.dst);
        if family.is_of_services(&p.dst) {
            return Verdict::drop(Reason::NO_SERVICE);
        }
        if family.is_of_pods(&p.dst) {
            return Verdict::drop(Reason::NO_ENDPOINT);
        }
    }
    let mut reason = admit(m, p, Some(src), None);
    if reason == Reason::FORWARDED && info.identity != IDENTITY_HOST {
        reason = admission::open(m, p, Some(src), None, flags_for(info.flags));
    }
    if reason != Reason::FORWARDED {
        return Verdict::drop(reason);
    }
    if info.flags & ipcache::HOST != 0 {
        return Verdict::PASS;
    }
    if flags_for(info.flags) & flow::NAT == 0 {
        return leave_for(config, p, &info);
    }
    masquerade(m, config, p)
}

/// What is reached under the pod's own address.
const AS_IT_IS: u32 = ipcache::POD | ipcache::NODE | ipcache::NO_MASQUERADE | ipcache::ROUTED;

/// The conntrack flags of a flow to an address with these ipcache flags.
#[inline(always)]
fn flags_for(info: u32) -> u8 {
    if info & ipcache::HOST != 0 {
        flow::HOST
    } else if info & AS_IT_IS != 0 {
        0
    } else {
        flow::NAT
    }
}

/// Sends a flow to the outside under the node's address.
#[inline(always)]
fn masquerade<M: Maps>(m: &M, config: &NodeConfig, p: &mut Packet) -> Verdict {
    nat::to_destination(p, MASQUERADE, p.dst, p.dst_port);
    p.to.src = config.family(&p.dst).node_addr;
    match nat::bind_source(m, p) {
        Reason::FORWARDED => Verdict::uplink(config.uplink_ifindex).rewritten(),
        reason => Verdict::drop(reason),
    }
}
