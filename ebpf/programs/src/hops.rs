//! The ways out of the uplink that its driver sends packets by.
//!
//! Asking the routes takes longer than all else that is done to such a packet. So an answer holds for a
//! second, as a flow's note does, in the one place that its ends may have; ends that share a place ask
//! more often.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::{BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup as Lookup};
use aya_ebpf::helpers::{bpf_fib_lookup, bpf_get_prandom_u32};
use aya_ebpf::programs::XdpContext;
use naru_ebpf_common::Addr;
use naru_ebpf_logic::conntrack::STAMP_NS;

use crate::maps;

/// Places for next hops, a power of two.
pub const PLACES: u32 = 256;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The way from one address to another.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Hop {
    /// Source and destination.
    ends: [Addr; 2],
    /// When the routes were asked, nanoseconds of the monotonic clock.
    asked_ns: u64,
    /// MAC addresses of the next hop and of the link.
    pub(crate) macs: [[u16; 3]; 2],
    /// Bytes from the IP header on that may go at least.
    fits: u16,
    /// A number for the next packet that is made here.
    id: u16,
}

impl Hop {
    /// A number that packets from here do not have in common with those shortly before.
    #[inline(always)]
    pub(crate) fn next_id(&mut self) -> u16 {
        self.id = self.id.wrapping_add(1);
        self.id
    }
}

/// The way for a packet of `len` bytes from its IP header on with these ends, source and destination;
/// none if another link leads there, if it does not fit, if the neighbour is not known yet, and whenever
/// the routes say anything else.
#[inline(always)]
pub(crate) fn find(
    ctx: &XdpContext,
    ends: [&Addr; 2],
    len: u16,
    now_ns: u64,
) -> Option<&'static mut Hop> {
    let hop = maps::HOPS.get_ptr_mut(place(ends))?;
    // SAFETY: a per-CPU value is this program's alone while it runs.
    let hop = unsafe { &mut *hop };
    let is_theirs = hop.ends[0] == *ends[0] && hop.ends[1] == *ends[1];
    let is_fresh = now_ns.wrapping_sub(hop.asked_ns) <= STAMP_NS;
    if is_theirs && is_fresh && len <= hop.fits || ask(ctx, ends, len, now_ns, hop) {
        Some(hop)
    } else {
        None
    }
}

#[inline(always)]
fn place([src, dst]: [&Addr; 2]) -> u32 {
    let mut mixed = 0;
    for word in 0..4 {
        mixed ^= dst.words[word] ^ src.words[word].rotate_left(5);
    }
    mixed.wrapping_mul(0x9e37_79b1) >> 24 & (PLACES - 1)
}

/// Asks the routes, and puts what they say in `hop`; false if that is no way out of this link.
#[inline(never)]
fn ask(ctx: &XdpContext, [src, dst]: [&Addr; 2], len: u16, now_ns: u64, hop: &mut Hop) -> bool {
    let ifindex = ctx.ingress_ifindex() as u32;
    let mut lookup = MaybeUninit::<Lookup>::zeroed();
    let lookup = lookup.as_mut_ptr();
    // SAFETY: all bits zero is a value of the kernel's struct; the helper writes within the size that
    // it is given.
    unsafe {
        (*lookup).ifindex = ifindex;
        (*lookup).__bindgen_anon_1.tot_len = len;
        if dst.is_v4() {
            (*lookup).family = AF_INET;
            (*lookup).__bindgen_anon_3.ipv4_src = src.word_v4();
            (*lookup).__bindgen_anon_4.ipv4_dst = dst.word_v4();
        } else {
            (*lookup).family = AF_INET6;
            (*lookup).__bindgen_anon_3.ipv6_src = src.words;
            (*lookup).__bindgen_anon_4.ipv6_dst = dst.words;
        }
        let size = size_of::<Lookup>() as i32;
        let answer = bpf_fib_lookup(ctx.ctx.cast(), lookup, size, 0);
        if answer != BPF_FIB_LKUP_RET_SUCCESS.into() || (*lookup).ifindex != ifindex {
            return false;
        }
        hop.ends = [*src, *dst];
        hop.macs = [mac((*lookup).dmac), mac((*lookup).smac)];
        // Newer kernels say here what would fit, older ones leave the length.
        hop.fits = (*lookup).__bindgen_anon_1.mtu_result;
        hop.id = bpf_get_prandom_u32() as u16;
    }
    hop.asked_ns = now_ns;
    true
}

#[inline(always)]
fn mac(bytes: [u8; 6]) -> [u16; 3] {
    let [a, b, c, d, e, f] = bytes;
    [[a, b], [c, d], [e, f]].map(u16::from_ne_bytes)
}
