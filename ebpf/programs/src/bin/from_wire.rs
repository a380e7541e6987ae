//! XDP, the uplink: packets that leave by it again.
#![no_std]
#![no_main]

use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use naru_ebpf_programs::wire;

/// Frames may lie in several buffers: headers are in the first.
#[xdp(frags)]
pub fn from_wire(ctx: XdpContext) -> u32 {
    wire::run(&ctx)
}
