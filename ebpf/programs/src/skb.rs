//! Bytes of a packet by direct access.

use core::ptr;

use aya_ebpf::programs::TcContext;
use naru_ebpf_logic::parse::Frame;

/// The linear part of a packet. Invalid after any helper that writes or pulls.
pub(crate) struct Skb {
    start: usize,
    end: usize,
    len: u32,
}

impl Skb {
    #[inline(always)]
    pub(crate) fn new(ctx: &TcContext) -> Self {
        let skb = ctx.skb.skb;
        // Volatile, or the compiler may load both in the caller of a function out of line and hand
        // over 32 bits of each; to the verifier these are pointers no more.
        // SAFETY: the context is valid while the program runs.
        let (start, end) = unsafe {
            (
                ptr::read_volatile(&raw const (*skb).data),
                ptr::read_volatile(&raw const (*skb).data_end),
            )
        };
        Self {
            start: start as usize,
            end: end as usize,
            len: ctx.len(),
        }
    }

    #[inline(always)]
    fn at<T: Copy>(&self, offset: usize) -> Option<T> {
        let start = self.start + offset;
        if start + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: the bytes lie inside the packet (checked above, and by the verifier). The target
        // has efficient unaligned access, and T is an array of integers.
        Some(unsafe { *(start as *const T) })
    }
}

impl Frame for Skb {
    #[inline(always)]
    fn half(&self, offset: usize) -> Option<u16> {
        self.at(offset)
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        self.at(offset)
    }

    #[inline(always)]
    fn bytes(&self) -> u32 {
        self.len
    }
}
