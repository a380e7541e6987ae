//! Address translation: using an entry, making one, choosing a source port.
//!
//! Guarantees: the answer to a translated packet finds the way back, because the answer's entry is
//! written first and, where a port was chosen, only if no living flow has it.

use naru_ebpf_common::config::Timeouts;
use naru_ebpf_common::nat::{CLOSING, HANDED_ON, REPLY};
use naru_ebpf_common::{Addr, NatEntry, NodeConfig, Port, Reason, protocol};

use crate::conntrack::STAMP_NS;
use crate::{Maps, Packet, Step};

/// Source ports that are tried for one flow.
const SNAT_TRIES: u32 = 16;
/// Distance of two tries; odd and no divisor of the usual range.
const SNAT_STRIDE: u32 = 977;
const SECOND_NS: u64 = 1_000_000_000;

/// How long an entry may be idle, in nanoseconds.
#[inline(always)]
pub fn idle_limit_ns(entry: &NatEntry, protocol: u8, timeouts: &Timeouts) -> u64 {
    let seconds = match protocol {
        protocol::TCP | protocol::SCTP if entry.flags & CLOSING != 0 => timeouts.tcp_closing,
        protocol::TCP | protocol::SCTP => timeouts.tcp_established,
        protocol::UDP => timeouts.udp,
        _ => timeouts.icmp,
    };
    u64::from(seconds) * SECOND_NS
}

/// Whether an entry counts as absent at `now_ns`; the sweep deletes exactly these.
#[inline(always)]
pub fn is_stale(entry: &NatEntry, protocol: u8, timeouts: &Timeouts, now_ns: u64) -> bool {
    now_ns.saturating_sub(entry.seen_ns) > idle_limit_ns(entry, protocol, timeouts)
}

/// Rewrites `p` if there is a living entry for it, and returns the entry's kind; 0 if there is none.
/// The entry is `p.to` then. What is [`HANDED_ON`] stays as it is.
#[inline(never)]
pub(crate) fn translate<M: Maps>(m: &M, p: &mut Packet) -> u32 {
    let Some(config) = m.config() else { return 0 };
    let now = m.now_ns();
    let (protocol, flags) = (p.protocol, p.tcp.flags);
    p.set_nat_key();
    let to = &mut p.to;
    let used = m
        .update_nat(&p.nat_key, |entry| {
            if is_stale(entry, protocol, &config.timeouts, now) {
                return Used::NOT;
            }
            let used = touch(entry, flags, now);
            *to = *entry;
            used
        })
        .unwrap_or(Used::NOT);
    if used.concerns_both() {
        p.set_answer_key();
        m.update_nat(&p.nat_key, |other| touch(other, flags & protocol::RST, now));
    }
    if used.kind() != 0 && used.kind() != u32::from(HANDED_ON) {
        rewrite(m, p);
    }
    used.kind()
}

/// What became of an entry, in one register.
#[derive(Clone, Copy)]
struct Used(u32);

impl Used {
    const NOT: Self = Self(0);
    const BOTH: u32 = 0x100;

    #[inline(always)]
    const fn kind(self) -> u32 {
        self.0 & 0xff
    }

    /// Whether the entry of the other direction has to know. A flow lives as long as either side
    /// speaks, and its port is nobody else's meanwhile.
    #[inline(always)]
    const fn concerns_both(self) -> bool {
        self.0 & Self::BOTH != 0
    }
}

/// Notes a packet with these TCP flags.
#[inline(always)]
fn touch(entry: &mut NatEntry, tcp_flags: u8, now: u64) -> Used {
    let mut used = u32::from(entry.kind);
    if tcp_flags & (protocol::FIN | protocol::RST) != 0 {
        entry.flags |= CLOSING;
    } else if tcp_flags & protocol::SYN != 0 {
        entry.flags &= !CLOSING;
    }
    if tcp_flags & protocol::RST != 0 {
        used |= Used::BOTH;
    }
    if now.saturating_sub(entry.seen_ns) > STAMP_NS {
        entry.seen_ns = now;
        used |= Used::BOTH;
    }
    Used(used)
}

/// Makes `p` what `p.to` says.
#[inline(always)]
fn rewrite<M: Maps>(m: &M, p: &mut Packet) {
    m.step(|| Step::Translated(p.to));
    p.src = p.to.src;
    p.dst = p.to.dst;
    p.src_port = p.to.src_port;
    p.dst_port = p.to.dst_port;
    p.found.src_identity = 0;
    p.found.dst_identity = 0;
}

/// Prepares `p.to`: what `p` becomes when only its destination changes.
#[inline(always)]
pub(crate) fn to_destination(p: &mut Packet, kind: u8, dst: Addr, port: Port) {
    p.to = NatEntry {
        src: p.src,
        dst,
        src_port: p.src_port,
        dst_port: port,
        kind,
        flags: 0,
        reserved: 0,
        seen_ns: 0,
    };
}

/// Writes both entries for `p` → `p.to` and rewrites `p`.
#[inline(never)]
pub(crate) fn bind<M: Maps>(m: &M, p: &mut Packet) -> Reason {
    prepare(m, p);
    p.set_answer_key();
    if !m.insert_nat(&p.nat_key, &p.back, false) {
        return Reason::MAP_FULL;
    }
    finish(m, p)
}

/// Writes the entry of a flow whose packets stay as they are: for `p` alone, since its answers do
/// not come this way.
#[inline(never)]
pub(crate) fn note<M: Maps>(m: &M, p: &mut Packet) -> Reason {
    p.to.seen_ns = m.now_ns();
    p.set_nat_key();
    if m.insert_nat(&p.nat_key, &p.to, false) {
        Reason::FORWARDED
    } else {
        Reason::MAP_FULL
    }
}

/// The same as [`bind`], with a source port from the range for translation; `p.to.src` is the new source.
#[inline(never)]
pub(crate) fn bind_source<M: Maps>(m: &M, p: &mut Packet) -> Reason {
    let Some(config) = m.config() else {
        return Reason::NOT_CONFIGURED;
    };
    prepare(m, p);
    let start = m.random();
    for attempt in 1..SNAT_TRIES {
        if reserve(
            m,
            config,
            p,
            start.wrapping_add(attempt.wrapping_mul(SNAT_STRIDE)),
        ) {
            return finish(m, p);
        }
    }
    if take_over(m, config, p, start) {
        finish(m, p)
    } else {
        Reason::SNAT_EXHAUSTED
    }
}

/// A port of the range for translation.
#[inline(always)]
fn candidate(config: &NodeConfig, number: u32) -> Port {
    let (first, last) = (config.snat_port_first, config.snat_port_last);
    let span = u32::from(last.saturating_sub(first)) + 1;
    Port::new(first.wrapping_add((number % span) as u16))
}

/// Writes the answer's entry for candidate `number` unless a flow has its key.
#[inline(always)]
fn reserve<M: Maps>(m: &M, config: &NodeConfig, p: &mut Packet, number: u32) -> bool {
    p.to.src_port = candidate(config, number);
    if p.is_icmp() {
        p.to.dst_port = p.to.src_port;
    }
    p.set_answer_key();
    m.insert_nat(&p.nat_key, &p.back, true)
}

/// The same, but a flow that is stale loses its port. Once per packet only: the sweep removes stale
/// entries, so that this matters while it lags behind.
#[inline(never)]
fn take_over<M: Maps>(m: &M, config: &NodeConfig, p: &mut Packet, number: u32) -> bool {
    if reserve(m, config, p, number) {
        return true;
    }
    m.update_nat(&p.nat_key, |old| {
        let stale = is_stale(old, p.protocol, &config.timeouts, p.back.seen_ns);
        if stale {
            *old = p.back;
        }
        stale
    })
    .unwrap_or(false)
}

#[inline(always)]
fn prepare<M: Maps>(m: &M, p: &mut Packet) {
    p.to.seen_ns = m.now_ns();
    p.back = NatEntry {
        src: p.dst,
        dst: p.src,
        src_port: p.dst_port,
        dst_port: p.src_port,
        kind: p.to.kind,
        flags: REPLY,
        reserved: 0,
        seen_ns: p.to.seen_ns,
    };
}

#[inline(never)]
fn finish<M: Maps>(m: &M, p: &mut Packet) -> Reason {
    p.set_nat_key();
    if !m.insert_nat(&p.nat_key, &p.to, false) {
        return Reason::MAP_FULL;
    }
    rewrite(m, p);
    Reason::FORWARDED
}
