//! The decisions of the data path: one implementation for the kernel and for the host.
//!
//! A hook is a function from a parsed [`Packet`] and a view of the maps ([`Maps`]) to a
//! [`Verdict`]. A packet that must change is changed in the `Packet`; the programs write the
//! difference into the real one. Every step taken can be listened to through [`Trace`], which the
//! kernel leaves empty, so that a simulation over a snapshot of the maps explains exactly what the
//! kernel would do.
//!
//! The code is `no_std`, has no state of its own, takes time and chance from [`Maps`], and never
//! touches bytes of a packet except in [`parse`]. Functions of the slow path are kept out of line:
//! an eBPF program has 512 bytes of stack.
//!
//! Not here: loading, pinning and filling maps (the daemon), and helper calls (the programs).
#![cfg_attr(not(any(feature = "host", test)), no_std)]

mod admission;
pub mod checksum;
pub mod conntrack;
pub mod departure;
mod direct;
pub mod drops;
pub mod fragment;
mod from_network;
mod from_overlay;
mod from_pod;
mod hop;
#[cfg(feature = "host")]
pub mod host;
mod leave;
pub mod maglev;
mod maps;
pub mod nat;
mod own_network;
mod packet;
pub mod parse;
mod policy;
pub mod quick;
pub mod sctp;
mod service;
pub mod socket;
mod to_pod;
mod trace;
pub mod tunnel;
mod verdict;
mod wire;

pub use direct::handed_over;
pub use from_network::from_network;
pub use from_overlay::from_overlay;
pub use from_pod::from_pod;
pub use hop::Hop;
pub use maps::Maps;
pub use own_network::{may_be_answer, to_network};
pub use packet::{Found, Packet, Segment};
pub use to_pod::to_pod;
pub use trace::{Step, Trace};
pub use verdict::{Action, Verdict};
pub use wire::{Onward, from_wire};
