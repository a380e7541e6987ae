//! Numbers of the cast: interfaces, and identities as the daemon gives them.

/// Interface that test runs arrive on: `lo`.
pub(crate) const WEB_IFINDEX: u32 = 1;
/// Interface of the other pod.
pub(crate) const API_IFINDEX: u32 = 12;
/// The uplink.
pub(crate) const UPLINK: u32 = 2;
/// The overlay's device.
pub(crate) const OVERLAY: u32 = 3;

pub(crate) const ID_WEB: u32 = 300;
pub(crate) const ID_API: u32 = 301;
pub(crate) const ID_REMOTE: u32 = 302;
pub(crate) const ID_PROXY: u32 = 303;
pub(crate) const ID_DNS: u32 = 304;
