//! The overlay between nodes: VXLAN (RFC 7348), one collect-metadata device per node. Outer packets
//! are IPv4, inner ones of either family.

/// Name of the device.
pub const DEVICE: &str = "naru_vxlan";
/// UDP port: the one that Linux gives VXLAN by default, not the 4789 that RFC 7348 came too late for.
pub const PORT: u16 = 8472;
/// Network identifier, 24 bits. One for the whole cluster; packets of another one are dropped.
pub const VNI: u32 = 0x6e_61;
/// Bytes that the overlay adds to a packet: outer IPv4 header (20), UDP (8), VXLAN (8) and the
/// inner Ethernet header (14).
pub const OVERHEAD: u32 = 50;
