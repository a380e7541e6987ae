//! tc, egress of the uplink and of the overlay's device: packets of the node's own stack.
#![no_std]
#![no_main]

use aya_ebpf::bindings::TC_ACT_OK;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use naru_ebpf_common::counter;
use naru_ebpf_logic::parse::Other;
use naru_ebpf_logic::{Packet, Verdict};
use naru_ebpf_programs::{Kernel, tc};

#[classifier]
pub fn to_network(ctx: TcContext) -> i32 {
    // What pods send and other nodes answer passes here, too.
    if tc::is_forwarded(&ctx) || !tc::may_be_answer(&ctx) {
        return TC_ACT_OK as i32;
    }
    let decide = |p: &mut Packet, _| naru_ebpf_logic::to_network(&Kernel, p);
    tc::run(&ctx, counter::TO_NETWORK, decide, other)
}

/// What the node sends is its own affair.
#[inline(always)]
fn other(_: Other) -> Verdict {
    Verdict::PASS
}
