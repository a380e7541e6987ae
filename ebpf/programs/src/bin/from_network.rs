//! tc, ingress of the uplink: packets from other nodes and from outside.
#![no_std]
#![no_main]

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use naru_ebpf_common::counter;
use naru_ebpf_logic::conntrack::Origin;
use naru_ebpf_logic::parse::Other;
use naru_ebpf_logic::{Packet, Verdict};
use naru_ebpf_programs::{Kernel, tc};

#[classifier]
pub fn from_network(ctx: TcContext) -> i32 {
    tc::run_quickly(ctx, counter::FROM_NETWORK, Origin::UPLINK, slowly)
}

/// Out of line, so that what nearly every packet runs through lies together.
#[inline(never)]
fn slowly(ctx: TcContext) -> i32 {
    let decide = |p: &mut Packet, _| naru_ebpf_logic::from_network(&Kernel, p);
    tc::run(&ctx, counter::FROM_NETWORK, decide, other)
}

/// What can't be judged is the stack's; what of it is routed to a pod is dropped by `to_pod`.
#[inline(always)]
fn other(_: Other) -> Verdict {
    Verdict::PASS
}
