//! Connection tracking. LRU map [`crate::names::CONNTRACK`], key [`Tuple`], value [`Conn`].
//!
//! The tuple is normalised, so that both directions of a flow share one entry. The two ends are
//! called *sides*: side 0 is the one that sorts first.

use crate::{Addr, Port, abi, protocol};

/// [`Conn::flags`]: a NAT entry rewrites packets of this flow that leave the pod.
pub const NAT: u8 = 1 << 0;
/// [`Conn::flags`]: the end that is not a pod is this node's own stack.
pub const HOST: u8 = 1 << 1;
/// [`Conn::flags`]: opened in a rush ([`Pace`]), the flow is forgotten as soon as it is closed.
pub const BRIEF: u8 = 1 << 2;
/// [`Conn::flags`]: [`Conn::next_hop`] is a node, and the overlay leads there.
pub const OVERLAY: u8 = 1 << 3;

/// [`Conn::next_hop`] of an IPv6 flow: the kernel asks the routes for each packet. No host has this
/// address (255.255.255.255).
pub const BY_ROUTES: u32 = u32::MAX;

/// Bit of [`Conn::sides`]: a packet of this side was seen. Of the other bits, [`ANSWERED_FIN`]
/// apart, each is one of the TCP flags FIN, SYN, RST and ACK that this side has sent so far.
pub const SEEN: u8 = 0x80;
/// Bit of [`Conn::sides`]: the FIN of this side acknowledged that of the other, which came first.
pub const ANSWERED_FIN: u8 = 0x40;
/// TCP flags that are kept in [`Conn::sides`].
pub const KEPT_TCP_FLAGS: u8 = protocol::FIN | protocol::SYN | protocol::RST | protocol::ACK;

abi! {
    /// Both ends and the protocol of a flow, in an order that does not depend on the direction of
    /// a packet. ICMP echo has its identifier in both ports.
    pub struct Tuple = 40 {
        /// Address of side 0 and side 1.
        pub addr: [Addr; 2],
        /// Port of side 0 and side 1.
        pub port: [Port; 2],
        /// IP protocol.
        pub protocol: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }
}

impl Tuple {
    /// The tuple of a packet and the side (0 or 1) that sent it.
    #[inline(always)]
    pub fn new(
        src: &Addr,
        src_port: Port,
        dst: &Addr,
        dst_port: Port,
        protocol: u8,
    ) -> (Self, usize) {
        let mut tuple = Self::default();
        let side = tuple.set(src, src_port, dst, dst_port, protocol);
        (tuple, side)
    }

    /// The same of an IPv4 packet, whose addresses are words as they lie in the header.
    #[inline(always)]
    pub fn v4(src: (u32, Port), dst: (u32, Port), protocol: u8) -> (Self, usize) {
        let first = if src.0 == dst.0 {
            src.1.0 <= dst.1.0
        } else {
            src.0 < dst.0
        };
        let [one, other] = if first { [src, dst] } else { [dst, src] };
        let tuple = Self {
            addr: [Addr::v4_word(one.0), Addr::v4_word(other.0)],
            port: [one.1, other.1],
            protocol,
            reserved: [0; 3],
        };
        (tuple, usize::from(!first))
    }

    /// Makes this the tuple of a packet, in place, and returns the side that sent it. `reserved`
    /// is zero already: a program's stack is too small for one tuple more.
    #[inline(always)]
    pub fn set(
        &mut self,
        src: &Addr,
        src_port: Port,
        dst: &Addr,
        dst_port: Port,
        protocol: u8,
    ) -> usize {
        self.protocol = protocol;
        if sorts_first(src, src_port, dst, dst_port) {
            self.addr = [*src, *dst];
            self.port = [src_port, dst_port];
            0
        } else {
            self.addr = [*dst, *src];
            self.port = [dst_port, src_port];
            1
        }
    }
}

/// The order of two ends. Any total order does; the last word comes first because that is where
/// IPv4 addresses differ.
#[inline(always)]
fn sorts_first(a: &Addr, a_port: Port, b: &Addr, b_port: Port) -> bool {
    let mut word = 4;
    while word > 0 {
        word -= 1;
        if a.words[word] != b.words[word] {
            return a.words[word] < b.words[word];
        }
    }
    a_port.0 <= b_port.0
}

abi! {
    /// What is known of a flow. Arrays are indexed by side.
    pub struct Conn = 64 {
        /// When the flow was opened, nanoseconds of the monotonic clock.
        pub created_ns: u64,
        /// When its last packet passed, precise to about a second.
        pub seen_ns: u64,
        /// [`crate::Endpoint::policy_revision`] of the side under which the flow was allowed; 0
        /// for a side that is not a local pod.
        pub revision: [u32; 2],
        /// Rule that allowed the flow at this side, 0 where none was needed.
        pub rule: [u32; 2],
        /// Identity of the side as it was judged, 0 if that was not asked.
        pub identity: [u32; 2],
        /// [`SEEN`] and TCP flags. Each byte is written on behalf of one side only.
        pub sides: [u8; 2],
        /// The side that opened the flow, 0 or 1.
        pub opener: u8,
        /// [`NAT`], [`HOST`], [`BRIEF`], [`OVERLAY`].
        pub flags: u8,
        /// [`crate::NodeConfig::epoch`] under which the flow's ends were last looked up. While it is
        /// the present one, the fields below and the verdict hold without another look.
        pub epoch: u32,
        /// Host interface of the pod at each side; 0 for a side that is no pod of this node.
        pub ifindex: [u32; 2],
        /// IPv4 address of the next hop to the side that is not here, network order; 0 when it has
        /// to be asked of the routes, [`BY_ROUTES`] when that is so for every packet. With
        /// [`OVERLAY`] the node where that side lives.
        pub next_hop: u32,
        /// The acknowledgement that the last FIN asks for: of the second one once [`ANSWERED_FIN`]
        /// is set, else of the first.
        pub fin_end: u32,
    }
}

abi! {
    /// How often a processor does something. Per-CPU array [`crate::names::PACE`], see
    /// [`Pace::FLOWS`] and [`Pace::REFUSALS`].
    pub struct Pace = 24 {
        /// When the present window began, nanoseconds of the monotonic clock.
        pub since_ns: u64,
        /// How often in it.
        pub times: u32,
        /// How often in the window before.
        pub before: u32,
        /// How often in all; the daemon foresees by it when a table will be full.
        pub total: u64,
    }
}

impl Pace {
    /// Index of the flows that are opened.
    pub const FLOWS: u32 = 0;
    /// Index of the datagrams that are refused with an answer.
    pub const REFUSALS: u32 = 1;

    /// Length of a window in nanoseconds.
    pub const WINDOW_NS: u64 = 100_000_000;
    /// Flows of a window from which on it is a rush in a table of [`crate::names::CONNTRACK_SIZE`].
    pub const RUSH: u32 = Self::rush(crate::names::CONNTRACK_SIZE) as u32;

    /// Flows of a window from which on it is a rush in a table of so many: what would fill half of it
    /// with closed flows before the first of them expires.
    pub const fn rush(entries: u32) -> u16 {
        let closing_ns = crate::config::Timeouts::DEFAULT.tcp_closing as u64 * 1_000_000_000;
        let flows = entries / 2 / (closing_ns / Self::WINDOW_NS) as u32;
        if flows > u16::MAX as u32 {
            u16::MAX
        } else {
            flows as u16
        }
    }

    /// Answers to refused datagrams in a window, a thousand a second: as many as Linux gives by
    /// default (`icmp_msgs_per_sec`).
    pub const ANSWERS: u32 = 100;

    /// Counts one time at `now_ns`; whether there are more than `limit` in this window or were in
    /// the one before.
    #[inline(always)]
    pub fn count(&mut self, now_ns: u64, limit: u32) -> bool {
        let age = now_ns.saturating_sub(self.since_ns);
        if age > Self::WINDOW_NS {
            self.before = if age > 2 * Self::WINDOW_NS {
                0
            } else {
                self.times
            };
            self.times = 0;
            self.since_ns = now_ns;
        }
        self.times = self.times.saturating_add(1);
        self.total = self.total.wrapping_add(1);
        self.times > limit || self.before > limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_have_one_tuple() {
        let (a, b) = (Addr::v4([10, 244, 0, 2]), Addr::v4([10, 244, 1, 2]));
        let (ap, bp) = (Port::new(40000), Port::new(80));
        let (there, there_side) = Tuple::new(&a, ap, &b, bp, protocol::TCP);
        let (back, back_side) = Tuple::new(&b, bp, &a, ap, protocol::TCP);
        assert_eq!(there, back);
        assert_eq!(there_side + back_side, 1);
    }

    #[test]
    fn an_ipv4_tuple_is_the_same_either_way_of_making_it() {
        let ends = [
            ([10, 244, 0, 2], 40000),
            ([10, 244, 1, 1], 80),
            ([10, 244, 0, 2], 80),
        ];
        for (a, a_port) in ends {
            for (b, b_port) in ends {
                let (a, b) = (Addr::v4(a), Addr::v4(b));
                let (ap, bp) = (Port::new(a_port), Port::new(b_port));
                let quick = Tuple::v4((a.word_v4(), ap), (b.word_v4(), bp), protocol::UDP);
                assert_eq!(quick, Tuple::new(&a, ap, &b, bp, protocol::UDP));
            }
        }
    }

    #[test]
    fn a_rush_begins_with_one_flow_too_many_and_ends_with_a_calm_window() {
        let (mut pace, start) = (Pace::default(), 10 * Pace::WINDOW_NS);
        let mut count = |at| pace.count(at, Pace::RUSH);
        assert!((0..Pace::RUSH).all(|_| !count(start)));
        assert!(count(start));
        let next = start + Pace::WINDOW_NS + 1;
        assert!(count(next), "the window before was one");
        assert!(!count(next + Pace::WINDOW_NS + 1));
    }

    #[test]
    fn one_address_on_both_sides_is_ordered_by_port() {
        let a = Addr::v4([10, 244, 0, 2]);
        let (there, _) = Tuple::new(&a, Port::new(2), &a, Port::new(1), protocol::UDP);
        let (back, _) = Tuple::new(&a, Port::new(1), &a, Port::new(2), protocol::UDP);
        assert_eq!(there, back);
    }
}
