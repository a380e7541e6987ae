//! IPv4: addresses of four bytes, and a checksum of the header itself.

use aya_ebpf::programs::TcContext;
use naru_ebpf_common::protocol;
use naru_ebpf_logic::Packet;
use naru_ebpf_logic::parse::{ETH_LEN, ICMP_LEN, IPV4_LEN};

use super::{ICMP_CHECKSUM, difference, embedded_ends, identifier, transport};

const TOTAL_LEN: usize = 2;
const CHECKSUM: usize = 10;
const ADDRESSES: usize = 12;

#[inline(never)]
pub(super) fn write(ctx: &TcContext, p: &Packet) -> i64 {
    super::code(try_write(ctx, p))
}

#[inline(always)]
fn try_write(ctx: &TcContext, p: &Packet) -> Result<(), i64> {
    let change = write_addresses(ctx, ETH_LEN, [p.src.word_v4(), p.dst.word_v4()])?;
    if p.part.is_later() {
        return Ok(());
    }
    if p.protocol == protocol::ICMP {
        let l4 = usize::from(p.l4_offset);
        identifier(ctx, p, l4, l4 + ICMP_CHECKSUM)
    } else {
        let len: u16 = ctx.load(ETH_LEN + TOTAL_LEN)?;
        transport(ctx, p, change, ETH_LEN + usize::from(u16::from_be(len)))
    }
}

/// Writes the addresses of the IP header at `header` and its checksum; returns the difference.
#[inline(always)]
fn write_addresses(ctx: &TcContext, header: usize, new: [u32; 2]) -> Result<u64, i64> {
    let old: [u32; 2] = ctx.load(header + ADDRESSES)?;
    let change = difference(&old, &new)?;
    ctx.l3_csum_replace(header + CHECKSUM, 0, change, 0)?;
    ctx.store(header + ADDRESSES, &new, 0)?;
    Ok(change)
}

/// An ICMP error: the outer header goes to the receiver, the embedded one becomes the packet that
/// the receiver once sent. The embedded addresses and their header's checksum cancel out in the
/// ICMP checksum; the ports do not. The sender is kept when it is a router.
#[inline(never)]
pub(super) fn write_error(ctx: &TcContext, p: &Packet) -> i64 {
    super::code(try_write_error(ctx, p))
}

#[inline(always)]
fn try_write_error(ctx: &TcContext, p: &Packet) -> Result<(), i64> {
    let sender: u32 = ctx.load(ETH_LEN + ADDRESSES)?;
    let sender = if p.foreign_sender != 0 {
        sender
    } else {
        p.src.word_v4()
    };
    write_addresses(ctx, ETH_LEN, [sender, p.dst.word_v4()])?;
    let inner = usize::from(p.l4_offset) + ICMP_LEN;
    write_addresses(ctx, inner, [p.dst.word_v4(), p.src.word_v4()])?;
    embedded_ends(ctx, p, IPV4_LEN)
}
