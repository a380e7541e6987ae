//! Headers: from bytes to a [`Packet`]. Here what both families share: Ethernet, TCP (RFC 9293), UDP
//! (RFC 768), SCTP (RFC 9260).
//!
//! Generic over how bytes are read, because the kernel checks bounds against the packet's end and
//! the host against a slice. A fragment without ports is a packet without ports here; see
//! [`crate::fragment`].

mod ipv4;
mod ipv6;
pub mod plain;

use naru_ebpf_common::{Port, Reason, protocol};

use crate::{Packet, Segment, sctp};

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

/// Bytes of an ICMP header, of either family; the embedded packet follows.
pub const ICMP_LEN: usize = 8;
/// Bytes of an IPv4 header without options.
pub const IPV4_LEN: usize = 20;
pub(crate) const IPV4_WORDS: usize = 5;
/// Bytes of an IPv6 header without extensions.
pub const IPV6_LEN: usize = 40;
/// Words of an IPv6 address.
pub(crate) const IPV6_ADDR_WORDS: usize = 4;
/// Offset of the source in an IPv6 header; the destination follows.
pub(crate) const IPV6_SRC: usize = 8;
/// ICMP type of an answered echo (RFC 792).
pub(crate) const ECHO_REPLY: u8 = 0;
/// ICMPv6 type of an answered echo (RFC 4443).
pub(crate) const ECHO_REPLY_V6: u8 = 129;
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
    /// Neighbour discovery (RFC 4861) or multicast listener discovery (RFC 3810): matters of the
    /// link.
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
        IPV4 => ipv4::packet(frame, p),
        IPV6 => ipv6::packet(frame, p),
        ARP => Err(Other::Arp),
        _ => Err(Other::Drop(Reason::NOT_IP)),
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

/// The header of TCP, UDP, SCTP or ICMP (of either family) at `l4`; `len` are its bytes with all that
/// follows, as the IP header tells them.
#[inline(always)]
fn transport<F: Frame>(
    frame: &F,
    p: &mut Packet,
    l4: usize,
    len: u32,
    icmp: impl FnOnce(&F, &mut Packet, usize) -> Result<(), Other>,
) -> Result<(), Other> {
    p.l4_offset = l4 as u16;
    if p.part.is_later() {
        return Ok(());
    }
    match p.protocol {
        protocol::TCP => tcp(frame, p, l4, len),
        protocol::UDP => udp(frame, p, l4),
        protocol::SCTP => sctp(frame, p, l4),
        protocol::ICMP | protocol::ICMPV6 => icmp(frame, p, l4),
        _ => Err(Other::Drop(Reason::PROTOCOL_UNSUPPORTED)),
    }
}

#[inline(always)]
fn udp<F: Frame>(frame: &F, p: &mut Packet, l4: usize) -> Result<(), Other> {
    let header: [u32; 2] = malformed(frame.words(l4))?;
    (p.src_port, p.dst_port) = ports(header[0]);
    Ok(())
}

#[inline(always)]
fn sctp<F: Frame>(frame: &F, p: &mut Packet, l4: usize) -> Result<(), Other> {
    let header: [u32; sctp::WORDS] = malformed(frame.words(l4))?;
    (p.src_port, p.dst_port) = ports(header[0]);
    p.tcp.flags = sctp::flags(header[3].to_ne_bytes()[0]);
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

/// An echo, whose identifier stands for both ports.
#[inline(always)]
fn echo(p: &mut Packet, second_word: u32) {
    p.src_port = identifier(second_word);
    p.dst_port = p.src_port;
}

/// The first two words after the IP header that an ICMP error embeds: the ports of the packet that
/// it is about, seen from who answers.
#[inline(always)]
fn embedded_ends(p: &mut Packet, words: [u32; 2]) {
    if p.is_icmp() {
        echo(p, words[1]);
    } else {
        (p.dst_port, p.src_port) = ports(words[0]);
    }
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
