//! Fragments. LRU map [`crate::names::FRAGMENTS`]: a fragmented packet → what only its first fragment
//! says.

use crate::{Addr, Port, abi};

/// How long the other fragments may follow the first, in nanoseconds (RFC 791 suggests 15 s for
/// the receiver).
pub const FOLLOW_NS: u64 = 15_000_000_000;

abi! {
    /// What all fragments of a packet have in common (RFC 791, section 3.2; RFC 8200, section 4.5).
    pub struct FragmentKey = 40 {
        /// Source address.
        pub src: Addr,
        /// Destination address.
        pub dst: Addr,
        /// Identification, as it lies in the packet.
        pub id: u32,
        /// IP protocol.
        pub protocol: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }
}

abi! {
    /// What the first fragment says.
    pub struct Fragmented = 16 {
        /// When it was seen, nanoseconds of the monotonic clock.
        pub seen_ns: u64,
        /// Source port; the identifier of an ICMP echo.
        pub src_port: Port,
        /// Destination port; the identifier of an ICMP echo.
        pub dst_port: Port,
        /// ICMP type, 0 for others.
        pub icmp_type: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }
}
