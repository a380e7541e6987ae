//! tc, egress of the host side of a veth: packets of the node's stack to a pod, and those that the
//! other programs put into its queue.
#![no_std]
#![no_main]

use aya_ebpf::bindings::TC_ACT_OK;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use naru_ebpf_common::counter;
use naru_ebpf_logic::parse::Other;
use naru_ebpf_logic::{Packet, Verdict};
use naru_ebpf_programs::{Kernel, bandwidth, tc};

#[classifier]
pub fn to_pod(ctx: TcContext) -> i32 {
    if bandwidth::is_queued(&ctx) {
        return TC_ACT_OK as i32;
    }
    let decide = |p: &mut Packet, ifindex| naru_ebpf_logic::to_pod(&Kernel, p, ifindex);
    tc::run(&ctx, counter::TO_POD, decide, other)
}

/// The node may ask for neighbours; what it can't be judged by does not reach the pod.
#[inline(always)]
fn other(what: Other) -> Verdict {
    match what {
        Other::NeighbourDiscovery | Other::Arp => Verdict::PASS,
        Other::Drop(reason) => Verdict::drop(reason),
    }
}
