//! Headers: from bytes to a [`Packet`], IPv4 (RFC 791), TCP (RFC 9293), UDP (RFC 768), ICMP (RFC 792).
//!
//! Generic over how bytes are read, because the kernel checks bounds against the packet's end and
//! the host against a slice. Fragments are refused: without its ports a fragment can't be judged,
//! and pods and uplink share one MTU, so none is made inside the cluster.

use naru_ebpf_common::{Addr, Port, Reason, protocol};

use crate::{Packet, Segment};

/// Bytes of an Ethernet header.
pub const ETH_LEN: usize = 14;
/// Offset of the ethertype.
pub(crate) const ETHERTYPE: usize = 12;
/// Ethertype of IPv4.
pub const IPV4: u16 = 0x0800;
/// Ethertype of IPv6.
pub const IPV6: u16 = 0x86dd;
/// Ethertype of ARP.
pub const ARP: u16 = 0x0806;

/// More fragments follow, or an offset.
const FRAGMENT_BITS: u16 = 0x3fff;
const ICMP_ECHO_REPLY: u8 = 0;
const ICMP_UNREACHABLE: u8 = 3;
const ICMP_ECHO: u8 = 8;
const ICMP_TIME_EXCEEDED: u8 = 11;
const ICMP_PARAMETER: u8 = 12;
/// Bytes of an ICMP header; the embedded packet follows.
pub const ICMP_LEN: usize = 8;
/// Bytes of an IPv4 header without options.
pub const IPV4_LEN: usize = 20;
pub(crate) const IPV4_WORDS: usize = 5;
/// Words of a TCP header without options.
pub(crate) const TCP_WORDS: usize = 5;

/// Reads from a frame, in units as they lie in memory: a kernel program reads a word in one step,
/// but bytes one by one.
pub trait Frame {
    /// The two bytes at `offset`, if the frame has them.
    fn half(&self, offset: usize) -> Option<u16>;
    /// The `N` words at `offset`, if the frame has them.
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]>;
    /// Bytes of the whole frame.
    fn bytes(&self) -> u32;
}

/// What a frame is, if not a packet to decide about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// ARP.
    Arp,
    /// Neighbour discovery (RFC 4861).
    NeighbourDiscovery,
    /// To be dropped for this reason.
    Drop(Reason),
}

/// What [`ethernet`] returns, packed into one register for a function out of line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed(u32);

impl Parsed {
    const ARP: u32 = 1;
    const NEIGHBOUR_DISCOVERY: u32 = 2;
    const DROP: u32 = 0x100;

    /// Packs it.
    #[inline(always)]
    pub const fn of(result: Result<(), Other>) -> Self {
        Self(match result {
            Ok(()) => 0,
            Err(Other::Arp) => Self::ARP,
            Err(Other::NeighbourDiscovery) => Self::NEIGHBOUR_DISCOVERY,
            Err(Other::Drop(reason)) => Self::DROP | reason.0 as u32,
        })
    }

    /// Unpacks it.
    ///
    /// # Errors
    /// Those of [`ethernet`].
    #[inline(always)]
    pub const fn get(self) -> Result<(), Other> {
        match self.0 {
            0 => Ok(()),
            Self::ARP => Err(Other::Arp),
            Self::NEIGHBOUR_DISCOVERY => Err(Other::NeighbourDiscovery),
            drop => Err(Other::Drop(Reason(drop as u8))),
        }
    }
}

#[inline(always)]
fn malformed<T>(value: Option<T>) -> Result<T, Other> {
    value.ok_or(Other::Drop(Reason::MALFORMED))
}

/// Parses an Ethernet frame into `p`. With an error `p` holds what was understood so far.
///
/// # Errors
/// What the frame is instead.
#[inline(always)]
pub fn ethernet<F: Frame>(frame: &F, p: &mut Packet) -> Result<(), Other> {
    p.len = frame.bytes().saturating_sub(ETH_LEN as u32);
    match u16::from_be(malformed(frame.half(ETHERTYPE))?) {
        IPV4 => ipv4(frame, p),
        IPV6 => Err(ipv6(frame)),
        ARP => Err(Other::Arp),
        _ => Err(Other::Drop(Reason::NOT_IP)),
    }
}

/// IPv6 is not forwarded yet; neighbour discovery has to work all the same.
#[inline(always)]
fn ipv6<F: Frame>(frame: &F) -> Other {
    let next = frame.half(ETH_LEN + 6).map(|h| h.to_ne_bytes()[0]);
    let kind = frame.half(ETH_LEN + 40).map(|h| h.to_ne_bytes()[0]);
    match (next, kind) {
        (Some(protocol::ICMPV6), Some(133..=137)) => Other::NeighbourDiscovery,
        _ => Other::Drop(Reason::IPV6_UNSUPPORTED),
    }
}

#[inline(always)]
fn ipv4<F: Frame>(frame: &F, p: &mut Packet) -> Result<(), Other> {
    let header: [u32; IPV4_WORDS] = malformed(frame.words(ETH_LEN))?;
    let [version_and_len, _, len_high, len_low] = header[0].to_ne_bytes();
    let [.., fragment_high, fragment_low] = header[1].to_ne_bytes();
    let header_len = usize::from(version_and_len & 0x0f) * 4;
    p.src = Addr::v4_word(header[3]);
    p.dst = Addr::v4_word(header[4]);
    p.protocol = header[2].to_ne_bytes()[1];
    if version_and_len >> 4 != 4 || header_len < IPV4_LEN {
        return Err(Other::Drop(Reason::MALFORMED));
    }
    if u16::from_be_bytes([fragment_high, fragment_low]) & FRAGMENT_BITS != 0 {
        return Err(Other::Drop(Reason::FRAGMENT));
    }
    let l4 = ETH_LEN + header_len;
    p.l4_offset = l4 as u16;
    match p.protocol {
        protocol::TCP => {
            let len = usize::from(u16::from_be_bytes([len_high, len_low]));
            tcp(frame, p, l4, len.wrapping_sub(header_len) as u32)
        }
        protocol::UDP => udp(frame, p, l4),
        protocol::ICMP => icmp(frame, p, l4),
        _ => Err(Other::Drop(Reason::PROTOCOL_UNSUPPORTED)),
    }
}

/// The two ports in the first word of a TCP or UDP header.
#[inline(always)]
pub(crate) fn ports(word: u32) -> (Port, Port) {
    let [a, b, c, d] = word.to_ne_bytes();
    (
        Port(u16::from_ne_bytes([a, b])),
        Port(u16::from_ne_bytes([c, d])),
    )
}

/// The identifier in the second word of an ICMP echo.
#[inline(always)]
fn identifier(word: u32) -> Port {
    ports(word).0
}

#[inline(always)]
fn udp<F: Frame>(frame: &F, p: &mut Packet, l4: usize) -> Result<(), Other> {
    let header: [u32; 2] = malformed(frame.words(l4))?;
    (p.src_port, p.dst_port) = ports(header[0]);
    Ok(())
}

/// `segment_len` are the bytes of header and data as the IP header tells them.
#[inline(always)]
fn tcp<F: Frame>(frame: &F, p: &mut Packet, l4: usize, segment_len: u32) -> Result<(), Other> {
    let header: [u32; TCP_WORDS] = malformed(frame.words(l4))?;
    (p.src_port, p.dst_port) = ports(header[0]);
    p.tcp = segment(&header, segment_len);
    Ok(())
}

/// What conntrack wants to know of a TCP header.
#[inline(always)]
pub(crate) fn segment(header: &[u32; TCP_WORDS], segment_len: u32) -> Segment {
    let [offset, flags, ..] = header[3].to_ne_bytes();
    let mut segment = Segment {
        flags,
        ack: u32::from_be(header[2]),
        fin_end: 0,
    };
    if flags & protocol::FIN != 0 {
        // A length that is wrong or, of a large segment, unsaid costs no more than a flow that is
        // forgotten later than it could be.
        let payload = segment_len.wrapping_sub(u32::from(offset >> 4) * 4);
        segment.fin_end = u32::from_be(header[1])
            .wrapping_add(payload)
            .wrapping_add(1);
    }
    segment
}

#[inline(always)]
fn icmp<F: Frame>(frame: &F, p: &mut Packet, l4: usize) -> Result<(), Other> {
    let header: [u32; 2] = malformed(frame.words(l4))?;
    p.icmp_type = header[0].to_ne_bytes()[0];
    match p.icmp_type {
        ICMP_ECHO | ICMP_ECHO_REPLY => {
            p.src_port = identifier(header[1]);
            p.dst_port = p.src_port;
            Ok(())
        }
        ICMP_UNREACHABLE | ICMP_TIME_EXCEEDED | ICMP_PARAMETER => embedded(frame, p, l4 + ICMP_LEN),
        _ => Err(Other::Drop(Reason::PROTOCOL_UNSUPPORTED)),
    }
}

/// An ICMP error stands for an answer to the packet that it embeds.
#[inline(always)]
fn embedded<F: Frame>(frame: &F, p: &mut Packet, inner: usize) -> Result<(), Other> {
    let header: [u32; IPV4_WORDS] = malformed(frame.words(inner))?;
    let ends: [u32; 2] = malformed(frame.words(inner + IPV4_LEN))?;
    let (receiver, sent_to) = (Addr::v4_word(header[3]), Addr::v4_word(header[4]));
    // Options in the embedded header would move its ports; nobody here sends any.
    if header[0].to_ne_bytes()[0] != 0x45 || receiver != p.dst {
        return Err(Other::Drop(Reason::ICMP_UNRELATED));
    }
    p.foreign_sender = u8::from(p.src != sent_to);
    p.related = 1;
    p.src = sent_to;
    p.protocol = header[2].to_ne_bytes()[1];
    if p.is_icmp() {
        p.src_port = identifier(ends[1]);
        p.dst_port = p.src_port;
    } else {
        (p.dst_port, p.src_port) = ports(ends[0]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_what_a_frame_is() {
        let results = [
            Ok(()),
            Err(Other::Arp),
            Err(Other::NeighbourDiscovery),
            Err(Other::Drop(Reason::FORWARDED)),
            Err(Other::Drop(Reason::FRAGMENT)),
        ];
        for result in results {
            assert_eq!(Parsed::of(result).get(), result);
        }
    }
}
