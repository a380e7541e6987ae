//! The overlay's device: what a packet is sent with, and who sent one.
//!
//! The kernel's struct has grown over time and takes its oldest part alone. That is all there is to
//! read; what is sent needs the whole, whose newest part (Linux 6.0) is the address that it is sent
//! from: the kernel would take the one that its routes prefer, and the other nodes know this node by
//! one address only.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::{
    BPF_F_ZERO_CSUM_TX, TC_ACT_SHOT, bpf_check_mtu_flags::BPF_MTU_CHK_SEGS, bpf_tunnel_key,
};
use aya_ebpf::helpers::{
    bpf_check_mtu, bpf_redirect, bpf_skb_get_tunnel_key, bpf_skb_set_tunnel_key,
};
use aya_ebpf::programs::TcContext;
use naru_ebpf_common::Addr;
use naru_ebpf_common::overlay::{DIRECT_VNI, MACS, VNI, backend_of, macs_of};
use naru_ebpf_logic::parse::ETH_LEN;
use naru_ebpf_logic::{Maps, Packet};

use crate::Kernel;

/// Place of flags and offset of fragments in an IPv4 header.
const IPV4_FRAGMENT: usize = 6;
const DO_NOT_FRAGMENT: u16 = 0x4000;

/// The beginning of `bpf_tunnel_key`, in host order.
#[repr(C)]
struct Tunnel {
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
    send_under(ctx, VNI, config.overlay_ifindex, node)
}

/// As it came to `node`, for the backend that was chosen.
#[inline(always)]
pub(crate) fn hand_on(ctx: &TcContext, packet: &Packet, node: u32) -> i32 {
    let macs = macs_of(&packet.to.dst, packet.to.dst_port);
    let ifindex = device(packet);
    if ifindex == 0 || ctx.store(0, &macs, 0).is_err() {
        return TC_ACT_SHOT as i32;
    }
    send_under(ctx, DIRECT_VNI, ifindex, node)
}

#[inline(always)]
fn send_under(ctx: &TcContext, vni: u32, ifindex: u32, node: u32) -> i32 {
    let Some(config) = Kernel.config() else {
        return TC_ACT_SHOT as i32;
    };
    let own = u32::from_be(config.v4.node_addr.word_v4());
    if name(ctx, vni, own, u32::from_be(node)) != 0 {
        return TC_ACT_SHOT as i32;
    }
    // SAFETY: the helper has no preconditions; a device that has vanished is a drop.
    unsafe { bpf_redirect(ifindex, 0) as i32 }
}

/// Says under which identifier, and from which node to which a packet is sent, by their IPv4 addresses
/// in host order; an error of the kernel if it cannot. Out of line: the stack that it takes is free
/// again for others.
#[inline(never)]
fn name(ctx: &TcContext, vni: u32, own: u32, node: u32) -> i32 {
    let mut key = MaybeUninit::<bpf_tunnel_key>::zeroed();
    // SAFETY: all bits zero is a value of the kernel's struct; the helper reads as much as it has.
    unsafe {
        let key = key.as_mut_ptr();
        (*key).tunnel_id = vni;
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

/// The device for what is handed on; 0 when there is none.
#[inline(always)]
fn device(packet: &Packet) -> u32 {
    Kernel
        .config()
        .map_or(0, |config| config.family(&packet.dst).hand_on_ifindex)
}

/// Whether a packet is larger than what the overlay's device carries and may not be cut: how many
/// bytes of it would fit, from the IP header on; 0 if it may go. Each segment of a packet that stands
/// for many is looked at. An IPv4 packet that may be cut is: the one around it.
#[inline(never)]
pub(crate) fn limit(ctx: &TcContext, packet: &Packet) -> u32 {
    let mut mtu = 0;
    // SAFETY: the context is valid while the program runs; the helper writes one word.
    let fits = unsafe {
        bpf_check_mtu(
            ctx.skb.skb.cast(),
            device(packet),
            &raw mut mtu,
            0,
            BPF_MTU_CHK_SEGS.into(),
        )
    };
    // Negative: there is no such device, which the redirect will notice.
    if fits <= 0 || may_be_cut(ctx, packet) {
        0
    } else {
        mtu
    }
}

#[inline(always)]
fn may_be_cut(ctx: &TcContext, packet: &Packet) -> bool {
    let fragment = || ctx.load::<u16>(ETH_LEN + IPV4_FRAGMENT);
    packet.dst.is_v4() && fragment().is_ok_and(|bits| bits & DO_NOT_FRAGMENT.to_be() == 0)
}

/// Whom a packet that arrived on the overlay's device comes from: a node, by its IPv4 address in
/// network order, and what it was sent as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Sent by one end to the other.
    Flow(u32),
    /// Handed on for a client.
    HandedOn(u32),
    /// Under another identifier, or not over IPv4.
    Nobody,
}

/// Who sent a packet that arrived on the overlay's device.
#[inline(always)]
pub fn sender(ctx: &TcContext) -> Sender {
    let mut key = Tunnel { vni: 0, remote: 0 };
    let place = (&raw mut key).cast::<bpf_tunnel_key>();
    // SAFETY: the helper writes the given length, which is that of `key`.
    let found = unsafe { bpf_skb_get_tunnel_key(ctx.skb.skb, place, size_of::<Tunnel>() as u32, 0) };
    match key.vni {
        VNI if found == 0 => Sender::Flow(key.remote.to_be()),
        DIRECT_VNI if found == 0 => Sender::HandedOn(key.remote.to_be()),
        _ => Sender::Nobody,
    }
}

/// Notes in the packet for which backend it was handed on, as its frame says.
#[inline(never)]
pub fn note_backend(ctx: &TcContext, packet: &mut Packet) -> i64 {
    let (Some(config), Ok(macs)) = (Kernel.config(), ctx.load::<[u8; MACS]>(0)) else {
        return -1;
    };
    let net = if packet.dst.is_v4() {
        Addr::ANY_V4
    } else {
        config.v6.pod_net
    };
    (packet.to.dst, packet.to.dst_port) = backend_of(&macs, &net);
    0
}
