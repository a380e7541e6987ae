//! Turning a packet away: a TCP reset (RFC 9293, section 3.10.7.1) or an ICMP port unreachable
//! (RFC 792) takes its place, addressed to its sender.
//!
//! Every byte of the answer is written, and the packet's offloads are dropped, so that it does not
//! matter whether the packet came with a checksum, was to get one from hardware, or stood for many
//! segments. A packet with IP options is not answered: nobody here sends any.

use core::ptr;

use aya_ebpf::bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_NET;
use aya_ebpf::helpers::{bpf_csum_diff, bpf_skb_change_tail};
use aya_ebpf::programs::TcContext;
use naru_ebpf_common::protocol;
use naru_ebpf_logic::Packet;
use naru_ebpf_logic::parse::{ETH_LEN, IPV4_LEN};

/// Words of a message from the IP header on.
const RESET_WORDS: usize = 10;
const UNREACHABLE_WORDS: usize = 14;
/// Words of an IPv4 header, of a TCP header.
const HEADER_WORDS: usize = 5;
/// Words of the refused packet that an ICMP error embeds (RFC 792: the header and 64 bits).
const EMBEDDED_WORDS: usize = 7;
/// First word of what an ICMP error embeds.
const EMBEDDED: usize = 7;

/// Version 4, five words, no class.
const VERSION: u32 = 0x4500_0000;
/// No identification, not to be fragmented.
const DO_NOT_FRAGMENT: u32 = 0x4000;
const TTL: u32 = 64;
/// Destination unreachable, because of the port.
const PORT_UNREACHABLE: u32 = 0x0303_0000;
/// Five words, flag RST, no window.
const RESET: u32 = 0x5004_0000;
const WITH_ACK: u32 = 0x0010_0000;

/// Bytes taken out of the packet, more than lie between its start and its layer 4 header: a
/// checksum that was left to hardware is forgotten with the place where it was to begin.
const CUT: u32 = 64;

type Message = [u32; UNREACHABLE_WORDS];

/// Makes the answer of the packet; 0 when it is one. Packet pointers are invalid afterwards.
#[inline(never)]
pub(crate) fn answer(ctx: &TcContext, p: &Packet) -> i64 {
    if usize::from(p.l4_offset) != ETH_LEN + IPV4_LEN {
        return -1;
    }
    let mut message: Message = [0; UNREACHABLE_WORDS];
    let made = if p.protocol == protocol::TCP {
        reset(ctx, p, &mut message).and_then(|()| replace::<RESET_WORDS>(ctx, &message))
    } else {
        unreachable(ctx, p, &mut message).and_then(|()| replace::<UNREACHABLE_WORDS>(ctx, &message))
    };
    match made {
        Ok(()) => 0,
        Err(code) => code,
    }
}

#[inline(always)]
fn reset(ctx: &TcContext, p: &Packet, message: &mut Message) -> Result<(), i64> {
    ip_header(p, protocol::TCP, RESET_WORDS, message);
    let first: u32 = ctx.load(ETH_LEN)?;
    let [_, seq, _, flags, _]: [u32; HEADER_WORDS] = ctx.load(usize::from(p.l4_offset))?;
    message[5] = u32::from(p.dst_port.0) | u32::from(p.src_port.0) << 16;
    if p.tcp.flags & protocol::ACK != 0 {
        message[6] = p.tcp.ack.to_be();
        message[8] = RESET.to_be();
    } else {
        let header = (u32::from_be(flags) >> 28) * 4 + IPV4_LEN as u32;
        let data = (u32::from_be(first) & 0xffff).wrapping_sub(header);
        let flags = u32::from(p.tcp.flags);
        let end = u32::from_be(seq)
            .wrapping_add(data)
            .wrapping_add(flags & 1)
            .wrapping_add(flags >> 1 & 1);
        message[7] = end.to_be();
        message[8] = (RESET | WITH_ACK).to_be();
    }
    // The pseudo header: both addresses, protocol and length.
    let seed = sum(&message[3..5], 0)?;
    let seed = sum(
        &[(u32::from(protocol::TCP) << 16 | 4 * HEADER_WORDS as u32).to_be()],
        seed,
    )?;
    message[9] = u32::from(fold(sum(&message[5..RESET_WORDS], seed)?));
    Ok(())
}

#[inline(always)]
fn unreachable(ctx: &TcContext, p: &Packet, message: &mut Message) -> Result<(), i64> {
    ip_header(p, protocol::ICMP, UNREACHABLE_WORDS, message);
    let about: [u32; EMBEDDED_WORDS] = ctx.load(ETH_LEN)?;
    message[EMBEDDED..].copy_from_slice(&about);
    message[5] = PORT_UNREACHABLE.to_be();
    let checksum = fold(sum(&message[5..], 0)?);
    message[5] |= u32::from(checksum) << 16;
    Ok(())
}

/// A header from the refused packet's destination to its source.
#[inline(always)]
fn ip_header(p: &Packet, protocol: u8, words: usize, message: &mut Message) {
    message[0] = (VERSION | 4 * words as u32).to_be();
    message[1] = DO_NOT_FRAGMENT.to_be();
    message[2] = (TTL << 24 | u32::from(protocol) << 16).to_be();
    message[3] = p.dst.word_v4();
    message[4] = p.src.word_v4();
    if let Ok(sum) = sum(&message[..HEADER_WORDS], 0) {
        message[2] |= u32::from(fold(sum)) << 16;
    }
}

/// Puts the first `WORDS` of a message in place of the packet, on the way back to who handed the
/// packet over.
#[inline(always)]
fn replace<const WORDS: usize>(ctx: &TcContext, message: &Message) -> Result<(), i64> {
    let [a, b, c, d, e, f]: [u16; 6] = ctx.load(0)?;
    let len = (ETH_LEN + 4 * WORDS) as u32;
    // SAFETY: the context is valid while the program runs.
    let resized = unsafe { bpf_skb_change_tail(ctx.skb.skb, len + CUT, 0) };
    if resized != 0 {
        return Err(resized);
    }
    ctx.adjust_room(-(CUT as i32), BPF_ADJ_ROOM_NET, 0)?;
    ctx.store(0, &[d, e, f, a, b, c], 0)?;
    let mut exact = [0; WORDS];
    exact.copy_from_slice(&message[..WORDS]);
    ctx.store(ETH_LEN, &exact, 0)
}

/// The sum of some words and of what was summed before, not folded yet.
#[inline(always)]
fn sum(words: &[u32], before: u32) -> Result<u32, i64> {
    // SAFETY: the words lie on the stack and have the given length.
    let sum = unsafe {
        bpf_csum_diff(
            ptr::null_mut(),
            0,
            words.as_ptr().cast_mut(),
            (words.len() * 4) as u32,
            before,
        )
    };
    if sum < 0 { Err(sum) } else { Ok(sum as u32) }
}

/// The internet checksum of a sum (RFC 1071), as it lies in a header.
#[inline(always)]
fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}
