//! IPv6: addresses of sixteen bytes, no checksum of the header, and ICMPv6 under the pseudo header.
//!
//! Hardware that summed the whole packet (`CHECKSUM_COMPLETE`) included the addresses. In IPv4 their
//! change is cancelled by the header's own checksum; here it has to be told to the sum, which
//! `BPF_F_RECOMPUTE_CSUM` does.

use aya_ebpf::bindings::{BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM};
use aya_ebpf::programs::TcContext;
use naru_ebpf_common::protocol;
use naru_ebpf_logic::Packet;
use naru_ebpf_logic::parse::{ETH_LEN, ICMP_LEN, IPV6_LEN};

use super::{ICMP_CHECKSUM, difference, embedded_ends, identifier, transport};

const PAYLOAD_LEN: usize = 4;
const ADDRESSES: usize = 8;
/// Words of two addresses.
const WORDS: usize = 8;
/// Words of one.
const HALF: usize = 4;

type Addresses = [u32; WORDS];

/// Out of line: two addresses, old and new, take much of a stack.
#[inline(never)]
pub(super) fn write(ctx: &TcContext, p: &Packet) -> i64 {
    super::code(try_write(ctx, p))
}

#[inline(always)]
fn try_write(ctx: &TcContext, p: &Packet) -> Result<(), i64> {
    let new = addresses(&p.src.words, &p.dst.words);
    let change = write_addresses(ctx, ETH_LEN, &new, BPF_F_RECOMPUTE_CSUM.into())?;
    if p.part.is_later() {
        return Ok(());
    }
    if p.protocol != protocol::ICMPV6 {
        let len: u16 = ctx.load(ETH_LEN + PAYLOAD_LEN)?;
        let end = ETH_LEN + IPV6_LEN + usize::from(u16::from_be(len));
        return transport(ctx, p, change, end);
    }
    let l4 = usize::from(p.l4_offset);
    under_pseudo_header(ctx, l4, change)?;
    identifier(ctx, p, l4, l4 + ICMP_CHECKSUM)
}

#[inline(always)]
fn addresses(src: &[u32; HALF], dst: &[u32; HALF]) -> Addresses {
    let mut both = [0; WORDS];
    both[..HALF].copy_from_slice(src);
    both[HALF..].copy_from_slice(dst);
    both
}

/// Writes the addresses of the IP header at `header`; returns the difference.
#[inline(always)]
fn write_addresses(
    ctx: &TcContext,
    header: usize,
    new: &Addresses,
    flags: u64,
) -> Result<u64, i64> {
    let old: Addresses = ctx.load(header + ADDRESSES)?;
    let change = difference(&old, new)?;
    ctx.store(header + ADDRESSES, new, flags)?;
    Ok(change)
}

#[inline(always)]
fn under_pseudo_header(ctx: &TcContext, l4: usize, change: u64) -> Result<(), i64> {
    ctx.l4_csum_replace(l4 + ICMP_CHECKSUM, 0, change, BPF_F_PSEUDO_HDR.into())
}

/// An ICMP error: the outer header goes to the receiver, the embedded one becomes the packet that
/// the receiver once sent. The error's checksum covers both. The sender is kept when it is a
/// router.
#[inline(never)]
pub(super) fn write_error(ctx: &TcContext, p: &Packet) -> i64 {
    super::code(try_write_error(ctx, p))
}

#[inline(always)]
fn try_write_error(ctx: &TcContext, p: &Packet) -> Result<(), i64> {
    let l4 = usize::from(p.l4_offset);
    let sender: [u32; HALF] = ctx.load(ETH_LEN + ADDRESSES)?;
    let sender = if p.foreign_sender != 0 {
        sender
    } else {
        p.src.words
    };
    let outer = addresses(&sender, &p.dst.words);
    let change = write_addresses(ctx, ETH_LEN, &outer, BPF_F_RECOMPUTE_CSUM.into())?;
    under_pseudo_header(ctx, l4, change)?;
    let inner = addresses(&p.dst.words, &p.src.words);
    let change = write_addresses(ctx, l4 + ICMP_LEN, &inner, 0)?;
    ctx.l4_csum_replace(l4 + ICMP_CHECKSUM, 0, change, 0)?;
    embedded_ends(ctx, p, IPV6_LEN)
}
