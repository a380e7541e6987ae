//! Packets that the node's stack sends to a pod: hook `to_pod`.
//!
//! The node's own addresses are always allowed; the cluster DNS and the ingress proxy live on the
//! node too, but have identities of their own. The answer of a service's endpoint on the node's own
//! network is translated back. What enters a limited pod gets its departure here and
//! stays in the queue that it is on its way to.

use naru_ebpf_common::endpoint::LIMITED_INGRESS;
use naru_ebpf_common::ipcache::IDENTITY_HOST;
use naru_ebpf_common::policy::INGRESS;
use naru_ebpf_common::{BandwidthKey, Endpoint, NodeConfig, Reason, flow};

use crate::admission::{self, admit, info, judge_again};
use crate::conntrack;
use crate::departure::scheduled;
use crate::{Maps, Packet, Step, Verdict, own_network};

/// Decides about a packet that leaves through the host side of a veth, `ifindex`.
#[inline(always)]
pub fn to_pod<M: Maps>(m: &M, p: &mut Packet, ifindex: u32) -> Verdict {
    let verdict = match decide(m, p, ifindex) {
        Verdict::PASS if p.limit.endpoint != 0 => scheduled(m, p, Verdict::queue(ifindex)),
        verdict => verdict,
    };
    m.step(|| Step::Verdict(verdict));
    verdict
}

#[inline(always)]
fn decide<M: Maps>(m: &M, p: &mut Packet, ifindex: u32) -> Verdict {
    let Some(config) = m.config().filter(|c| c.uplink_ifindex != 0) else {
        return Verdict::drop(Reason::NOT_CONFIGURED);
    };
    let Some(dst) = m.endpoint(&p.dst).filter(|e| e.ifindex == ifindex) else {
        m.step(|| Step::NotLocal(p.dst));
        return Verdict::drop(Reason::NO_ENDPOINT);
    };
    m.step(|| Step::Endpoint(p.dst, *dst));
    p.found.endpoint = dst.id;
    p.found.direction = INGRESS;
    if dst.flags & LIMITED_INGRESS != 0 {
        p.limit = BandwidthKey::new(dst.id, INGRESS);
    }
    if config.is_node(&p.src) {
        return of_node(m, config, p);
    }
    let seen = conntrack::touch(m, p, None, Some(dst));
    if seen.is_known() && !seen.has_ended() {
        m.step(|| Step::Known);
        return Verdict::PASS;
    }
    p.seen = seen;
    slow(m, p, dst);
    p.verdict
}

/// What comes from the node itself is allowed.
#[inline(always)]
fn of_node<M: Maps>(m: &M, config: &NodeConfig, p: &mut Packet) -> Verdict {
    m.step(|| Step::Exempt);
    if own_network::is_wanted(config) && own_network::translate_answer(m, p) {
        Verdict::PASS.rewritten()
    } else {
        Verdict::PASS
    }
}

#[inline(never)]
fn slow<M: Maps>(m: &M, p: &mut Packet, dst: &Endpoint) {
    p.verdict = decide_slowly(m, p, dst);
}

#[inline(always)]
fn decide_slowly<M: Maps>(m: &M, p: &mut Packet, dst: &Endpoint) -> Verdict {
    let seen = p.seen;
    if seen.is_known() {
        admission::ended(m, p);
        return Verdict::PASS;
    }
    let reason = if seen.must_be_judged() {
        judge_again(m, p, None, Some(dst), seen.is_from_opener())
    } else {
        new_flow(m, p, dst)
    };
    if reason == Reason::FORWARDED {
        Verdict::PASS
    } else {
        Verdict::drop(reason)
    }
}

#[inline(always)]
fn new_flow<M: Maps>(m: &M, p: &mut Packet, dst: &Endpoint) -> Reason {
    m.step(|| Step::New);
    p.found.src_identity = info(m, &p.src).identity;
    if p.found.src_identity == IDENTITY_HOST {
        m.step(|| Step::Exempt);
        return Reason::FORWARDED;
    }
    if p.related != 0 {
        return Reason::ICMP_UNRELATED;
    }
    let reason = admit(m, p, None, Some(dst));
    if reason != Reason::FORWARDED {
        return reason;
    }
    admission::open(m, p, None, Some(dst), flow::HOST)
}
