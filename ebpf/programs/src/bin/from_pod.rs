//! tc, ingress of the host side of a veth: packets that a pod sends.
#![no_std]
#![no_main]

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use naru_ebpf_common::{Reason, counter};
use naru_ebpf_logic::conntrack::Origin;
use naru_ebpf_logic::parse::Other;
use naru_ebpf_logic::{Packet, Verdict};
use naru_ebpf_programs::{Kernel, tc};

#[classifier]
pub fn from_pod(ctx: TcContext) -> i32 {
    let origin = Origin::pod(tc::ifindex(&ctx));
    tc::run_quickly(ctx, counter::FROM_POD, origin, slowly)
}

/// Out of line, so that what nearly every packet runs through lies together.
#[inline(never)]
fn slowly(ctx: TcContext) -> i32 {
    let decide = |p: &mut Packet, ifindex| naru_ebpf_logic::from_pod(&Kernel, p, ifindex);
    tc::run(&ctx, counter::FROM_POD, decide, other)
}

/// A pod's neighbours are permanent entries, so that it needs no ARP.
#[inline(always)]
fn other(what: Other) -> Verdict {
    match what {
        Other::NeighbourDiscovery => Verdict::PASS,
        Other::Arp => Verdict::drop(Reason::NOT_IP),
        Other::Drop(reason) => Verdict::drop(reason),
    }
}
