//! A packet's way through a tc program: parse, decide, write, send, count.

use core::ptr;

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::helpers::{bpf_redirect_neigh, bpf_redirect_peer};
use aya_ebpf::programs::TcContext;
use naru_ebpf_common::{Reason, counter};
use naru_ebpf_logic::parse::{self, Other};
use naru_ebpf_logic::{Action, Packet, Verdict, drops};

use crate::skb::Skb;
use crate::{Kernel, maps, rewrite};

/// Bytes that hold every header that is looked at.
const HEADERS: u32 = 128;
/// `skb->pkt_type` of a packet for this host.
const PACKET_HOST: u32 = 0;

/// Runs a hook. `decide` gets the parsed packet and the interface; `other` says what becomes of
/// frames that carry no packet to decide about.
#[inline(always)]
pub fn run(
    ctx: &TcContext,
    hook: u8,
    decide: impl FnOnce(&mut Packet, u32) -> Verdict,
    other: impl FnOnce(Other) -> Verdict,
) -> i32 {
    let Some(packet) = maps::SCRATCH.get_ptr_mut(hook.into()) else {
        return TC_ACT_SHOT as i32;
    };
    // SAFETY: a per-CPU value is this program's alone while it runs.
    let packet = unsafe { &mut *packet };
    packet.reset(hook);
    let verdict = match read(ctx, packet) {
        Ok(()) => decide(packet, ifindex(ctx)),
        Err(what) => other(what),
    };
    packet.verdict = verdict;
    finish(ctx, packet);
    send(ctx, packet.verdict)
}

/// Writes the packet, counts it, and records its drop.
#[inline(never)]
fn finish(ctx: &TcContext, packet: &mut Packet) {
    if packet.verdict.is_rewritten() && rewrite::write(ctx, packet) != 0 {
        packet.verdict = Verdict::drop(Reason::REWRITE_FAILED);
    }
    let reason = packet.verdict.reason();
    count(packet.hook, reason, packet.len);
    if reason != Reason::FORWARDED {
        drops::record(&Kernel, packet, reason);
    }
}

/// Parses the packet; headers outside the linear part are pulled in once.
#[inline(always)]
fn read(ctx: &TcContext, packet: &mut Packet) -> Result<(), Other> {
    match parse::ethernet(&Skb::new(ctx), packet) {
        Err(Other::Drop(Reason::MALFORMED)) => read_pulled(ctx, packet),
        parsed => parsed,
    }
}

#[inline(always)]
fn read_pulled(ctx: &TcContext, packet: &mut Packet) -> Result<(), Other> {
    if ctx.pull_data(ctx.len().min(HEADERS)).is_err() {
        return Err(Other::Drop(Reason::MALFORMED));
    }
    parse::ethernet(&Skb::new(ctx), packet)
}

/// Adds a packet to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(hook: u8, reason: Reason, bytes: u32) {
    let index = counter::index(hook, reason);
    if let Some(counter) = maps::COUNTERS.get_ptr_mut(index) {
        // SAFETY: a per-CPU value is this program's alone while it runs.
        let counter = unsafe { &mut *counter };
        counter.packets = counter.packets.wrapping_add(1);
        counter.bytes = counter.bytes.wrapping_add(u64::from(bytes));
    }
}

#[inline(always)]
fn ifindex(ctx: &TcContext) -> u32 {
    // SAFETY: the context is valid while the program runs.
    unsafe { (*ctx.skb.skb).ifindex }
}

#[inline(always)]
fn send(ctx: &TcContext, verdict: Verdict) -> i32 {
    match verdict.action() {
        Action::Pass => TC_ACT_OK as i32,
        Action::Drop(_) => TC_ACT_SHOT as i32,
        Action::Deliver { ifindex } => deliver(ctx, ifindex),
        // SAFETY: without parameters the helper asks the routes of the uplink's namespace.
        Action::Uplink { ifindex } => unsafe {
            bpf_redirect_neigh(ifindex, ptr::null_mut(), 0, 0) as i32
        },
    }
}

/// Into the pod, past its veth's queue. The pod's stack takes only packets marked as its own.
#[inline(always)]
fn deliver(ctx: &TcContext, ifindex: u32) -> i32 {
    // SAFETY: the context is valid while the program runs.
    let pkt_type = unsafe { (*ctx.skb.skb).pkt_type };
    if pkt_type != PACKET_HOST && ctx.skb.change_type(PACKET_HOST).is_err() {
        return TC_ACT_SHOT as i32;
    }
    // SAFETY: the helper has no preconditions; a vanished interface is a drop.
    unsafe { bpf_redirect_peer(ifindex, 0) as i32 }
}
