//! Address translation: using an entry, making one, choosing a source port.
//!
//! Guarantees: the answer to a translated packet finds the way back, because the answer's entry is
//! written first and, where a port was chosen, only if no living flow has it.
//!
//! A port is first looked for where the clock's hand points, which goes round all of them in more than
//! a minute and a half: if that is soon enough, a port rests for longer than a server remembers a
//! connection that it closed (TIME_WAIT, 60 s). Then it is looked for anywhere. Where none is free, that
//! of a connection which both ends closed has rested long enough after the time of one that was reset.
//! At the worst the server still remembers it, and the SYN has to be sent again, as if it were dropped.

use naru_ebpf_common::config::Timeouts;
use naru_ebpf_common::nat::{FIN, HANDED_ON, PEER_FIN, REPLY, RESET, UNANSWERED};
use naru_ebpf_common::{Addr, NatEntry, NodeConfig, Port, Reason, protocol};

use crate::conntrack::STAMP_NS;
use crate::{Maps, Packet, Step};

/// Source ports that are tried for one flow.
const SNAT_TRIES: u32 = 48;
/// How many of these are where the clock's hand points, the first ones.
const SNAT_NEAR_TRIES: u32 = 16;
/// The clock's hand goes on by a port in this power of two of nanoseconds: 4.2 ms.
const SNAT_HAND_SHIFT: u32 = 22;
const SECOND_NS: u64 = 1_000_000_000;

/// How long an entry may be idle, in nanoseconds.
#[inline(always)]
pub fn idle_limit_ns(entry: &NatEntry, protocol: u8, timeouts: &Timeouts) -> u64 {
    let seconds = match protocol {
        protocol::TCP | protocol::SCTP if entry.flags & RESET != 0 => timeouts.tcp_reset,
        protocol::TCP | protocol::SCTP if is_closed(entry) => timeouts.tcp_closing,
        protocol::TCP | protocol::SCTP if entry.flags & UNANSWERED != 0 => timeouts.tcp_opening,
        protocol::TCP | protocol::SCTP => timeouts.tcp_established,
        protocol::UDP => timeouts.udp,
        _ => timeouts.icmp,
    };
    u64::from(seconds) * SECOND_NS
}

/// Whether an entry was not used for so many seconds.
#[inline(always)]
fn is_idle(entry: &NatEntry, seconds: u32, now_ns: u64) -> bool {
    now_ns.saturating_sub(entry.seen_ns) > u64::from(seconds) * SECOND_NS
}

/// Whether both ends have closed, as far as one can see: answers to what is handed on come by
/// another way.
#[inline(always)]
fn is_closed(entry: &NatEntry) -> bool {
    entry.flags & FIN != 0 && (entry.flags & PEER_FIN != 0 || entry.kind == HANDED_ON)
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
    let (protocol, flags, is_error) = (p.protocol, p.tcp.flags, p.related != 0);
    p.set_nat_key();
    let to = &mut p.to;
    let used = m
        .update_nat(&p.nat_key, |entry| {
            if is_stale(entry, protocol, &config.timeouts, now) {
                return Used::NOT;
            }
            let used = touch(entry, flags, is_error, now);
            *to = *entry;
            used
        })
        .unwrap_or(Used::NOT);
    if used.concerns_both() {
        p.set_answer_key();
        let is_answer = p.to.flags & (REPLY | UNANSWERED) == REPLY;
        m.update_nat(&p.nat_key, |other| {
            other.flags = after(other, flags, PEER_FIN, is_answer);
            other.seen_ns = now;
        });
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

/// Notes a packet with these TCP flags, or an error about one.
#[inline(always)]
fn touch(entry: &mut NatEntry, tcp_flags: u8, is_error: bool, now: u64) -> Used {
    let mut used = u32::from(entry.kind);
    let is_answer = entry.flags & REPLY != 0 && !is_error;
    let flags = after(entry, tcp_flags, FIN, is_answer);
    if flags != entry.flags {
        entry.flags = flags;
        used |= Used::BOTH;
    }
    if now.saturating_sub(entry.seen_ns) > STAMP_NS {
        entry.seen_ns = now;
        used |= Used::BOTH;
    }
    Used(used)
}

/// An entry's flags after a packet with these TCP flags; `fin` is what a FIN is there. A flow that is
/// over begins anew with a SYN, as it does for conntrack.
#[inline(always)]
fn after(entry: &NatEntry, tcp_flags: u8, fin: u8, is_answer: bool) -> u8 {
    let mut flags = entry.flags;
    if is_answer {
        flags &= !UNANSWERED;
    }
    if tcp_flags & protocol::RST != 0 {
        flags |= RESET;
    } else if tcp_flags & protocol::FIN != 0 {
        flags |= fin;
    } else if tcp_flags & (protocol::SYN | protocol::ACK) == protocol::SYN
        && (flags & RESET != 0 || is_closed(entry))
    {
        flags &= !(FIN | PEER_FIN | RESET);
        if entry.kind != HANDED_ON {
            flags |= UNANSWERED;
        }
    }
    flags
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
    // Everybody with a stride of his own: with one for all, taken ports would lie in rows along it.
    let (start, stride) = (m.random(), m.random() | 1);
    let mut rested = Port::ANY;
    for attempt in 0..SNAT_TRIES {
        let number = start.wrapping_add(attempt.wrapping_mul(stride));
        p.to.src_port = candidate(config, number, attempt, p.to.seen_ns);
        match take(m, p, false) {
            Take::Done => return finish(m, p),
            Take::Rested => rested = p.to.src_port,
            Take::Refused => {}
        }
    }
    if rested == Port::ANY {
        return Reason::SNAT_EXHAUSTED;
    }
    p.to.src_port = rested;
    match take(m, p, true) {
        Take::Done => finish(m, p),
        Take::Rested | Take::Refused => Reason::SNAT_EXHAUSTED,
    }
}

/// What became of the wish for a port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Take {
    /// It is the packet's.
    Done,
    /// A closed connection has it, for as long as one that was reset would, and need not keep it.
    Rested,
    /// A flow that lives has it, or the table is full.
    Refused,
}

/// The port that is tried at this attempt, by any `number`.
#[inline(always)]
fn candidate(config: &NodeConfig, number: u32, attempt: u32, now_ns: u64) -> Port {
    let ports = config.snat_ports();
    let number = if attempt < SNAT_NEAR_TRIES {
        let hand = (now_ns >> SNAT_HAND_SHIFT) as u32;
        hand.wrapping_add(number % (ports / 4 + 1))
    } else {
        number
    };
    config.snat_port(number % ports)
}

/// Writes the answer's entry for the port `p.to.src_port`, unless a flow that lives has it; in a
/// `hurry` even if a closed one has that has rested.
#[inline(never)]
fn take<M: Maps>(m: &M, p: &mut Packet, hurry: bool) -> Take {
    let Some(config) = m.config() else {
        return Take::Refused;
    };
    if p.is_icmp() {
        p.to.dst_port = p.to.src_port;
    }
    p.set_answer_key();
    let (protocol, timeouts) = (p.protocol, &config.timeouts);
    let back = &mut p.back;
    let taken = m.update_nat(&p.nat_key, |entry| {
        let now = back.seen_ns;
        let has_rested = is_closed(entry) && is_idle(entry, timeouts.tcp_reset, now);
        if is_stale(entry, protocol, timeouts, now) || hurry && has_rested {
            core::mem::swap(entry, back);
            Take::Done
        } else if has_rested {
            Take::Rested
        } else {
            Take::Refused
        }
    });
    match taken {
        None if m.insert_nat(&p.nat_key, &p.back, true) => Take::Done,
        None => Take::Refused,
        Some(taken) => {
            if taken == Take::Done {
                forget_former(m, p);
            }
            taken
        }
    }
}

/// Removes the other entry of the flow whose answers `p.back` translated: nothing of it may travel
/// under a port that is another's now.
#[inline(always)]
fn forget_former<M: Maps>(m: &M, p: &mut Packet) {
    p.nat_key.set_answer(&p.back, p.protocol);
    let (src, port) = (p.to.src, p.to.src_port);
    let has_the_port = m.update_nat(&p.nat_key, |entry| {
        entry.src_port == port && entry.src == src
    });
    if has_the_port == Some(true) {
        m.remove_nat(&p.nat_key);
    }
}

#[inline(always)]
fn prepare<M: Maps>(m: &M, p: &mut Packet) {
    p.to.seen_ns = m.now_ns();
    p.to.flags = UNANSWERED;
    p.back = NatEntry {
        src: p.dst,
        dst: p.src,
        src_port: p.dst_port,
        dst_port: p.src_port,
        kind: p.to.kind,
        flags: REPLY | UNANSWERED,
        reserved: 0,
        seen_ns: p.to.seen_ns,
    };
    p.to.flags = after(&p.to, p.tcp.flags, FIN, false);
    p.back.flags = after(&p.back, p.tcp.flags, PEER_FIN, false);
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
