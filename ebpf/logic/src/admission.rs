//! Admission of a flow: identities, policy at both ends, the conntrack entry, the event.

use naru_ebpf_common::event::{FLOW_END, FLOW_START, VERDICT};
use naru_ebpf_common::ipcache::IDENTITY_HOST;
use naru_ebpf_common::policy::{EGRESS, INGRESS};
use naru_ebpf_common::{Addr, Endpoint, Event, IpInfo, Reason, config};

use crate::conntrack::{self, Ends};
use crate::{Hop, Maps, Packet, Step};

/// What the ipcache says of an address.
#[inline(always)]
pub(crate) fn info<M: Maps>(m: &M, addr: &Addr) -> IpInfo {
    let info = m.ip_info(addr).copied().unwrap_or(IpInfo::WORLD);
    m.step(|| Step::Identity(*addr, info));
    info
}

/// The identity of an end, and the next hop to it if it is not here.
#[inline(always)]
fn end<M: Maps>(m: &M, addr: &Addr, local: Option<&Endpoint>) -> (u32, Hop) {
    let Some(endpoint) = local else {
        let info = info(m, addr);
        let to = |config| Hop::to(config, &info);
        return (info.identity, m.config().map_or(Hop::UNKNOWN, to));
    };
    (endpoint.identity, Hop::UNKNOWN)
}

/// Judges the flow at each of its local ends. `p` goes the way the flow was opened.
/// [`Reason::FORWARDED`] means that it may pass.
#[inline(never)]
pub(crate) fn admit<M: Maps>(
    m: &M,
    p: &mut Packet,
    src: Option<&Endpoint>,
    dst: Option<&Endpoint>,
) -> Reason {
    if p.found.src_identity == 0 {
        let (identity, next_hop) = end(m, &p.src, src);
        p.found.src_identity = identity;
        p.next_hop = p.next_hop.or(next_hop);
    }
    // At most one end is not here.
    if p.found.dst_identity == 0 {
        let (identity, next_hop) = end(m, &p.dst, dst);
        p.found.dst_identity = identity;
        p.next_hop = p.next_hop.or(next_hop);
    }
    p.found.rule = 0;
    if p.found.src_identity == IDENTITY_HOST || p.found.dst_identity == IDENTITY_HOST {
        m.step(|| Step::Exempt);
        return Reason::FORWARDED;
    }
    if let Some(src) = src {
        let reason = crate::policy::judge(m, p, src, EGRESS);
        if reason != Reason::FORWARDED {
            return reason;
        }
    }
    match dst {
        Some(dst) => crate::policy::judge(m, p, dst, INGRESS),
        None => Reason::FORWARDED,
    }
}

/// Opens the admitted flow of `p`; `flags` are those of the conntrack entry.
#[inline(never)]
pub(crate) fn open<M: Maps>(
    m: &M,
    p: &mut Packet,
    src: Option<&Endpoint>,
    dst: Option<&Endpoint>,
    flags: u8,
) -> Reason {
    let Some(config) = m.config() else {
        return Reason::NOT_CONFIGURED;
    };
    if !conntrack::open(m, p, config, Ends::of(src, dst), flags) {
        return Reason::MAP_FULL;
    }
    if flow_events(m) {
        report(m, p, FLOW_START);
    }
    Reason::FORWARDED
}

/// Judges an open flow again, in the direction in which it was opened.
#[inline(never)]
pub(crate) fn judge_again<M: Maps>(
    m: &M,
    p: &mut Packet,
    src: Option<&Endpoint>,
    dst: Option<&Endpoint>,
    from_opener: bool,
) -> Reason {
    m.step(|| Step::JudgeAgain);
    let reason = if from_opener {
        admit(m, p, src, dst)
    } else {
        p.turn();
        let reason = admit(m, p, dst, src);
        p.turn();
        reason
    };
    if reason == Reason::FORWARDED {
        conntrack::confirm(m, p, Ends::of(src, dst));
        report(m, p, VERDICT);
    }
    reason
}

/// Reports the end of a flow if somebody watches.
#[inline(never)]
pub(crate) fn ended<M: Maps>(m: &M, p: &mut Packet) -> u32 {
    if flow_events(m) {
        report(m, p, FLOW_END);
    }
    0
}

#[inline(always)]
fn flow_events<M: Maps>(m: &M) -> bool {
    m.config()
        .is_some_and(|c| c.flags & config::FLOW_EVENTS != 0)
}

#[inline(always)]
fn report<M: Maps>(m: &M, p: &mut Packet, kind: u8) {
    describe(p, kind, m.now_ns());
    p.event.count = 1;
    p.event.bytes = u64::from(p.len);
    m.emit(&p.event, false);
}

/// Prepares `p.event`: an event about `p` that stands for no packet yet.
#[inline(always)]
pub(crate) fn describe(p: &mut Packet, kind: u8, time_ns: u64) {
    p.event = Event {
        time_ns,
        src: p.src,
        dst: p.dst,
        src_port: p.src_port,
        dst_port: p.dst_port,
        protocol: p.protocol,
        kind,
        hook: p.hook,
        reason: Reason::FORWARDED,
        src_identity: p.found.src_identity,
        dst_identity: p.found.dst_identity,
        endpoint: p.found.endpoint,
        rule: p.found.rule,
        detail: p.tcp.flags | p.icmp_type,
        direction: p.found.direction,
        reserved: 0,
        count: 0,
        bytes: 0,
    };
}
