//! Writing a translated packet's addresses and ports, and its checksums.
//!
//! The difference of the addresses is computed once; it changes the checksum of TCP, UDP and ICMPv6
//! through the pseudo header, and that of an IPv4 header. A UDP checksum of zero means *none* and
//! stays. SCTP's covers no addresses, and its ports change it by [`sctp`]. A fragment without a header
//! of layer 4 has addresses only.

mod ipv4;
mod ipv6;

use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM};
use aya_ebpf::helpers::bpf_csum_diff;
use aya_ebpf::programs::TcContext;
use naru_ebpf_common::protocol;
use naru_ebpf_logic::parse::ICMP_LEN;
use naru_ebpf_logic::{Packet, sctp};

const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
const ICMP_CHECKSUM: usize = 2;
const ICMP_IDENTIFIER: usize = 4;
/// Not supported (errno).
const EOPNOTSUPP: i64 = 95;

/// Two ports as they lie in a header.
type Ports = [u16; 2];

/// Writes source and destination of `p` into the packet. Packet pointers are invalid afterwards.
#[inline(never)]
pub(crate) fn write(ctx: &TcContext, p: &Packet) -> i64 {
    match (p.dst.is_v4(), p.related) {
        (true, 0) => ipv4::write(ctx, p),
        (true, _) => ipv4::write_error(ctx, p),
        (false, 0) => ipv6::write(ctx, p),
        (false, _) => ipv6::write_error(ctx, p),
    }
}

/// The code of a result: 0 is success.
#[inline(always)]
fn code(written: Result<(), i64>) -> i64 {
    match written {
        Ok(()) => 0,
        Err(code) => code,
    }
}

/// The difference that new words make to a checksum.
#[inline(always)]
fn difference<const N: usize>(old: &[u32; N], new: &[u32; N]) -> Result<u64, i64> {
    let len = size_of::<[u32; N]>() as u32;
    // SAFETY: both buffers live on the stack and have the given length.
    let change = unsafe {
        bpf_csum_diff(
            old.as_ptr().cast_mut(),
            len,
            new.as_ptr().cast_mut(),
            len,
            0,
        )
    };
    if change < 0 {
        Err(change)
    } else {
        Ok(change as u64)
    }
}

/// Corrects the checksum of TCP, UDP or SCTP, and writes the ports; `change` is that of the addresses,
/// and the packet ends `end` bytes from the start of the frame.
#[inline(always)]
fn transport(ctx: &TcContext, p: &Packet, change: u64, end: usize) -> Result<(), i64> {
    let l4 = usize::from(p.l4_offset);
    if p.protocol == protocol::SCTP {
        return association(ctx, p, end.wrapping_sub(l4) as u32);
    }
    let (checksum, flags) = if p.protocol == protocol::TCP {
        (TCP_CHECKSUM, 0)
    } else {
        (UDP_CHECKSUM, u64::from(BPF_F_MARK_MANGLED_0))
    };
    let checksum = l4 + checksum;
    ctx.l4_csum_replace(checksum, 0, change, u64::from(BPF_F_PSEUDO_HDR) | flags)?;
    write_ports(ctx, l4, checksum, [p.src_port.0, p.dst_port.0], flags)
}

/// Writes the ports of an SCTP packet of `len` bytes and its checksum, which knows no addresses. The
/// checksum of a packet in fragments covers what is not here.
#[inline(always)]
fn association(ctx: &TcContext, p: &Packet, len: u32) -> Result<(), i64> {
    let l4 = usize::from(p.l4_offset);
    let old: u32 = ctx.load(l4)?;
    let new = u32::from(p.src_port.0) | u32::from(p.dst_port.0) << 16;
    if old == new {
        return Ok(());
    }
    let sum: u32 = ctx.load(l4 + sctp::CHECKSUM)?;
    if p.part.is_first() && sum != 0 {
        return Err(-EOPNOTSUPP);
    }
    let sum = sctp::checksum(sum, old, new, len);
    ctx.store(l4, &new, BPF_F_RECOMPUTE_CSUM.into())?;
    ctx.store(l4 + sctp::CHECKSUM, &sum, BPF_F_RECOMPUTE_CSUM.into())
}

/// Writes the two ports at `at` and corrects the checksum at `checksum`.
#[inline(always)]
fn write_ports(
    ctx: &TcContext,
    at: usize,
    checksum: usize,
    new: Ports,
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

/// Writes the identifier of the echo whose header is at `at`; the checksum at `checksum` covers it.
#[inline(always)]
fn identifier(ctx: &TcContext, p: &Packet, at: usize, checksum: usize) -> Result<(), i64> {
    let old: u16 = ctx.load(at + ICMP_IDENTIFIER)?;
    let new = p.src_port.0;
    if old == new {
        return Ok(());
    }
    ctx.l4_csum_replace(checksum, old.into(), new.into(), 2)?;
    ctx.store(at + ICMP_IDENTIFIER, &new, 0)
}

/// Writes the ports, or the identifier, of the packet that an ICMP error embeds behind an IP header
/// of `header` bytes: it was sent by the error's receiver.
#[inline(always)]
fn embedded_ends(ctx: &TcContext, p: &Packet, header: usize) -> Result<(), i64> {
    let l4 = usize::from(p.l4_offset);
    let (at, checksum) = (l4 + ICMP_LEN + header, l4 + ICMP_CHECKSUM);
    if p.is_icmp() {
        identifier(ctx, p, at, checksum)
    } else {
        write_ports(ctx, at, checksum, [p.dst_port.0, p.src_port.0], 0)
    }
}
