//! Packets of limited pods: their departure time, and the way into a pod through its queue.
//!
//! A packet keeps its departure time on its way through the stack, an overlay included, and the qdisc
//! `fq` at the end keeps the packet until then. Other qdiscs let it go at once.

use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::helpers::{bpf_redirect, bpf_skb_set_tstamp};
use aya_ebpf::programs::TcContext;
use naru_ebpf_common::bandwidth::QUEUED;
use naru_ebpf_logic::{Maps, Packet};

use crate::Kernel;

/// `BPF_SKB_TSTAMP_DELIVERY_MONO`: the time is one of delivery, by the monotonic clock. The bindings
/// have it in a module without a lasting name.
const DELIVERY_MONO: u32 = 1;

/// Notes when the packet may leave; an error of the kernel if it takes no time.
#[inline(always)]
pub(crate) fn set_departure(ctx: &TcContext, at_ns: u64) -> i64 {
    // SAFETY: the context is valid while the program runs.
    unsafe { bpf_skb_set_tstamp(ctx.skb.skb, at_ns, DELIVERY_MONO) }
}

/// Whether this program's siblings have judged the packet, and put it into the queue that it passes
/// now. Nobody but the node itself can set the mark: what comes out of a pod has none.
#[inline(always)]
pub fn is_queued(ctx: &TcContext) -> bool {
    // SAFETY: the context is valid while the program runs.
    unsafe { (*ctx.skb.skb).mark == QUEUED }
}

/// To the pod behind the host interface `ifindex`, through that interface's queue.
#[inline(always)]
pub(crate) fn enqueue(ctx: &TcContext, packet: &Packet, ifindex: u32) -> i32 {
    if address(ctx, packet) != 0 {
        return TC_ACT_SHOT as i32;
    }
    ctx.skb.set_mark(QUEUED);
    // SAFETY: the helper has no preconditions; an interface that has vanished is a drop.
    unsafe { bpf_redirect(ifindex, 0) as i32 }
}

/// Writes the MAC addresses of the pod's link: this packet enters the pod by the wire, and a pod takes
/// only what is addressed to it. Not 0 if there is no such pod any more, or the kernel refuses. Out of
/// line: the stack that it takes is free again for others.
#[inline(never)]
fn address(ctx: &TcContext, packet: &Packet) -> i32 {
    let Some(pod) = Kernel.endpoint(&packet.dst) else {
        return -1;
    };
    let macs = [pod.pod_mac, pod.host_mac];
    match ctx.store(0, &macs, 0) {
        Ok(()) => 0,
        Err(_) => -1,
    }
}
