//! Flows: what a packet does to an entry, and when an entry counts as absent.
//!
//! Guarantees: an entry idle for longer than its timeout is never used, whether or not the sweep
//! has removed it; a flow judged under another policy revision is never waved through.
//!
//! A flow remembers where its ends are, under the epoch of the node's facts in which they were
//! looked up. While the epoch stands and the entry is fresh, one lookup decides ([`crate::quick`]).
//!
//! A flow of a pod whose bandwidth is limited remembers nothing: each of its packets takes the
//! ordinary way, and only that one knows of limits.
//!
//! A closed flow stays for questions about the past, but not in a rush: many short connections would
//! drive the long ones out of the table. A TCP flow opened in one is forgotten with the last
//! acknowledgement of its close. That packet may get lost on a wire, and then the FIN before it is
//! sent again. From who opened the flow it is judged as it was at the opening, so forgetting was no
//! loss; from the other end it would not be let in. The opener's last acknowledgement is the last
//! packet therefore only where it is handed to a pod of this node.

use naru_ebpf_common::config::{self, Timeouts};
use naru_ebpf_common::endpoint::LIMITED;
use naru_ebpf_common::{Conn, Endpoint, NodeConfig, flow, protocol};

use crate::{Hop, Maps, Packet, Segment};

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
        protocol::TCP | protocol::SCTP if any & protocol::RST != 0 => timeouts.tcp_reset,
        protocol::TCP if both & protocol::FIN != 0 => timeouts.tcp_closing,
        protocol::TCP | protocol::SCTP if both & flow::SEEN == 0 => timeouts.tcp_opening,
        protocol::TCP | protocol::SCTP => timeouts.tcp_established,
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

/// Whether a flow with these bits of its sides is over: reset, or closed by both.
#[inline(always)]
fn is_over(one: u8, other: u8) -> bool {
    (one | other) & protocol::RST != 0 || one & other & protocol::FIN != 0
}

/// What a flow remembers of the endpoints at a packet's source and destination.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// Policy revisions, 0 for an end that is no pod of this node.
    revision: [u32; 2],
    /// Host interfaces, 0 likewise.
    ifindex: [u32; 2],
    /// Not 0 if the bandwidth of either is limited.
    limited: u32,
}

impl Ends {
    #[inline(always)]
    pub(crate) fn of(src: Option<&Endpoint>, dst: Option<&Endpoint>) -> Self {
        let revision = |e: Option<&Endpoint>| e.map_or(0, |e| e.policy_revision);
        let ifindex = |e: Option<&Endpoint>| e.map_or(0, |e| e.ifindex);
        let limited = |e: Option<&Endpoint>| e.map_or(0, |e| e.flags & LIMITED);
        Self {
            revision: [revision(src), revision(dst)],
            ifindex: [ifindex(src), ifindex(dst)],
            limited: limited(src) | limited(dst),
        }
    }

    /// The epoch under which a flow remembers them: that of the node's facts, or none.
    #[inline(always)]
    const fn epoch(&self, config: &NodeConfig) -> u32 {
        if self.limited == 0 { config.epoch } else { 0 }
    }
}

/// The way that a flow's packets take, in one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Way(u64);

impl Way {
    /// It has to be looked up.
    pub(crate) const UNKNOWN: Self = Self(0);

    /// The flow needs no entry after this packet. No interface index has this bit: the kernel's are
    /// positive numbers of 32 bits with a sign.
    const LAST: u64 = 1 << 63;

    #[inline(always)]
    const fn pod(ifindex: u32) -> Self {
        Self((ifindex as u64) << 32)
    }
    #[inline(always)]
    const fn next_hop(address: u32) -> Self {
        Self(address as u64)
    }
    #[inline(always)]
    const fn and_no_more(self, last: bool) -> Self {
        Self(self.0 | if last { Self::LAST } else { 0 })
    }
    /// Whether there is one.
    #[inline(always)]
    pub const fn is_known(self) -> bool {
        self.0 != 0
    }
    #[inline(always)]
    pub(crate) const fn is_last(self) -> bool {
        self.0 & Self::LAST != 0
    }
    #[inline(always)]
    const fn overlay(ifindex: u32, node: u32) -> Self {
        Self((ifindex as u64) << 32 | node as u64)
    }
    /// Host interface of the pod that it leads to, or with an address that of the overlay; 0 when
    /// it leads out of the uplink.
    #[inline(always)]
    pub const fn ifindex(self) -> u32 {
        (self.0 >> 32) as u32 & i32::MAX as u32
    }
    /// The next hop when it leads out of the node, IPv4, network order: with an interface, the node
    /// at the other end of the overlay.
    #[inline(always)]
    pub const fn address(self) -> u32 {
        self.0 as u32
    }
}

/// Where a packet was seen.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    ifindex: u32,
    node: u32,
}

impl Origin {
    /// On the uplink.
    pub const UPLINK: Self = Self {
        ifindex: 0,
        node: 0,
    };

    /// On the host side of a pod's veth, by its interface index.
    #[inline(always)]
    pub const fn pod(ifindex: u32) -> Self {
        Self { ifindex, node: 0 }
    }

    /// On the overlay's device, sent by the node with this IPv4 address (network order, not 0).
    #[inline(always)]
    pub const fn overlay(node: u32) -> Self {
        Self { ifindex: 0, node }
    }

    /// Whether `side` of a flow may send from here.
    #[inline(always)]
    fn is_of(self, conn: &Conn, side: usize) -> bool {
        conn.ifindex[side] == self.ifindex && (self.node == 0 || conn.next_hop == self.node)
    }
}

/// The way of a packet, if its flow is open, allowed, remembered and not translated, and goes on:
/// sent by `side` from `origin`. Nothing is written for a packet that the entry does not expect from
/// there.
#[inline(always)]
pub(crate) fn go_on(
    conn: &mut Conn,
    config: &NodeConfig,
    segment: Segment,
    side: usize,
    origin: Origin,
    now: u64,
) -> Way {
    let idle = now.saturating_sub(conn.seen_ns);
    if conn.epoch != config.epoch
        || conn.flags & !(flow::BRIEF | flow::OVERLAY) != 0
        || !origin.is_of(conn, side)
        || idle > STAMP_NS
    {
        return Way::UNKNOWN;
    }
    let bits = conn.sides[side] | flow::SEEN | (segment.flags & flow::KEPT_TCP_FLAGS);
    if bits != conn.sides[side] {
        // The end of a flow is an event, for whom it interests.
        if config.flags & config::FLOW_EVENTS != 0 && is_over(bits, conn.sides[side ^ 1]) {
            return Way::UNKNOWN;
        }
        mark(conn, segment, side, bits);
    }
    match conn.ifindex[side ^ 1] {
        0 if origin.ifindex == 0 => Way::UNKNOWN,
        0 => {
            let last = usize::from(conn.opener) != side && is_last_ack(conn, segment, side);
            if conn.flags & flow::OVERLAY == 0 {
                Way::next_hop(conn.next_hop).and_no_more(last)
            } else if conn.next_hop == 0 {
                Way::UNKNOWN
            } else {
                Way::overlay(config.overlay_ifindex, conn.next_hop).and_no_more(last)
            }
        }
        ifindex => Way::pod(ifindex).and_no_more(is_last_ack(conn, segment, side)),
    }
}

/// Writes a side's new bits; a FIN among them is remembered by what acknowledges it.
#[inline(always)]
fn mark(conn: &mut Conn, segment: Segment, side: usize, bits: u8) {
    let is_new_fin = bits & !conn.sides[side] & protocol::FIN != 0;
    conn.sides[side] = bits;
    if !is_new_fin {
        return;
    }
    let is_second = conn.sides[side ^ 1] & protocol::FIN != 0;
    if !is_second {
        conn.fin_end = segment.fin_end;
    } else if segment.flags & protocol::ACK != 0 && segment.ack == conn.fin_end {
        conn.sides[side] |= flow::ANSWERED_FIN;
        conn.fin_end = segment.fin_end;
    }
}

/// Whether a packet of `side` ends a brief flow: it acknowledges the second FIN, which acknowledged
/// the first.
#[inline(always)]
fn is_last_ack(conn: &Conn, segment: Segment, side: usize) -> bool {
    const OTHER_FLAGS: u8 = protocol::FIN | protocol::SYN | protocol::RST;
    conn.flags & flow::BRIEF != 0
        && conn.sides[side ^ 1] & flow::ANSWERED_FIN != 0
        && segment.flags & (OTHER_FLAGS | protocol::ACK) == protocol::ACK
        && segment.ack == conn.fin_end
}

/// Remembers the next hop `p.next_hop` of the flow `p.key`.
#[inline(always)]
pub fn remember_next_hop<M: Maps>(m: &M, p: &Packet) {
    m.update_conn(&p.key, |conn| set_next_hop(conn, p.next_hop));
}

/// Both ends may do this at once. The flag stays while the next hop is not known, so that nobody
/// sees the one without the other.
#[inline(always)]
fn set_next_hop(conn: &mut Conn, hop: Hop) {
    if hop.is_known() {
        conn.flags = conn.flags & !flow::OVERLAY | hop.flag();
    }
    conn.next_hop = hop.address();
}

/// Looks the flow of `p` up, which goes from `src` to `dst` as far as these are pods of this node,
/// and notes the packet. Out of line: what it keeps on the stack, its callers need not.
#[inline(never)]
pub(crate) fn touch<M: Maps>(
    m: &M,
    p: &mut Packet,
    src: Option<&Endpoint>,
    dst: Option<&Endpoint>,
) -> Seen {
    let Some(config) = m.config() else {
        return Seen::ABSENT;
    };
    let side = p.normalise() & 1;
    let (now, ends) = (m.now_ns(), Ends::of(src, dst));
    m.update_conn(&p.key, |conn| note(conn, config, p, side, ends, now))
        .unwrap_or(Seen::ABSENT)
}

#[inline(always)]
fn note(
    conn: &mut Conn,
    config: &NodeConfig,
    p: &Packet,
    side: usize,
    ends: Ends,
    now: u64,
) -> Seen {
    let idle = now.saturating_sub(conn.seen_ns);
    if idle > STAMP_NS {
        if is_stale(conn, p.protocol, &config.timeouts, now) {
            return Seen::ABSENT;
        }
        conn.seen_ns = now;
        conn.epoch = 0;
    }
    let from_opener = usize::from(conn.opener) == side;
    if p.is_syn() && p.related == 0 && (!from_opener || is_over(conn.sides[0], conn.sides[1])) {
        return Seen::ABSENT;
    }
    let mut seen = flags_of(conn, from_opener);
    if conn.revision[side] != ends.revision[0] || conn.revision[side ^ 1] != ends.revision[1] {
        return Seen(seen | Seen::JUDGE);
    }
    seen |= Seen::KNOWN;
    remember(conn, ends.epoch(config), side, ends, p.next_hop);
    if p.related == 0 {
        let bits = conn.sides[side] | flow::SEEN | (p.tcp.flags & flow::KEPT_TCP_FLAGS);
        if bits != conn.sides[side] {
            seen |= advance(conn, p, side, bits);
        }
    }
    Seen(seen)
}

/// Remembers where the ends are. The next hop is asked for again, unless this packet tells it:
/// routes may have changed.
#[inline(always)]
fn remember(conn: &mut Conn, epoch: u32, side: usize, ends: Ends, hop: Hop) {
    if conn.epoch != epoch {
        conn.epoch = epoch;
        conn.ifindex[side] = ends.ifindex[0];
        conn.ifindex[side ^ 1] = ends.ifindex[1];
        set_next_hop(conn, hop);
    }
}

#[inline(always)]
fn flags_of(conn: &Conn, from_opener: bool) -> u32 {
    let mut seen = u32::from(conn.flags & (flow::NAT | flow::HOST)) << 2;
    if from_opener {
        seen |= Seen::FROM_OPENER;
    }
    seen
}

/// Writes a side's new bits; tells whether the flow has ended by them.
#[inline(always)]
fn advance(conn: &mut Conn, p: &Packet, side: usize, bits: u8) -> u32 {
    let before = is_over(conn.sides[0], conn.sides[1]);
    mark(conn, p.tcp, side, bits);
    if bits & TCP_ENDING != 0 && !before && is_over(conn.sides[0], conn.sides[1]) {
        Seen::ENDED
    } else {
        0
    }
}

// `flags_of` shifts the flags of an entry to their place.
const _: () =
    assert!((flow::NAT as u32) << 2 == Seen::NAT && (flow::HOST as u32) << 2 == Seen::HOST);

/// Opens the flow of `p` between these ends, found under the epoch of `config`. False when the map
/// refuses.
#[inline(always)]
pub(crate) fn open<M: Maps>(
    m: &M,
    p: &mut Packet,
    config: &NodeConfig,
    ends: Ends,
    flags: u8,
) -> bool {
    let side = p.normalise() & 1;
    let now = m.now_ns();
    let in_a_rush = m.in_a_rush(now, config.rush());
    let brief = if in_a_rush { flow::BRIEF } else { 0 };
    // Field by field: an entry made as a whole is made on the stack, which is short.
    let conn = &mut p.conn;
    conn.created_ns = now;
    conn.seen_ns = now;
    conn.opener = side as u8;
    conn.flags = flags | brief | p.next_hop.flag();
    conn.epoch = ends.epoch(config);
    conn.next_hop = p.next_hop.address();
    conn.fin_end = p.tcp.fin_end;
    conn.revision[side] = ends.revision[0];
    conn.revision[side ^ 1] = ends.revision[1];
    conn.ifindex[side] = ends.ifindex[0];
    conn.ifindex[side ^ 1] = ends.ifindex[1];
    conn.rule[side] = p.found.rule;
    conn.rule[side ^ 1] = 0;
    conn.identity[side] = p.found.src_identity;
    conn.identity[side ^ 1] = p.found.dst_identity;
    conn.sides[side] = flow::SEEN | (p.tcp.flags & flow::KEPT_TCP_FLAGS);
    conn.sides[side ^ 1] = 0;
    m.insert_conn(&p.key, &p.conn)
}

/// Notes that the flow is allowed under the present revisions of the packet's ends.
#[inline(always)]
pub(crate) fn confirm<M: Maps>(m: &M, p: &mut Packet, ends: Ends) {
    let side = p.normalise();
    m.update_conn(&p.key, |conn| {
        conn.revision[side & 1] = ends.revision[0];
        conn.revision[(side & 1) ^ 1] = ends.revision[1];
    });
}
