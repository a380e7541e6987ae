//! Counters. Per-CPU array [`crate::names::COUNTERS`], indexed by hook and reason.

use crate::{Reason, abi};

/// Hook: packets that a pod sends.
pub const FROM_POD: u8 = 0;
/// Hook: packets of the node's stack to a pod.
pub const TO_POD: u8 = 1;
/// Hook: packets that arrive on the uplink.
pub const FROM_NETWORK: u8 = 2;
/// Hook: socket operations (`connect`, `sendmsg`).
pub const SOCKET: u8 = 3;
/// Hook: packets that the overlay brings.
pub const FROM_OVERLAY: u8 = 4;
/// Hook: packets on the uplink that its driver sends on.
pub const FROM_WIRE: u8 = 5;
/// Hook: packets of the node's stack that leave it.
pub const TO_NETWORK: u8 = 6;
/// Number of hooks.
pub const HOOKS: u32 = 7;

/// Every hook.
pub fn hooks() -> impl Iterator<Item = u8> {
    0..HOOKS as u8
}

/// Number of reasons that a hook has room for.
pub const REASONS: u32 = 64;

abi! {
    /// Packets and bytes of one CPU.
    pub struct Counter = 16 {
        /// Packets.
        pub packets: u64,
        /// Bytes from the IP header on, headers included.
        pub bytes: u64,
    }
}

/// Index of a counter; [`Reason::FORWARDED`] counts what was not dropped.
#[inline(always)]
pub const fn index(hook: u8, reason: Reason) -> u32 {
    (hook as u32) * REASONS + (reason.0 as u32)
}

/// A hook's name, for people and metrics.
pub const fn hook_name(hook: u8) -> &'static str {
    match hook {
        FROM_POD => "from_pod",
        TO_POD => "to_pod",
        FROM_NETWORK => "from_network",
        SOCKET => "socket",
        FROM_OVERLAY => "from_overlay",
        FROM_WIRE => "from_wire",
        TO_NETWORK => "to_network",
        _ => "unknown",
    }
}
