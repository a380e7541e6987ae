//! Answers over IPv6.

use aya_ebpf::programs::TcContext;
use naru_ebpf_common::protocol;
use naru_ebpf_logic::Packet;
use naru_ebpf_logic::parse::{ETH_LEN, IPV6_LEN};

use super::{TCP_WORDS, TTL, fold, pseudo_header, replace, reset_of, sum};

/// Words of a header, of a reset, of an error from the IP header on.
const HEADER: usize = 10;
const RESET: usize = HEADER + TCP_WORDS;
const ERROR: usize = HEADER + 2 + EMBEDDED;
/// Words of the refused packet that an error embeds: the header and the ports with it. More of it
/// is allowed (RFC 4443, section 3.1), and of use to nobody.
const EMBEDDED: usize = 12;
/// Where the addresses are in a header.
const ADDRESSES: usize = 2;

const VERSION: u32 = 0x6000_0000;
/// Destination unreachable, because of the port.
const PORT_UNREACHABLE: u32 = 0x0104_0000;

#[inline(never)]
pub(super) fn reset(ctx: &TcContext, p: &Packet) -> i64 {
    super::code(try_reset(ctx, p))
}

#[inline(always)]
fn try_reset(ctx: &TcContext, p: &Packet) -> Result<(), i64> {
    has_no_extensions(p)?;
    let second: u32 = ctx.load(ETH_LEN + 4)?;
    let mut message = [0; RESET];
    header(p, protocol::TCP, RESET, &mut message);
    let reset = reset_of(ctx, p, u32::from_be(second) >> 16)?;
    message[HEADER..].copy_from_slice(&reset);
    let seed = pseudo_header(
        &message[ADDRESSES..HEADER],
        protocol::TCP,
        4 * TCP_WORDS as u32,
    )?;
    message[RESET - 1] = fold(sum(&message[HEADER..], seed)?);
    replace(ctx, &message)
}

#[inline(never)]
pub(super) fn unreachable(ctx: &TcContext, p: &Packet) -> i64 {
    super::code(try_unreachable(ctx, p))
}

#[inline(always)]
fn try_unreachable(ctx: &TcContext, p: &Packet) -> Result<(), i64> {
    has_no_extensions(p)?;
    let mut message: [u32; ERROR] = [0; ERROR];
    header(p, protocol::ICMPV6, ERROR, &mut message);
    let about: [u32; EMBEDDED] = ctx.load(ETH_LEN)?;
    message[ERROR - EMBEDDED..].copy_from_slice(&about);
    message[HEADER] = PORT_UNREACHABLE.to_be();
    let len = 4 * (ERROR - HEADER) as u32;
    let seed = pseudo_header(&message[ADDRESSES..HEADER], protocol::ICMPV6, len)?;
    message[HEADER] |= fold(sum(&message[HEADER..], seed)?) << 16;
    replace(ctx, &message)
}

#[inline(always)]
fn has_no_extensions(p: &Packet) -> Result<(), i64> {
    if usize::from(p.l4_offset) == ETH_LEN + IPV6_LEN {
        Ok(())
    } else {
        Err(-1)
    }
}

/// A header from the refused packet's destination to its source, for `words` in all.
#[inline(always)]
fn header(p: &Packet, protocol: u8, words: usize, message: &mut [u32]) {
    message[0] = VERSION.to_be();
    let payload = 4 * (words - HEADER) as u32;
    message[1] = (payload << 16 | u32::from(protocol) << 8 | TTL).to_be();
    message[2..6].copy_from_slice(&p.dst.words);
    message[6..10].copy_from_slice(&p.src.words);
}
