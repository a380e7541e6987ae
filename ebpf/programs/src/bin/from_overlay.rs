//! tc, ingress of the overlay's device: packets from other nodes.
#![no_std]
#![no_main]

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use naru_ebpf_common::{Reason, counter};
use naru_ebpf_logic::conntrack::Origin;
use naru_ebpf_logic::parse::Other;
use naru_ebpf_logic::{Packet, Verdict};
use naru_ebpf_programs::overlay::{self, Sender};
use naru_ebpf_programs::{Kernel, tc};

#[classifier]
pub fn from_overlay(ctx: TcContext) -> i32 {
    match overlay::sender(&ctx) {
        Sender::Flow(node) => {
            let origin = Origin::overlay(node);
            tc::run_quickly(ctx, counter::FROM_OVERLAY, origin, |ctx| {
                slowly(ctx, node, false)
            })
        }
        Sender::HandedOn(node) => slowly(ctx, node, true),
        Sender::Nobody => slowly(ctx, 0, false),
    }
}

/// Out of line, so that what nearly every packet runs through lies together.
#[inline(never)]
fn slowly(ctx: TcContext, node: u32, is_handed_on: bool) -> i32 {
    let decide = |p: &mut Packet, _| {
        if !is_handed_on {
            naru_ebpf_logic::from_overlay(&Kernel, p, node)
        } else if overlay::note_backend(&ctx, p) == 0 {
            naru_ebpf_logic::handed_over(&Kernel, p, node)
        } else {
            Verdict::drop(Reason::NOT_CONFIGURED)
        }
    };
    tc::run(&ctx, counter::FROM_OVERLAY, decide, other)
}

/// Nodes send each other packets alone: the device has no neighbours to ask for.
#[inline(always)]
fn other(what: Other) -> Verdict {
    match what {
        Other::NeighbourDiscovery | Other::Arp => Verdict::drop(Reason::NOT_IP),
        Other::Drop(reason) => Verdict::drop(reason),
    }
}
