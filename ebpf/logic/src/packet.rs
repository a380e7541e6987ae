//! A packet as the decisions see it.

use naru_ebpf_common::{Addr, BandwidthKey, Conn, Event, NatEntry, NatKey, Port, Tuple, protocol};

use crate::conntrack::Seen;
use crate::fragment::Part;
use crate::{Hop, Verdict};

/// What was found out about a packet on its way, for events and drops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The endpoint that the verdict is about, 0 when none is known.
    pub endpoint: u32,
    /// Identity of the source, 0 when not looked up.
    pub src_identity: u32,
    /// Identity of the destination, 0 when not looked up.
    pub dst_identity: u32,
    /// The rule that decided, 0 when none did.
    pub rule: u32,
    /// `policy::INGRESS` or `policy::EGRESS`.
    pub direction: u8,
}

/// What conntrack reads of a TCP header; of SCTP flags that mean the same, and zeros for other
/// protocols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The flags.
    pub flags: u8,
    /// The acknowledgement number, undefined without the flag ACK.
    pub ack: u32,
    /// The sequence number that an acknowledgement of this segment's FIN has; undefined without
    /// the flag FIN.
    pub fin_end: u32,
}

impl Segment {
    /// Whether it opens a connection.
    #[inline(always)]
    pub const fn is_opening(self) -> bool {
        self.flags & (protocol::SYN | protocol::ACK) == protocol::SYN
    }
}

/// The header of a TCP, UDP or SCTP packet, an ICMP echo, or the flow that an ICMP error is about.
///
/// An ICMP error ([`Packet::related`]) stands for the answer that it replaces: source and
/// destination are those of the embedded packet, turned round, and so are the ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port; the identifier of an ICMP echo.
    pub src_port: Port,
    /// Destination port; the identifier of an ICMP echo.
    pub dst_port: Port,
    /// IP protocol.
    pub protocol: u8,
    /// What conntrack reads of a TCP header.
    pub tcp: Segment,
    /// ICMP type, 0 for others.
    pub icmp_type: u8,
    /// 1 for an ICMP error about the flow.
    pub related: u8,
    /// 1 for an ICMP error whose sender is not the flow's other end (a router).
    pub foreign_sender: u8,
    /// The hook that sees the packet (`counter::FROM_POD` and so on).
    pub hook: u8,
    /// Which part of a packet this is.
    pub part: Part,
    /// Bytes of the layer 4 header's distance from the start of the frame.
    pub l4_offset: u16,
    /// Bytes of the packet from the IP header on.
    pub len: u32,
    /// The next hop to the end that is not here, as far as it is known.
    pub next_hop: Hop,
    /// The limit that the packet is subject to if it leaves through a queue; of endpoint 0 for none.
    pub limit: BandwidthKey,
    /// When it leaves, in nanoseconds of the monotonic clock; 0 for at once.
    pub departure_ns: u64,
    /// What was found out.
    pub found: Found,
    /// What conntrack said of the flow. It lives here, not in registers: the verifier forgets what
    /// is written to a map's value, and so need not follow every combination of bits.
    pub seen: Seen,
    /// A translation in the making: what the packet becomes, and what its answer becomes.
    pub to: NatEntry,
    /// What the answer to the translated packet becomes.
    pub back: NatEntry,
    /// The key of a translation.
    pub nat_key: NatKey,
    /// The flow's normalised tuple.
    pub key: Tuple,
    /// A conntrack entry in the making.
    pub conn: Conn,
    /// An event in the making.
    pub event: Event,
    /// The decision, here for the same reason as `seen`.
    pub verdict: Verdict,
}

impl Packet {
    /// Forgets the packet before, in place, as far as the next one reads it.
    #[inline(always)]
    pub fn reset(&mut self, hook: u8) {
        self.src = Addr::UNSPECIFIED;
        self.dst = Addr::UNSPECIFIED;
        self.src_port = Port::ANY;
        self.dst_port = Port::ANY;
        self.protocol = 0;
        self.tcp.flags = 0;
        self.icmp_type = 0;
        self.related = 0;
        self.foreign_sender = 0;
        self.hook = hook;
        self.part.which = Part::WHOLE;
        self.l4_offset = 0;
        self.next_hop = Hop::UNKNOWN;
        self.limit.endpoint = 0;
        self.departure_ns = 0;
        self.found = Found::default();
    }

    /// Sets `self.key` to the flow's normalised tuple; returns the side that sent this packet.
    #[inline(always)]
    pub(crate) fn normalise(&mut self) -> usize {
        let (src, dst) = (&self.src, &self.dst);
        let key = &mut self.key;
        key.set(src, self.src_port, dst, self.dst_port, self.protocol)
    }

    /// Sets `self.nat_key` to the exact tuple.
    #[inline(always)]
    pub(crate) fn set_nat_key(&mut self) {
        self.nat_key.src = self.src;
        self.nat_key.dst = self.dst;
        self.nat_key.src_port = self.src_port;
        self.nat_key.dst_port = self.dst_port;
        self.nat_key.protocol = self.protocol;
    }

    /// Sets `self.nat_key` to what an answer to the translated packet looks like.
    #[inline(always)]
    pub(crate) fn set_answer_key(&mut self) {
        self.nat_key.set_answer(&self.to, self.protocol);
    }

    /// The port that policy judges: that of the opener's destination, none for ICMP.
    #[inline(always)]
    pub fn policy_port(&self) -> Port {
        if self.is_icmp() {
            Port::ANY
        } else {
            self.dst_port
        }
    }

    /// Whether the flow is an ICMP echo.
    #[inline(always)]
    pub fn is_icmp(&self) -> bool {
        self.protocol == protocol::ICMP || self.protocol == protocol::ICMPV6
    }

    /// Whether the packet opens a connection.
    #[inline(always)]
    pub fn is_syn(&self) -> bool {
        self.tcp.is_opening()
    }

    /// Turns source and destination round.
    #[inline(always)]
    pub fn turn(&mut self) {
        core::mem::swap(&mut self.src, &mut self.dst);
        core::mem::swap(&mut self.src_port, &mut self.dst_port);
        core::mem::swap(&mut self.found.src_identity, &mut self.found.dst_identity);
    }
}
