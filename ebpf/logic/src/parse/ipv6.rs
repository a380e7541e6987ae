//! IPv6 (RFC 8200) and ICMPv6 (RFC 4443).
//!
//! Options for hops and for the destination are passed over, a few of them; a routing header is
//! nothing that a pod needs, and would say that the destination is another than the one judged.

use naru_ebpf_common::{Addr, Reason, protocol};

use super::{ETH_LEN, Frame, ICMP_LEN, IPV6_ADDR_WORDS, IPV6_LEN, IPV6_SRC, Other, malformed};
use crate::Packet;
use crate::fragment::Part;

/// Extension headers that are passed over.
const EXTENSIONS: usize = 2;
const HOP_BY_HOP: u8 = 0;
const FRAGMENT: u8 = 44;
const FRAGMENT_LEN: usize = 8;
/// More fragments follow.
const MORE: u16 = 1;
/// Where the fragment belongs, in eights of bytes, shifted by three bits.
const OFFSET: u16 = 0xfff8;
const DESTINATION_OPTIONS: u8 = 60;

const ECHO: u8 = 128;
const ECHO_REPLY: u8 = super::ECHO_REPLY_V6;

/// The words of an IPv6 address in a header.
const ADDR: usize = IPV6_ADDR_WORDS;

#[inline(always)]
pub(super) fn packet<F: Frame>(frame: &F, p: &mut Packet) -> Result<(), Other> {
    let [first, second]: [u32; 2] = malformed(frame.words(ETH_LEN))?;
    (p.src, p.dst) = addresses(frame, ETH_LEN)?;
    // In the tables a mapped address is IPv4, which no IPv6 packet may claim to be.
    if first.to_ne_bytes()[0] >> 4 != 6 || p.src.is_v4() || p.dst.is_v4() {
        return Err(Other::Drop(Reason::MALFORMED));
    }
    let [len_high, len_low, next, _] = second.to_ne_bytes();
    let (protocol, skipped) = pass_over(frame, p, next)?;
    p.protocol = protocol;
    if protocol == protocol::ICMP {
        return Err(Other::Drop(Reason::PROTOCOL_UNSUPPORTED));
    }
    let len = u32::from(u16::from_be_bytes([len_high, len_low])).wrapping_sub(skipped as u32);
    super::transport(frame, p, ETH_LEN + IPV6_LEN + skipped, len, icmp)
}

#[inline(always)]
fn addresses<F: Frame>(frame: &F, header: usize) -> Result<(Addr, Addr), Other> {
    let words: [u32; 2 * ADDR] = malformed(frame.words(header + IPV6_SRC))?;
    let [a, b, c, d, e, f, g, h] = words;
    let (src, dst) = ([a, b, c, d], [e, f, g, h]);
    Ok((Addr { words: src }, Addr { words: dst }))
}

/// The protocol behind the extension headers, the first of which is a `next`, and their bytes. A
/// fragment header is the last before what is fragmented.
#[inline(always)]
fn pass_over<F: Frame>(frame: &F, p: &mut Packet, next: u8) -> Result<(u8, usize), Other> {
    let (mut next, mut skipped) = (next, 0);
    for _ in 0..EXTENSIONS {
        if next != HOP_BY_HOP && next != DESTINATION_OPTIONS {
            break;
        }
        let header = malformed(frame.half(ETH_LEN + IPV6_LEN + skipped))?;
        let [following, eights] = header.to_ne_bytes();
        next = following;
        skipped += 8 * (usize::from(eights) + 1);
    }
    if next != FRAGMENT {
        return Ok((next, skipped));
    }
    let [first, id]: [u32; 2] = malformed(frame.words(ETH_LEN + IPV6_LEN + skipped))?;
    let [following, _, high, low] = first.to_ne_bytes();
    let fragment = u16::from_be_bytes([high, low]);
    if fragment & (MORE | OFFSET) != 0 {
        p.part.id = id;
        p.part.which = if fragment & OFFSET == 0 {
            Part::FIRST
        } else {
            Part::LATER
        };
    }
    Ok((following, skipped + FRAGMENT_LEN))
}

#[inline(always)]
fn icmp<F: Frame>(frame: &F, p: &mut Packet, l4: usize) -> Result<(), Other> {
    let header: [u32; 2] = malformed(frame.words(l4))?;
    p.icmp_type = header[0].to_ne_bytes()[0];
    match p.icmp_type {
        ECHO | ECHO_REPLY => {
            super::echo(p, header[1]);
            Ok(())
        }
        // Unreachable, too big, time exceeded, parameter problem.
        1..=4 => embedded(frame, p, l4 + ICMP_LEN),
        // Multicast listeners, routers and neighbours, listeners again.
        130..=137 | 143 => Err(Other::NeighbourDiscovery),
        _ => Err(Other::Drop(Reason::PROTOCOL_UNSUPPORTED)),
    }
}

/// An ICMP error stands for an answer to the packet that it embeds.
#[inline(always)]
fn embedded<F: Frame>(frame: &F, p: &mut Packet, inner: usize) -> Result<(), Other> {
    let [_, second]: [u32; 2] = malformed(frame.words(inner))?;
    let (receiver, sent_to) = addresses(frame, inner)?;
    let ends: [u32; 2] = malformed(frame.words(inner + IPV6_LEN))?;
    let next = second.to_ne_bytes()[2];
    // Extension headers in the embedded packet would move its ports; nobody here sends any.
    let is_plain = protocol::has_ports(next) || next == protocol::ICMPV6;
    if !is_plain || receiver != p.dst || sent_to.is_v4() {
        return Err(Other::Drop(Reason::ICMP_UNRELATED));
    }
    p.foreign_sender = u8::from(p.src != sent_to);
    p.related = 1;
    p.src = sent_to;
    p.protocol = next;
    super::embedded_ends(p, ends);
    Ok(())
}
