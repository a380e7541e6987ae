//! The binary contract between the kernel programs and the daemon.
//!
//! Owns every key and value of a BPF map, every map's name and size, every program's name, the
//! drop reasons and the layout of an event. It is `no_std` and holds plain data only: each type is
//! `repr(C)` with its padding named, made of integers (never `bool`, `Option` or an enum), and its
//! size is asserted at compile time, so that both sides and a pinned map of an earlier release
//! cannot disagree in silence.
//!
//! Addresses are 16 bytes with IPv4 mapped ([`Addr`]), ports in keys are big endian ([`Port`]).
//!
//! Decisions are not made here: those are `naru-ebpf-logic`'s. The feature `user` adds what the
//! host needs (`aya::Pod`, zerocopy, `Display`).
#![cfg_attr(not(any(feature = "user", test)), no_std)]

mod addr;
pub mod bandwidth;
pub mod config;
pub mod counter;
pub mod endpoint;
pub mod event;
pub mod flow;
pub mod fragment;
pub mod ipcache;
pub mod maglev;
pub mod names;
pub mod nat;
pub mod overlay;
pub mod policy;
pub mod protocol;
pub mod reason;
pub mod service;
pub mod socket;
#[cfg(feature = "user")]
mod user;

pub use addr::{Addr, Port};
pub use bandwidth::{Bandwidth, BandwidthKey};
pub use config::{Family, NodeConfig};
pub use counter::Counter;
pub use endpoint::{Endpoint, PodAddrs};
pub use event::{DropCount, DropKey, Event};
pub use flow::{Conn, Pace, Tuple};
pub use fragment::{FragmentKey, Fragmented};
pub use ipcache::IpInfo;
pub use maglev::{MaglevBlock, MaglevKey, TableSize};
pub use nat::{NatEntry, NatKey};
pub use policy::{PolicyEntry, PolicyKey};
pub use reason::Reason;
pub use service::{
    Affinity, AffinityKey, Backend, BackendKey, MemberKey, RangeKey, Service, ServiceKey,
};
pub use socket::{ConnectedPeer, SocketKey, SocketPeer};
#[cfg(feature = "user")]
pub use user::NoTableSize;

/// Attributes that every type of the contract carries, and the assertion of its size in bytes.
macro_rules! abi {
    ($(#[$doc:meta])* pub struct $name:ident = $size:literal { $($body:tt)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[cfg_attr(
            feature = "user",
            derive(
                zerocopy::FromBytes,
                zerocopy::IntoBytes,
                zerocopy::Immutable,
                zerocopy::KnownLayout
            )
        )]
        pub struct $name { $($body)* }

        const _: () = assert!(core::mem::size_of::<$name>() == $size);
    };
}
pub(crate) use abi;
