//! Headers: from bytes to a [`Packet`], IPv4 (RFC 791), TCP (RFC 9293), UDP (RFC 768), ICMP (RFC 792).
//!
//! Generic over how bytes are read, because the kernel checks bounds against the packet's end and
//! the host against a slice. Fragments are refused: without its ports a fragment can't be judged,
//! and pods and uplink share one MTU, so none is made inside the cluster.

use naru_ebpf_common::{Addr, Port, Reason, protocol};

use crate::Packet;

/// Bytes of an Ethernet header.
pub const ETH_LEN: usize = 14;
/// Offset of the ethertype.
const ETHERTYPE: usize = 12;
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
const ICMP_LEN: usize = 8;
const IPV4_MIN: usize = 20;

/// Reads from a frame.
pub trait Frame {
    /// The `N` bytes at `offset`, if the frame has them.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
    /// Bytes of the whole frame.
    fn len(&self) -> u32;
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
    p.len = frame.len().saturating_sub(ETH_LEN as u32);
    match u16::from_be_bytes(malformed(frame.read(ETHERTYPE))?) {
        IPV4 => ipv4(frame, p),
        IPV6 => Err(ipv6(frame)),
        ARP => Err(Other::Arp),
        _ => Err(Other::Drop(Reason::NOT_IP)),
    }
}

/// IPv6 is not forwarded yet; neighbour discovery has to work all the same.
#[inline(always)]
fn ipv6<F: Frame>(frame: &F) -> Other {
    const NEXT_HEADER: usize = ETH_LEN + 6;
    const ICMPV6_TYPE: usize = ETH_LEN + 40;
    let next: Option<[u8; 1]> = frame.read(NEXT_HEADER);
    let kind: Option<[u8; 1]> = frame.read(ICMPV6_TYPE);
    match (next, kind) {
        (Some([protocol::ICMPV6]), Some([133..=137])) => Other::NeighbourDiscovery,
        _ => Other::Drop(Reason::IPV6_UNSUPPORTED),
    }
}

#[inline(always)]
fn ipv4<F: Frame>(frame: &F, p: &mut Packet) -> Result<(), Other> {
    let header: [u8; IPV4_MIN] = malformed(frame.read(ETH_LEN))?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    p.src = addr(&header, 12);
    p.dst = addr(&header, 16);
    p.protocol = header[9];
    if header[0] >> 4 != 4 || header_len < IPV4_MIN {
        return Err(Other::Drop(Reason::MALFORMED));
    }
    if u16::from_be_bytes([header[6], header[7]]) & FRAGMENT_BITS != 0 {
        return Err(Other::Drop(Reason::FRAGMENT));
    }
    let l4 = ETH_LEN + header_len;
    p.l4_offset = l4 as u16;
    match p.protocol {
        protocol::TCP => tcp(frame, p, l4),
        protocol::UDP => ports(frame, p, l4),
        protocol::ICMP => icmp(frame, p, l4),
        _ => Err(Other::Drop(Reason::PROTOCOL_UNSUPPORTED)),
    }
}

#[inline(always)]
fn addr(header: &[u8; IPV4_MIN], at: usize) -> Addr {
    Addr::v4([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

#[inline(always)]
fn port(bytes: [u8; 2]) -> Port {
    Port(u16::from_ne_bytes(bytes))
}

#[inline(always)]
fn ports<F: Frame>(frame: &F, p: &mut Packet, l4: usize) -> Result<(), Other> {
    let bytes: [u8; 8] = malformed(frame.read(l4))?;
    p.src_port = port([bytes[0], bytes[1]]);
    p.dst_port = port([bytes[2], bytes[3]]);
    Ok(())
}

#[inline(always)]
fn tcp<F: Frame>(frame: &F, p: &mut Packet, l4: usize) -> Result<(), Other> {
    let bytes: [u8; 20] = malformed(frame.read(l4))?;
    p.src_port = port([bytes[0], bytes[1]]);
    p.dst_port = port([bytes[2], bytes[3]]);
    p.tcp_flags = bytes[13];
    Ok(())
}

#[inline(always)]
fn icmp<F: Frame>(frame: &F, p: &mut Packet, l4: usize) -> Result<(), Other> {
    let bytes: [u8; ICMP_LEN] = malformed(frame.read(l4))?;
    p.icmp_type = bytes[0];
    match bytes[0] {
        ICMP_ECHO | ICMP_ECHO_REPLY => {
            p.src_port = port([bytes[4], bytes[5]]);
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
    let header: [u8; IPV4_MIN] = malformed(frame.read(inner))?;
    // Options in the embedded header would move its ports; nobody here sends any.
    if header[0] != 0x45 {
        return Err(Other::Drop(Reason::ICMP_UNRELATED));
    }
    let ends: [u8; 8] = malformed(frame.read(inner + IPV4_MIN))?;
    let (sent_to, receiver) = (addr(&header, 16), addr(&header, 12));
    p.foreign_sender = u8::from(p.src != sent_to);
    p.related = 1;
    p.src = sent_to;
    if receiver != p.dst {
        return Err(Other::Drop(Reason::ICMP_UNRELATED));
    }
    p.protocol = header[9];
    if p.is_icmp() {
        p.src_port = port([ends[4], ends[5]]);
        p.dst_port = p.src_port;
    } else {
        p.src_port = port([ends[2], ends[3]]);
        p.dst_port = port([ends[0], ends[1]]);
    }
    Ok(())
}
