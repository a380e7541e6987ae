//! The overlay's device: what a packet is sent with, and who sent one.
//!
//! The kernel's struct has grown over time and takes its oldest part alone: identifier and IPv4
//! address. That is all there is to say, and eight bytes of stack instead of 44.

use aya_ebpf::bindings::{BPF_F_ZERO_CSUM_TX, TC_ACT_SHOT, bpf_tunnel_key};
use aya_ebpf::helpers::{bpf_redirect, bpf_skb_get_tunnel_key, bpf_skb_set_tunnel_key};
use aya_ebpf::programs::TcContext;
use naru_ebpf_common::overlay::VNI;

/// The beginning of `bpf_tunnel_key`, in host order.
#[repr(C)]
struct Key {
    vni: u32,
    remote: u32,
}

const KEY_LEN: u32 = size_of::<Key>() as u32;

/// Through the overlay's device `ifindex` to `node`, an IPv4 address in network order.
///
/// The outer UDP checksum is left out, as RFC 7348 wants it: the inner packet has its own.
#[inline(always)]
pub(crate) fn send(ctx: &TcContext, ifindex: u32, node: u32) -> i32 {
    let mut key = Key {
        vni: VNI,
        remote: u32::from_be(node),
    };
    let key = (&raw mut key).cast::<bpf_tunnel_key>();
    let flags = u64::from(BPF_F_ZERO_CSUM_TX);
    // SAFETY: the helper reads the given length, which is that of `key`; it lives through the call.
    // A device that has vanished is a drop.
    unsafe {
        if bpf_skb_set_tunnel_key(ctx.skb.skb, key, KEY_LEN, flags) != 0 {
            return TC_ACT_SHOT as i32;
        }
        bpf_redirect(ifindex, 0) as i32
    }
}

/// The node that sent a packet which arrived on the overlay's device: its IPv4 address in network
/// order; 0 when it used another identifier, or no IPv4.
#[inline(always)]
pub fn sender(ctx: &TcContext) -> u32 {
    let mut key = Key { vni: 0, remote: 0 };
    let place = (&raw mut key).cast::<bpf_tunnel_key>();
    // SAFETY: the helper writes the given length, which is that of `key`.
    let found = unsafe { bpf_skb_get_tunnel_key(ctx.skb.skb, place, KEY_LEN, 0) };
    if found == 0 && key.vni == VNI {
        key.remote.to_be()
    } else {
        0
    }
}
