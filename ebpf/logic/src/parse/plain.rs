//! Plain packets: TCP or UDP, whole, in IPv4 without options or IPv6 without extension headers.
//!
//! Nearly every packet is one. They are read in as few instructions as can be, for the ways that
//! know a packet by one lookup; [`super::ethernet`] reads every packet.

use naru_ebpf_common::{Addr, NatKey, Port, protocol};

use super::{
    ETH_LEN, ETHERTYPE, Frame, IPV4, IPV4_LEN, IPV4_WORDS, IPV6, IPV6_LEN, IPV6_SRC, TCP_WORDS,
};
use crate::packet::Segment;

/// Version 4 and a header without options.
const PLAIN_IPV4: u8 = 0x45;
/// The flag of more fragments and the offset, as they lie in the second word of a header.
const FRAGMENT_WORD: u32 = u32::from_ne_bytes([0, 0, 0x3f, 0xff]);
/// Where the TCP or UDP header is behind IPv4.
pub const L4_V4: usize = ETH_LEN + IPV4_LEN;
/// Where it is behind IPv6.
pub const L4_V6: usize = ETH_LEN + IPV6_LEN;

/// A plain packet with addresses `A`: a word of IPv4 as it lies in the header, or an [`Addr`].
pub(crate) struct Plain<A> {
    pub(crate) src: A,
    pub(crate) dst: A,
    pub(crate) src_port: Port,
    pub(crate) dst_port: Port,
    pub(crate) protocol: u8,
    pub(crate) segment: Segment,
}

/// The packet in `frame`, whose ethertype says IPv4, if it is a plain one.
#[inline(always)]
pub(crate) fn v4<F: Frame>(frame: &F) -> Option<Plain<u32>> {
    let ip: [u32; IPV4_WORDS] = frame.words(ETH_LEN)?;
    let [version_and_len, _, len_high, len_low] = ip[0].to_ne_bytes();
    if version_and_len != PLAIN_IPV4 || ip[1] & FRAGMENT_WORD != 0 {
        return None;
    }
    let protocol = ip[2].to_ne_bytes()[1];
    let len = u32::from(u16::from_be_bytes([len_high, len_low]));
    let len = len.wrapping_sub(IPV4_LEN as u32);
    let (ports, segment) = transport(frame, L4_V4, protocol, len)?;
    let (src_port, dst_port) = super::ports(ports);
    Some(Plain {
        src: ip[3],
        dst: ip[4],
        src_port,
        dst_port,
        protocol,
        segment,
    })
}

/// The packet in `frame`, whose ethertype says IPv6, if it is a plain one.
#[inline(always)]
pub(crate) fn v6<F: Frame>(frame: &F) -> Option<Plain<Addr>> {
    let [first, second]: [u32; 2] = frame.words(ETH_LEN)?;
    let [len_high, len_low, protocol, _] = second.to_ne_bytes();
    let len = u32::from(u16::from_be_bytes([len_high, len_low]));
    let (ports, segment) = transport(frame, L4_V6, protocol, len)?;
    let (src_port, dst_port) = super::ports(ports);
    let src = Addr {
        words: frame.words(ETH_LEN + IPV6_SRC)?,
    };
    let dst = Addr {
        words: frame.words(ETH_LEN + IPV6_SRC + size_of::<Addr>())?,
    };
    if first.to_ne_bytes()[0] >> 4 != 6 || src.is_v4() || dst.is_v4() {
        return None;
    }
    Some(Plain {
        src,
        dst,
        src_port,
        dst_port,
        protocol,
        segment,
    })
}

/// Sets `key` to the exact tuple of the packet in `frame`, and returns its segment, if it is a plain
/// one.
#[inline(always)]
pub(crate) fn tuple<F: Frame>(frame: &F, key: &mut NatKey) -> Option<Segment> {
    match u16::from_be(frame.half(ETHERTYPE)?) {
        IPV4 => {
            let p = v4(frame)?;
            set(key, Addr::v4_word(p.src), Addr::v4_word(p.dst), &p);
            Some(p.segment)
        }
        IPV6 => {
            let p = v6(frame)?;
            set(key, p.src, p.dst, &p);
            Some(p.segment)
        }
        _ => None,
    }
}

#[inline(always)]
fn set<A>(key: &mut NatKey, src: Addr, dst: Addr, packet: &Plain<A>) {
    *key = NatKey {
        src,
        dst,
        src_port: packet.src_port,
        dst_port: packet.dst_port,
        protocol: packet.protocol,
        reserved: [0; 3],
    };
}

/// The ports and the segment of the TCP or UDP header at `l4`, whose bytes with all that follows
/// are `len`.
#[inline(always)]
fn transport<F: Frame>(frame: &F, l4: usize, protocol: u8, len: u32) -> Option<(u32, Segment)> {
    match protocol {
        protocol::TCP => {
            let tcp: [u32; TCP_WORDS] = frame.words(l4)?;
            Some((tcp[0], super::segment(&tcp, len)))
        }
        protocol::UDP => {
            let [ports]: [u32; 1] = frame.words(l4)?;
            Some((ports, Segment::default()))
        }
        _ => None,
    }
}
