//! Answers over IPv6.

use aya_ebpf::programs::TcContext;
use naru_ebpf_common::protocol;
use naru_ebpf_logic::Packet;
use naru_ebpf_logic::parse::{ETH_LEN, IPV6_LEN};

use super::{TCP_WORDS, TTL, fold, pseudo_header, replace, reset_of, sum};

/// Words of a header, of a reset, of an error from the IP header on.
const HEADER: usize = 10;
const RESET: usize = HEADER + TCP_WORDS;
const ERROR: usize = HEADER + 2;
/// Words of the refused packet that an error embeds: the header and the ports with it. More of it
/// is allowed (RFC 4443, section 3.1), and of use to nobody.
const EMBEDDED: usize = 12;
/// The same of one that is too big, which may be the first fragment of one that was larger.
const EMBEDDED_FRAGMENT: usize = EMBEDDED + 2;
/// Where the addresses are in a header.
const ADDRESSES: usize = 2;

const VERSION: u32 = 0x6000_0000;
/// Destination unreachable, because of the port.
const PORT_UNREACHABLE: u32 = 0x0104_0000;
/// The packet does not fit; routers do not cut packets of IPv6.
const PACKET_TOO_BIG: u32 = 0x0200_0000;

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
    let answer = has_no_extensions(p)
        .and_then(|()| error::<EMBEDDED, { ERROR + EMBEDDED }>(ctx, p, PORT_UNREACHABLE, 0));
    super::code(answer)
}

#[inline(never)]
pub(super) fn too_big(ctx: &TcContext, p: &Packet) -> i64 {
    let fits = p.verdict.fits().into();
    super::code(error::<
        EMBEDDED_FRAGMENT,
        { ERROR + EMBEDDED_FRAGMENT },
    >(ctx, p, PACKET_TOO_BIG, fits))
}

/// An error of a kind, with what its second word says, and `EMBEDDED` words of the packet: `WORDS` in
/// all.
#[inline(always)]
fn error<const EMBEDDED: usize, const WORDS: usize>(
    ctx: &TcContext,
    p: &Packet,
    kind: u32,
    more: u32,
) -> Result<(), i64> {
    let mut message: [u32; WORDS] = [0; WORDS];
    header(p, protocol::ICMPV6, WORDS, &mut message);
    let about: [u32; EMBEDDED] = ctx.load(ETH_LEN)?;
    message[WORDS - EMBEDDED..].copy_from_slice(&about);
    message[HEADER] = kind.to_be();
    message[HEADER + 1] = more.to_be();
    let len = 4 * (WORDS - HEADER) as u32;
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
