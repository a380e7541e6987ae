//! Flows: what a packet does to an entry, and when an entry counts as absent.
//!
//! Guarantees: an entry idle for longer than its timeout is never used, whether or not the sweep
//! has removed it; a flow judged under another policy revision is never waved through.

use naru_ebpf_common::config::Timeouts;
use naru_ebpf_common::{Conn, flow, protocol};

use crate::{Maps, Packet};

/// Time stamps are written when they are older than this, in nanoseconds. Shorter than any timeout.
pub const STAMP_NS: u64 = 1_000_000_000;

const SECOND_NS: u64 = 1_000_000_000;
const TCP_ENDING: u8 = protocol::FIN | protocol::RST;

/// What the table says about a packet's flow: a set of bits in one register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen(u32);

impl Seen {
    pub(crate) const ABSENT: Self = Self(0);
    const KNOWN: u32 = 1;
    const JUDGE: u32 = 2;
    const NAT: u32 = 4;
    const HOST: u32 = 8;
    const FROM_OPENER: u32 = 16;
    const ENDED: u32 = 32;

    /// Known, allowed, and the packet goes on as it is.
    #[inline(always)]
    pub(crate) fn is_plain(self) -> bool {
        self.0 & !Self::FROM_OPENER == Self::KNOWN
    }
    #[inline(always)]
    pub(crate) fn is_known(self) -> bool {
        self.0 & Self::KNOWN != 0
    }
    #[inline(always)]
    pub(crate) fn must_be_judged(self) -> bool {
        self.0 & Self::JUDGE != 0
    }
    #[inline(always)]
    pub(crate) fn has_nat(self) -> bool {
        self.0 & Self::NAT != 0
    }
    #[inline(always)]
    pub(crate) fn is_host(self) -> bool {
        self.0 & Self::HOST != 0
    }
    #[inline(always)]
    pub(crate) fn is_from_opener(self) -> bool {
        self.0 & Self::FROM_OPENER != 0
    }
    #[inline(always)]
    pub(crate) fn has_ended(self) -> bool {
        self.0 & Self::ENDED != 0
    }
}

/// How long a flow may be idle, in nanoseconds.
#[inline(always)]
pub fn idle_limit_ns(conn: &Conn, protocol: u8, timeouts: &Timeouts) -> u64 {
    let both = conn.sides[0] & conn.sides[1];
    let any = conn.sides[0] | conn.sides[1];
    let seconds = match protocol {
        protocol::TCP if any & protocol::RST != 0 => timeouts.tcp_reset,
        protocol::TCP if both & protocol::FIN != 0 => timeouts.tcp_closing,
        protocol::TCP if both & flow::SEEN == 0 => timeouts.tcp_opening,
        protocol::TCP => timeouts.tcp_established,
        protocol::UDP => timeouts.udp,
        _ => timeouts.icmp,
    };
    u64::from(seconds) * SECOND_NS
}

/// Whether an entry counts as absent at `now_ns`; the sweep deletes exactly these.
#[inline(always)]
pub fn is_stale(conn: &Conn, protocol: u8, timeouts: &Timeouts, now_ns: u64) -> bool {
    now_ns.saturating_sub(conn.seen_ns) > idle_limit_ns(conn, protocol, timeouts)
}

/// Whether the flow is over: reset, or closed by both sides.
#[inline(always)]
fn is_over(sides: [u8; 2]) -> bool {
    (sides[0] | sides[1]) & protocol::RST != 0 || sides[0] & sides[1] & protocol::FIN != 0
}

/// Looks the flow `p.key` up, whose packet `p` was sent by `side`, and notes the packet. `revision` is the policy
/// revision of the source's and the destination's endpoint, 0 for none.
#[inline(always)]
pub(crate) fn touch<M: Maps>(
    m: &M,
    timeouts: &Timeouts,
    p: &Packet,
    side: usize,
    revision: [u32; 2],
) -> Seen {
    let now = m.now_ns();
    m.update_conn(&p.key, |conn| {
        note(conn, timeouts, p, side & 1, revision, now)
    })
    .unwrap_or(Seen::ABSENT)
}

#[inline(always)]
fn note(
    conn: &mut Conn,
    timeouts: &Timeouts,
    p: &Packet,
    side: usize,
    revision: [u32; 2],
    now: u64,
) -> Seen {
    let idle = now.saturating_sub(conn.seen_ns);
    if idle > STAMP_NS {
        if is_stale(conn, p.protocol, timeouts, now) {
            return Seen::ABSENT;
        }
        conn.seen_ns = now;
    }
    let from_opener = usize::from(conn.opener) == side;
    if p.is_syn() && p.related == 0 && (!from_opener || is_over(conn.sides)) {
        return Seen::ABSENT;
    }
    let mut seen = flags_of(conn, from_opener);
    if conn.revision[side] != revision[0] || conn.revision[side ^ 1] != revision[1] {
        return Seen(seen | Seen::JUDGE);
    }
    seen |= Seen::KNOWN;
    if p.related == 0 {
        let bits = conn.sides[side] | flow::SEEN | (p.tcp_flags & flow::KEPT_TCP_FLAGS);
        if bits != conn.sides[side] {
            seen |= advance(conn, side, bits);
        }
    }
    Seen(seen)
}

#[inline(always)]
fn flags_of(conn: &Conn, from_opener: bool) -> u32 {
    let mut seen = u32::from(conn.flags) << 2;
    if from_opener {
        seen |= Seen::FROM_OPENER;
    }
    seen
}

/// Writes a side's new bits; tells whether the flow has ended by them.
#[inline(always)]
fn advance(conn: &mut Conn, side: usize, bits: u8) -> u32 {
    let before = is_over(conn.sides);
    conn.sides[side] = bits;
    if bits & TCP_ENDING != 0 && !before && is_over(conn.sides) {
        Seen::ENDED
    } else {
        0
    }
}

// `flags_of` shifts the flags of an entry to their place.
const _: () =
    assert!((flow::NAT as u32) << 2 == Seen::NAT && (flow::HOST as u32) << 2 == Seen::HOST);

/// Opens the flow of `p`, whose source and destination have these policy revisions. False when the
/// map refuses.
#[inline(always)]
pub(crate) fn open<M: Maps>(m: &M, p: &mut Packet, revision: [u32; 2], flags: u8) -> bool {
    let side = p.normalise();
    let now = m.now_ns();
    p.conn = Conn {
        created_ns: now,
        seen_ns: now,
        revision,
        rule: [p.found.rule, 0],
        identity: [p.found.src_identity, p.found.dst_identity],
        sides: [flow::SEEN | (p.tcp_flags & flow::KEPT_TCP_FLAGS), 0],
        opener: side as u8,
        flags,
        reserved: 0,
    };
    if side != 0 {
        p.conn.revision = [revision[1], revision[0]];
        p.conn.rule = [0, p.found.rule];
        p.conn.identity = [p.found.dst_identity, p.found.src_identity];
        p.conn.sides = [0, p.conn.sides[0]];
    }
    m.insert_conn(&p.key, &p.conn)
}

/// Notes that the flow is allowed under these revisions of the packet's source and destination.
#[inline(always)]
pub(crate) fn confirm<M: Maps>(m: &M, p: &mut Packet, revision: [u32; 2]) {
    let side = p.normalise();
    m.update_conn(&p.key, |conn| {
        conn.revision[side & 1] = revision[0];
        conn.revision[(side & 1) ^ 1] = revision[1];
    });
}
