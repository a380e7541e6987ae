//! Events of the data path and the aggregation of drops. Ring buffer [`crate::names::EVENTS`],
//! LRU map [`crate::names::DROPS`].

use crate::{Addr, Port, Reason, abi};

/// A flow was opened and allowed. Sent while [`crate::config::FLOW_EVENTS`] is set.
pub const FLOW_START: u8 = 1;
/// A TCP flow was closed by both sides or reset. Sent while [`crate::config::FLOW_EVENTS`] is set.
pub const FLOW_END: u8 = 2;
/// An open flow was judged again under a new policy revision and may go on.
pub const VERDICT: u8 = 3;
/// Packets were dropped; `count` and `bytes` say how many since the last event of the same key.
pub const DROP: u8 = 4;

/// Nanoseconds between two events of one [`DropKey`]; drops in between are counted.
pub const DROP_REPEAT_NS: u64 = 1_000_000_000;

abi! {
    /// One event. Source and destination are the packet's, after service translation.
    pub struct Event = 80 {
        /// Nanoseconds of the monotonic clock.
        pub time_ns: u64,
        /// Source address.
        pub src: Addr,
        /// Destination address.
        pub dst: Addr,
        /// Source port.
        pub src_port: Port,
        /// Destination port.
        pub dst_port: Port,
        /// IP protocol, 0 when not known.
        pub protocol: u8,
        /// [`FLOW_START`], [`FLOW_END`], [`VERDICT`] or [`DROP`].
        pub kind: u8,
        /// Hook, `counter::FROM_POD` and so on.
        pub hook: u8,
        /// Why, for a drop.
        pub reason: Reason,
        /// Identity of the source, 0 when not looked up.
        pub src_identity: u32,
        /// Identity of the destination, 0 when not looked up.
        pub dst_identity: u32,
        /// Endpoint that the event is about, 0 when none is known.
        pub endpoint: u32,
        /// Rule that decided, 0 when none did.
        pub rule: u32,
        /// TCP flags of the packet, or the ICMP type.
        pub detail: u8,
        /// `policy::INGRESS` or `policy::EGRESS` as the endpoint sees it.
        pub direction: u8,
        /// Zero.
        pub reserved: u16,
        /// Packets that this event stands for.
        pub count: u32,
        /// Bytes that this event stands for.
        pub bytes: u64,
    }
}

abi! {
    /// Drops are counted together for one cause between two addresses. The source port is left
    /// out: retries come from new ports.
    pub struct DropKey = 40 {
        /// Source address.
        pub src: Addr,
        /// Destination address.
        pub dst: Addr,
        /// Destination port.
        pub dst_port: Port,
        /// IP protocol, 0 when not known.
        pub protocol: u8,
        /// Why.
        pub reason: Reason,
        /// Endpoint that the drop is about, 0 when none is known.
        pub endpoint: u32,
    }
}

abi! {
    /// How often, how much, since when.
    pub struct DropCount = 48 {
        /// Packets in all.
        pub packets: u64,
        /// Bytes in all.
        pub bytes: u64,
        /// Packets since the last event.
        pub pending_packets: u64,
        /// Bytes since the last event.
        pub pending_bytes: u64,
        /// First drop, nanoseconds of the monotonic clock.
        pub first_ns: u64,
        /// When the last event was sent, nanoseconds of the monotonic clock.
        pub reported_ns: u64,
    }
}
