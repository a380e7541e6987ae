//! IPv4 (RFC 791) and ICMP (RFC 792).

use naru_ebpf_common::{Addr, Reason, protocol};

use super::{ETH_LEN, Frame, ICMP_LEN, IPV4_LEN, IPV4_WORDS, Other, malformed};
use crate::Packet;
use crate::fragment::Part;

/// More fragments follow.
const MORE: u16 = 0x2000;
/// Where the fragment belongs, in eights of bytes.
const OFFSET: u16 = 0x1fff;
const ECHO_REPLY: u8 = super::ECHO_REPLY;
const UNREACHABLE: u8 = 3;
const ECHO: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER: u8 = 12;

#[inline(always)]
pub(super) fn packet<F: Frame>(frame: &F, p: &mut Packet) -> Result<(), Other> {
    let header: [u32; IPV4_WORDS] = malformed(frame.words(ETH_LEN))?;
    let [version_and_len, _, len_high, len_low] = header[0].to_ne_bytes();
    let [id_high, id_low, fragment_high, fragment_low] = header[1].to_ne_bytes();
    let header_len = usize::from(version_and_len & 0x0f) * 4;
    p.src = Addr::v4_word(header[3]);
    p.dst = Addr::v4_word(header[4]);
    p.protocol = header[2].to_ne_bytes()[1];
    if version_and_len >> 4 != 4 || header_len < IPV4_LEN {
        return Err(Other::Drop(Reason::MALFORMED));
    }
    let fragment = u16::from_be_bytes([fragment_high, fragment_low]);
    if fragment & (MORE | OFFSET) != 0 {
        p.part.id = u32::from(u16::from_ne_bytes([id_high, id_low]));
        p.part.which = if fragment & OFFSET == 0 {
            Part::FIRST
        } else {
            Part::LATER
        };
    }
    if p.protocol == protocol::ICMPV6 {
        return Err(Other::Drop(Reason::PROTOCOL_UNSUPPORTED));
    }
    let len = usize::from(u16::from_be_bytes([len_high, len_low]));
    let len = len.wrapping_sub(header_len) as u32;
    super::transport(frame, p, ETH_LEN + header_len, len, icmp)
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
        UNREACHABLE | TIME_EXCEEDED | PARAMETER => embedded(frame, p, l4 + ICMP_LEN),
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
    super::embedded_ends(p, ends);
    Ok(())
}
