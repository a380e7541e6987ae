//! Answers over IPv4.

use aya_ebpf::programs::TcContext;
use naru_ebpf_common::protocol;
use naru_ebpf_logic::Packet;
use naru_ebpf_logic::parse::{ETH_LEN, IPV4_LEN};

use super::{TCP_WORDS, TTL, fold, pseudo_header, replace, reset_of, sum};

/// Words of a header, of a reset, of an error from the IP header on.
const HEADER: usize = 5;
const RESET: usize = HEADER + TCP_WORDS;
const ERROR: usize = HEADER + 2 + EMBEDDED;
/// Words of the refused packet that an error embeds (RFC 792: the header and 64 bits).
const EMBEDDED: usize = 7;

/// Version 4, five words, no class.
const VERSION: u32 = 0x4500_0000;
/// No identification, not to be fragmented.
const DO_NOT_FRAGMENT: u32 = 0x4000;
/// Destination unreachable, because of the port.
const PORT_UNREACHABLE: u32 = 0x0303_0000;
/// Destination unreachable, because the packet does not fit and may not be cut.
const FRAGMENTATION_NEEDED: u32 = 0x0304_0000;

#[inline(never)]
pub(super) fn reset(ctx: &TcContext, p: &Packet) -> i64 {
    super::code(try_reset(ctx, p))
}

#[inline(always)]
fn try_reset(ctx: &TcContext, p: &Packet) -> Result<(), i64> {
    has_no_options(p)?;
    let first: u32 = ctx.load(ETH_LEN)?;
    let len = (u32::from_be(first) & 0xffff).wrapping_sub(IPV4_LEN as u32);
    let mut message = [0; RESET];
    header(p, protocol::TCP, RESET, &mut message)?;
    message[HEADER..].copy_from_slice(&reset_of(ctx, p, len)?);
    let seed = pseudo_header(&message[3..HEADER], protocol::TCP, 4 * TCP_WORDS as u32)?;
    message[RESET - 1] = fold(sum(&message[HEADER..], seed)?);
    replace(ctx, &message)
}

#[inline(never)]
pub(super) fn unreachable(ctx: &TcContext, p: &Packet) -> i64 {
    super::code(error(ctx, p, PORT_UNREACHABLE, 0))
}

#[inline(never)]
pub(super) fn too_big(ctx: &TcContext, p: &Packet) -> i64 {
    super::code(error(ctx, p, FRAGMENTATION_NEEDED, p.verdict.fits().into()))
}

/// An error of a kind, with what its second word says.
#[inline(always)]
fn error(ctx: &TcContext, p: &Packet, kind: u32, more: u32) -> Result<(), i64> {
    has_no_options(p)?;
    let about: [u32; EMBEDDED] = ctx.load(ETH_LEN)?;
    let mut message = [0; ERROR];
    header(p, protocol::ICMP, ERROR, &mut message)?;
    message[ERROR - EMBEDDED..].copy_from_slice(&about);
    message[HEADER] = kind.to_be();
    message[HEADER + 1] = more.to_be();
    message[HEADER] |= fold(sum(&message[HEADER..], 0)?) << 16;
    replace(ctx, &message)
}

#[inline(always)]
fn has_no_options(p: &Packet) -> Result<(), i64> {
    if usize::from(p.l4_offset) == ETH_LEN + IPV4_LEN {
        Ok(())
    } else {
        Err(-1)
    }
}

/// A header from the refused packet's destination to its source, for `words` in all.
#[inline(always)]
fn header(p: &Packet, protocol: u8, words: usize, message: &mut [u32]) -> Result<(), i64> {
    message[0] = (VERSION | 4 * words as u32).to_be();
    message[1] = DO_NOT_FRAGMENT.to_be();
    message[2] = (TTL << 24 | u32::from(protocol) << 16).to_be();
    message[3] = p.dst.word_v4();
    message[4] = p.src.word_v4();
    message[2] |= fold(sum(&message[..HEADER], 0)?) << 16;
    Ok(())
}
