//! The overlay's device: what a packet is sent with, and who sent one.
//!
//! The kernel's struct has grown over time and takes its oldest part alone. That is all there is to
//! read; what is sent needs the whole, whose newest part (Linux 6.0) is the address that it is sent
//! from: the kernel would take the one that its routes prefer, and the other nodes know this node by
//! one address only.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::{BPF_F_ZERO_CSUM_TX, TC_ACT_SHOT, bpf_tunnel_key};
use aya_ebpf::helpers::{bpf_redirect, bpf_skb_get_tunnel_key, bpf_skb_set_tunnel_key};
use aya_ebpf::programs::TcContext;
use naru_ebpf_common::overlay::VNI;
use naru_ebpf_logic::Maps;

use crate::Kernel;

/// The beginning of `bpf_tunnel_key`, in host order.
#[repr(C)]
struct Sender {
    vni: u32,
    remote: u32,
}

/// Through the overlay to `node`, an IPv4 address in network order.
///
/// The outer UDP checksum is left out, as RFC 7348 wants it: the inner packet has its own.
#[inline(always)]
pub(crate) fn send(ctx: &TcContext, node: u32) -> i32 {
    let Some(config) = Kernel.config() else {
        return TC_ACT_SHOT as i32;
    };
    let own = u32::from_be(config.v4.node_addr.word_v4());
    if name(ctx, own, u32::from_be(node)) != 0 {
        return TC_ACT_SHOT as i32;
    }
    // SAFETY: the helper has no preconditions; a device that has vanished is a drop.
    unsafe { bpf_redirect(config.overlay_ifindex, 0) as i32 }
}

/// Says from which node to which a packet is sent, by their IPv4 addresses in host order; an error of
/// the kernel if it cannot. Out of line: the stack that it takes is free again for others.
#[inline(never)]
fn name(ctx: &TcContext, own: u32, node: u32) -> i32 {
    let mut key = MaybeUninit::<bpf_tunnel_key>::zeroed();
    // SAFETY: all bits zero is a value of the kernel's struct; the helper reads as much as it has.
    unsafe {
        let key = key.as_mut_ptr();
        (*key).tunnel_id = VNI;
        (*key).__bindgen_anon_1.remote_ipv4 = node;
        (*key).__bindgen_anon_3.local_ipv4 = own;
        bpf_skb_set_tunnel_key(
            ctx.skb.skb,
            key,
            size_of::<bpf_tunnel_key>() as u32,
            BPF_F_ZERO_CSUM_TX.into(),
        ) as i32
    }
}

/// The node that sent a packet which arrived on the overlay's device: its IPv4 address in network
/// order; 0 when it used another identifier, or no IPv4.
#[inline(always)]
pub fn sender(ctx: &TcContext) -> u32 {
    let mut key = Sender { vni: 0, remote: 0 };
    let place = (&raw mut key).cast::<bpf_tunnel_key>();
    // SAFETY: the helper writes the given length, which is that of `key`.
    let found = unsafe { bpf_skb_get_tunnel_key(ctx.skb.skb, place, size_of::<Sender>() as u32, 0) };
    if found == 0 && key.vni == VNI {
        key.remote.to_be()
    } else {
        0
    }
}
