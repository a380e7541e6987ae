//! Turning a packet away: a TCP reset (RFC 9293, section 3.10.7.1) or a port unreachable of ICMP
//! (RFC 792) or ICMPv6 (RFC 4443) takes its place, addressed to its sender; or, for a packet that is
//! too big, the ICMP error by which senders find out what fits (RFC 1191, RFC 8201).
//!
//! Every byte of the answer is written, and the packet's offloads are dropped, so that it does not
//! matter whether the packet came with a checksum, was to get one from hardware, or stood for many
//! segments. A packet with IP options or extension headers is not answered: nobody here sends any.

mod ipv4;
mod ipv6;

use core::ptr;

use aya_ebpf::bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_NET;
use aya_ebpf::helpers::{bpf_csum_diff, bpf_skb_change_tail};
use aya_ebpf::programs::TcContext;
use naru_ebpf_common::{Reason, protocol};
use naru_ebpf_logic::Packet;
use naru_ebpf_logic::parse::ETH_LEN;

/// Words of a TCP header.
const TCP_WORDS: usize = 5;
/// Hops that an answer may go.
const TTL: u32 = 64;
/// Five words, flag RST, no window.
const RESET: u32 = 0x5004_0000;
const WITH_ACK: u32 = 0x0010_0000;

/// Bytes taken out of the packet, more than lie between its start and its layer 4 header: a
/// checksum that was left to hardware is forgotten with the place where it was to begin.
const CUT: u32 = 64;

/// Makes the answer of the packet; 0 when it is one. Packet pointers are invalid afterwards.
#[inline(never)]
pub(crate) fn answer(ctx: &TcContext, p: &Packet) -> i64 {
    let is_too_big = p.verdict.reason() == Reason::TOO_BIG;
    match (p.dst.is_v4(), p.protocol) {
        (true, _) if is_too_big => ipv4::too_big(ctx, p),
        (false, _) if is_too_big => ipv6::too_big(ctx, p),
        (true, protocol::TCP) => ipv4::reset(ctx, p),
        (true, _) => ipv4::unreachable(ctx, p),
        (false, protocol::TCP) => ipv6::reset(ctx, p),
        (false, _) => ipv6::unreachable(ctx, p),
    }
}

/// The code of a result: 0 is success.
#[inline(always)]
fn code(made: Result<(), i64>) -> i64 {
    match made {
        Ok(()) => 0,
        Err(code) => code,
    }
}

/// The TCP header of a reset, all but its checksum, for a segment of `len` bytes.
#[inline(always)]
fn reset_of(ctx: &TcContext, p: &Packet, len: u32) -> Result<[u32; TCP_WORDS], i64> {
    let [_, seq, _, flags, _]: [u32; TCP_WORDS] = ctx.load(usize::from(p.l4_offset))?;
    let ports = u32::from(p.dst_port.0) | u32::from(p.src_port.0) << 16;
    if p.tcp.flags & protocol::ACK != 0 {
        return Ok([ports, p.tcp.ack.to_be(), 0, RESET.to_be(), 0]);
    }
    let data = len.wrapping_sub((u32::from_be(flags) >> 28) * 4);
    let flags = u32::from(p.tcp.flags);
    let end = u32::from_be(seq)
        .wrapping_add(data)
        .wrapping_add(flags & 1)
        .wrapping_add(flags >> 1 & 1);
    Ok([ports, 0, end.to_be(), (RESET | WITH_ACK).to_be(), 0])
}

/// The sum of a pseudo header: addresses, protocol and length of what follows them.
#[inline(always)]
fn pseudo_header(addresses: &[u32], protocol: u8, len: u32) -> Result<u32, i64> {
    let seed = sum(addresses, 0)?;
    sum(&[(u32::from(protocol) << 16 | len).to_be()], seed)
}

/// Puts a message in place of the packet behind its Ethernet header, on the way back to who handed
/// the packet over.
#[inline(always)]
fn replace<const WORDS: usize>(ctx: &TcContext, message: &[u32; WORDS]) -> Result<(), i64> {
    let [a, b, c, d, e, f]: [u16; 6] = ctx.load(0)?;
    let len = (ETH_LEN + 4 * WORDS) as u32;
    // SAFETY: the context is valid while the program runs.
    let resized = unsafe { bpf_skb_change_tail(ctx.skb.skb, len + CUT, 0) };
    if resized != 0 {
        return Err(resized);
    }
    ctx.adjust_room(-(CUT as i32), BPF_ADJ_ROOM_NET, 0)?;
    ctx.store(0, &[d, e, f, a, b, c], 0)?;
    ctx.store(ETH_LEN, message, 0)
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
fn fold(sum: u32) -> u32 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    u32::from(!(sum as u16))
}
