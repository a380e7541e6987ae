//! The headers around a packet that goes through the overlay: Ethernet, IPv4, UDP and VXLAN
//! (RFC 7348), as the kernel's device would make them.
//!
//! For the hook that sends packets before the kernel knows of them; all others leave it to the device.

use naru_ebpf_common::overlay::{OVERHEAD, PORT};
use naru_ebpf_common::{NatKey, protocol};

use crate::checksum;
use crate::parse::{ETH_LEN, IPV4};

/// Version 4 and a header without options.
const VERSION_AND_LEN: u8 = 0x45;
/// Hops that a packet may take, the kernel's default.
const TTL: u8 = 64;
/// The bit that says that there is an identifier.
const HAS_VNI: u8 = 0x08;
/// The ECN field (RFC 3168), and its value for congestion that was experienced.
const ECN: u8 = 0b11;
const CONGESTION: u8 = 0b11;
const CAPABLE: u8 = 0b10;
/// The first of the ports from which outer packets are sent, and how many there are: those that are
/// nobody's (RFC 6335), as RFC 7348 advises.
const FIRST_SOURCE: u16 = 49152;
const SOURCES: u16 = 16384;

/// Bytes of the outer packet's IP header and what follows it before the inner frame.
pub const INNER: usize = OVERHEAD as usize;

/// A way on the link, and the ends of the outer packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// MAC addresses of the next hop and of this node's link.
    pub macs: [[u16; 3]; 2],
    /// IPv4 addresses of this node and of the one that it goes to, network order.
    pub ends: [u32; 2],
}

/// The outer headers, as they lie in the packet.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(2))]
pub struct Outer {
    macs: [[u16; 3]; 2],
    ethertype: u16,
    version_and_len: u8,
    tos: u8,
    total_len: u16,
    id: u16,
    fragment: u16,
    ttl: u8,
    protocol: u8,
    checksum: u16,
    ends: [u32; 2],
    src_port: u16,
    dst_port: u16,
    udp_len: u16,
    udp_checksum: u16,
    vxlan_flags: [u8; 4],
    vni: u32,
}

const _: () = assert!(size_of::<Outer>() == INNER);

impl Outer {
    /// Around a frame of `frame` bytes with an IP packet of this type of service. `id` tells
    /// fragments of outer packets apart, should a router make any.
    #[inline(always)]
    #[must_use]
    pub const fn new(route: &Route, key: &NatKey, vni: u32, frame: u16, tos: u8, id: u16) -> Self {
        let total_len = outer_len(frame).to_be();
        let tos = ecn_of_outer(tos);
        let words = [
            u32::from_ne_bytes(first_word(tos, total_len)),
            u32::from_ne_bytes([id.to_ne_bytes()[0], id.to_ne_bytes()[1], 0, 0]),
            u32::from_ne_bytes([TTL, protocol::UDP, 0, 0]),
            route.ends[0],
            route.ends[1],
        ];
        Self {
            macs: route.macs,
            ethertype: IPV4.to_be(),
            version_and_len: VERSION_AND_LEN,
            tos,
            total_len,
            id,
            fragment: 0,
            ttl: TTL,
            protocol: protocol::UDP,
            checksum: checksum::of(&words),
            ends: route.ends,
            src_port: source(key).to_be(),
            dst_port: PORT.to_be(),
            udp_len: (outer_len(frame) - 20).to_be(),
            // The inner packet has its own.
            udp_checksum: 0,
            vxlan_flags: [HAS_VNI, 0, 0, 0],
            vni: (vni << 8).to_be(),
        }
    }
}

/// Bytes of the outer packet from its IP header on, around a frame of so many.
#[inline(always)]
#[must_use]
pub const fn outer_len(frame: u16) -> u16 {
    frame.wrapping_add(INNER as u16 - ETH_LEN as u16)
}

const fn first_word(tos: u8, total_len: u16) -> [u8; 4] {
    let [a, b] = total_len.to_ne_bytes();
    [VERSION_AND_LEN, tos, a, b]
}

/// Congestion on the way can be told where the inner packet's ends understand it. One that has met
/// some says so itself (RFC 6040, as Linux does it).
#[inline(always)]
const fn ecn_of_outer(tos: u8) -> u8 {
    match tos & ECN {
        CONGESTION => CAPABLE,
        ecn => ecn,
    }
}

/// One port for a flow, so that routers with several ways keep its packets in order.
#[inline(always)]
const fn source(key: &NatKey) -> u16 {
    let (a, b) = (
        key.src.words[3],
        key.src_port.0 as u32 | (key.dst_port.0 as u32) << 16,
    );
    let mixed = (a ^ b.rotate_left(7)).wrapping_mul(0x9e37_79b1);
    FIRST_SOURCE + ((mixed >> 16) as u16) % SOURCES
}

#[cfg(test)]
mod tests {
    use naru_ebpf_common::overlay::DIRECT_VNI;
    use naru_ebpf_common::{Addr, Port};

    use super::*;

    fn bytes(outer: &Outer) -> [u8; INNER] {
        // SAFETY: the struct has no padding (its size is that of its fields) and any bytes will do.
        #[allow(unsafe_code, reason = "the bytes of a header are what is looked at")]
        unsafe {
            core::mem::transmute_copy(outer)
        }
    }

    fn key(port: u16) -> NatKey {
        NatKey {
            src: Addr::v4([198, 51, 100, 7]),
            src_port: Port::new(port),
            dst_port: Port::new(80),
            ..NatKey::default()
        }
    }

    fn outer(port: u16, tos: u8) -> [u8; INNER] {
        let words = |bytes: [u8; 6]| {
            let [a, b, c, d, e, f] = bytes;
            [[a, b], [c, d], [e, f]].map(u16::from_ne_bytes)
        };
        let route = Route {
            macs: [words([2, 0, 0, 0, 0, 1]), words([2, 0, 0, 0, 0, 2])],
            ends: [[192, 0, 2, 1], [192, 0, 2, 2]].map(u32::from_ne_bytes),
        };
        bytes(&Outer::new(
            &route,
            &key(port),
            DIRECT_VNI,
            1000,
            tos,
            0x1234,
        ))
    }

    #[test]
    fn every_field_is_where_the_standards_have_it() {
        let outer = outer(40_000, 0);
        assert_eq!(outer[..14], [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
        assert_eq!(outer[14..16], [0x45, 0]);
        assert_eq!(outer[16..18], 1036u16.to_be_bytes());
        assert_eq!(
            outer[18..22],
            [0x34, 0x12, 0, 0],
            "the identifier as it lies in memory"
        );
        assert_eq!(outer[22..24], [64, 17]);
        assert_eq!(outer[26..34], [192, 0, 2, 1, 192, 0, 2, 2]);
        assert_eq!(outer[36..38], 8472u16.to_be_bytes());
        assert_eq!(outer[38..40], 1016u16.to_be_bytes());
        assert_eq!(outer[40..46], [0, 0, 8, 0, 0, 0]);
        assert_eq!(outer[46..50], [0x00, 0x6e, 0x62, 0x00]);
        let words: [u32; 5] = core::array::from_fn(|at| {
            let at = 14 + 4 * at;
            u32::from_ne_bytes(outer[at..at + 4].try_into().unwrap())
        });
        assert_eq!(
            checksum::of(&words),
            0,
            "the header sums up with its checksum"
        );
    }

    #[test]
    fn a_flow_keeps_its_port_and_flows_have_many() {
        let port = |of| u16::from_be_bytes(outer(of, 0)[34..36].try_into().unwrap());
        assert_eq!(port(40_000), port(40_000));
        let all: std::collections::HashSet<_> = (40_000..41_000).map(port).collect();
        assert!(all.len() > 900 && all.iter().all(|port| *port >= FIRST_SOURCE));
    }

    #[test]
    fn congestion_can_be_told_on_the_way() {
        assert_eq!([0, 1, 2, 3].map(|tos| outer(1, tos)[15]), [0, 1, 2, 2]);
        assert_eq!(outer(1, 0xb8 | 2)[15], 2);
    }
}
