//! Bandwidth limits of pods. Map [`crate::names::BANDWIDTH`].

use crate::abi;

/// Mark (`skb->mark`) of a packet that the programs hand to the queue of a pod's interface, so that
/// the program there does not judge it again. It ends with the packet's way into the pod.
pub const QUEUED: u32 = 0x6e61_7275;

abi! {
    /// Whose limit.
    pub struct BandwidthKey = 8 {
        /// The endpoint's number ([`crate::Endpoint::id`]).
        pub endpoint: u32,
        /// [`crate::policy::INGRESS`] or [`crate::policy::EGRESS`].
        pub direction: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }
}

impl BandwidthKey {
    /// The limit of this endpoint in this direction.
    #[inline(always)]
    pub const fn new(endpoint: u32, direction: u8) -> Self {
        Self {
            endpoint,
            direction,
            reserved: [0; 3],
        }
    }
}

abi! {
    /// A limit, and how far the pod has used it up.
    pub struct Bandwidth = 16 {
        /// Bytes in a second, never 0.
        pub rate: u64,
        /// When the next packet may leave at the earliest: nanoseconds of the monotonic clock. The
        /// programs write it, and the daemon keeps it when it changes the rate.
        pub next_ns: u64,
    }
}
