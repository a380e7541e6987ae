//! The overlay between nodes: VXLAN (RFC 7348), one collect-metadata device per node. Outer packets
//! are IPv4, inner ones of either family.
//!
//! It carries two kinds of packets, each under an identifier of its own: those between pods, and
//! those of clients outside that a node hands on to the backend's node (direct server return). The
//! latter are as the client sent them, and the frame's MAC addresses, of which the overlay has no
//! other use, name the backend.

use crate::{Addr, Port};

/// Name of the device.
pub const DEVICE: &str = "naru_vxlan";
/// UDP port: the one that Linux gives VXLAN by default, not the 4789 that RFC 7348 came too late for.
pub const PORT: u16 = 8472;
/// Network identifier, 24 bits. One for the whole cluster; packets of another one are dropped.
pub const VNI: u32 = 0x6e_61;
/// Network identifier of packets that a node hands on as they came from a client.
pub const DIRECT_VNI: u32 = VNI + 1;
/// Bytes that the overlay adds to a packet: outer IPv4 header (20), UDP (8), VXLAN (8) and the
/// inner Ethernet header (14).
pub const OVERHEAD: u32 = 50;

/// Bytes of the MAC addresses with which a frame begins.
pub const MACS: usize = 12;
/// The first byte of a MAC address that is nobody's: unicast, locally administered (IEEE 802).
const LOCAL: u8 = 0x02;

/// The MAC addresses that name a backend: its port and the last eight bytes of its address.
#[inline(always)]
pub const fn macs_of(addr: &Addr, port: Port) -> [u8; MACS] {
    let ([p, q], a, b) = (
        port.0.to_ne_bytes(),
        addr.words[2].to_ne_bytes(),
        addr.words[3].to_ne_bytes(),
    );
    [
        LOCAL, p, q, a[0], a[1], a[2], LOCAL, a[3], b[0], b[1], b[2], b[3],
    ]
}

/// The backend that MAC addresses name, the first eight bytes of whose address are those of `net`: a
/// network of pods leaves them to no pod's choice, unless its prefix is shorter than 64.
#[inline(always)]
pub const fn backend_of(macs: &[u8; MACS], net: &Addr) -> (Addr, Port) {
    let [_, p, q, c0, c1, c2, _, c3, d0, d1, d2, d3] = *macs;
    let [a, b, _, _] = net.words;
    let words = [
        a,
        b,
        u32::from_ne_bytes([c0, c1, c2, c3]),
        u32::from_ne_bytes([d0, d1, d2, d3]),
    ];
    (Addr { words }, Port(u16::from_ne_bytes([p, q])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_named_by_valid_macs_and_found_again() {
        let v6 = core::net::Ipv6Addr::new(0xfd00, 0x244, 0, 1, 0xff00, 0x12, 0x3456, 0x789a);
        let net = core::net::Ipv6Addr::new(0xfd00, 0x244, 0, 1, 0, 0, 0, 0);
        let nets = [Addr::v4([10, 244, 1, 0]), Addr::from_bytes(net.octets())];
        let backends = [Addr::v4([10, 244, 1, 2]), Addr::from_bytes(v6.octets())];
        for (addr, net) in backends.iter().zip(&nets) {
            let macs = macs_of(addr, Port::new(8080));
            assert_eq!((macs[0] & 3, macs[6] & 3), (2, 2), "local unicast");
            assert_eq!(backend_of(&macs, net), (*addr, Port::new(8080)));
        }
    }
}
