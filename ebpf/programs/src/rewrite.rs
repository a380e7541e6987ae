//! Writing a translated packet's addresses and ports, and its checksums.
//!
//! The difference of the addresses is computed once; it changes the IP header's checksum and,
//! through the pseudo header, that of TCP and UDP. A UDP checksum of zero means *none* and stays.

use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::bpf_csum_diff;
use aya_ebpf::programs::TcContext;
use naru_ebpf_common::protocol;
use naru_ebpf_logic::Packet;
use naru_ebpf_logic::parse::{ETH_LEN, ICMP_LEN, IPV4_LEN};

const IP_CHECKSUM: usize = 10;
const IP_ADDRESSES: usize = 12;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
const ICMP_CHECKSUM: usize = 2;
const ICMP_IDENTIFIER: usize = 4;
const ADDRESSES_LEN: u32 = 8;

/// Two addresses or two ports as they lie in a header.
type Ends<T> = [T; 2];

/// Writes source and destination of `p` into the packet. Packet pointers are invalid afterwards.
#[inline(never)]
pub(crate) fn write(ctx: &TcContext, p: &Packet) -> i64 {
    let written = if p.related != 0 {
        write_error(ctx, p)
    } else {
        write_plain(ctx, p)
    };
    match written {
        Ok(()) => 0,
        Err(code) => code,
    }
}

#[inline(always)]
fn write_plain(ctx: &TcContext, p: &Packet) -> Result<(), i64> {
    let l4 = usize::from(p.l4_offset);
    let change = write_addresses(ctx, ETH_LEN, [p.src.word_v4(), p.dst.word_v4()])?;
    match p.protocol {
        protocol::TCP => transport(ctx, p, l4, l4 + TCP_CHECKSUM, change, 0),
        protocol::UDP => transport(
            ctx,
            p,
            l4,
            l4 + UDP_CHECKSUM,
            change,
            BPF_F_MARK_MANGLED_0.into(),
        ),
        _ => identifier(ctx, p, l4),
    }
}

/// Writes the addresses of the IP header at `header` and its checksum; returns the difference.
#[inline(always)]
fn write_addresses(ctx: &TcContext, header: usize, new: Ends<u32>) -> Result<u64, i64> {
    let mut old: Ends<u32> = ctx.load(header + IP_ADDRESSES)?;
    let mut new = new;
    // SAFETY: both buffers live on the stack and have the given lengths.
    let change = unsafe {
        bpf_csum_diff(
            old.as_mut_ptr(),
            ADDRESSES_LEN,
            new.as_mut_ptr(),
            ADDRESSES_LEN,
            0,
        )
    };
    if change < 0 {
        return Err(change);
    }
    let change = change as u64;
    ctx.l3_csum_replace(header + IP_CHECKSUM, 0, change, 0)?;
    ctx.store(header + IP_ADDRESSES, &new, 0)?;
    Ok(change)
}

#[inline(always)]
fn transport(
    ctx: &TcContext,
    p: &Packet,
    l4: usize,
    checksum: usize,
    change: u64,
    flags: u64,
) -> Result<(), i64> {
    ctx.l4_csum_replace(checksum, 0, change, u64::from(BPF_F_PSEUDO_HDR) | flags)?;
    write_ports(ctx, l4, checksum, [p.src_port.0, p.dst_port.0], flags)
}

/// Writes the two ports at `at` and corrects the checksum at `checksum`.
#[inline(always)]
fn write_ports(
    ctx: &TcContext,
    at: usize,
    checksum: usize,
    new: Ends<u16>,
    flags: u64,
) -> Result<(), i64> {
    let old: u32 = ctx.load(at)?;
    let new = u32::from(new[0]) | u32::from(new[1]) << 16;
    if old == new {
        return Ok(());
    }
    ctx.l4_csum_replace(checksum, old.into(), new.into(), 4 | flags)?;
    ctx.store(at, &new, 0)
}

/// Writes the identifier of an ICMP echo.
#[inline(always)]
fn identifier(ctx: &TcContext, p: &Packet, l4: usize) -> Result<(), i64> {
    let old: u16 = ctx.load(l4 + ICMP_IDENTIFIER)?;
    let new = p.src_port.0;
    if old == new {
        return Ok(());
    }
    ctx.l4_csum_replace(l4 + ICMP_CHECKSUM, old.into(), new.into(), 2)?;
    ctx.store(l4 + ICMP_IDENTIFIER, &new, 0)
}

/// An ICMP error: the outer header goes to the receiver, the embedded one becomes the packet that
/// the receiver once sent. The embedded addresses and their header's checksum cancel out in the
/// ICMP checksum; the ports do not. The sender is kept when it is a router.
#[inline(always)]
fn write_error(ctx: &TcContext, p: &Packet) -> Result<(), i64> {
    let l4 = usize::from(p.l4_offset);
    let sender: u32 = ctx.load(ETH_LEN + IP_ADDRESSES)?;
    let sender = if p.foreign_sender != 0 {
        sender
    } else {
        p.src.word_v4()
    };
    write_addresses(ctx, ETH_LEN, [sender, p.dst.word_v4()])?;
    let inner = l4 + ICMP_LEN;
    write_addresses(ctx, inner, [p.dst.word_v4(), p.src.word_v4()])?;
    let ports = inner + IPV4_LEN;
    if p.is_icmp() {
        let old: u16 = ctx.load(ports + ICMP_IDENTIFIER)?;
        ctx.l4_csum_replace(l4 + ICMP_CHECKSUM, old.into(), p.src_port.0.into(), 2)?;
        return ctx.store(ports + ICMP_IDENTIFIER, &p.src_port.0, 0);
    }
    write_ports(
        ctx,
        ports,
        l4 + ICMP_CHECKSUM,
        [p.dst_port.0, p.src_port.0],
        0,
    )
}
