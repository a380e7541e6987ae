//! A packet's way through a tc program: parse, decide, write, send, count.

use core::mem::MaybeUninit;
use core::ptr;

use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_OUTPUT, TC_ACT_OK,
    TC_ACT_SHOT, bpf_fib_lookup as Route, bpf_redir_neigh,
};
use aya_ebpf::helpers::{bpf_fib_lookup, bpf_redirect_neigh, bpf_redirect_peer};
use aya_ebpf::programs::TcContext;
use naru_ebpf_common::{Reason, counter, flow};
use naru_ebpf_logic::conntrack::{self, Origin, Way};
use naru_ebpf_logic::fragment::{self, Part};
use naru_ebpf_logic::parse::{self, Other, Parsed};
use naru_ebpf_logic::{Action, Hop, Maps, Packet, Verdict, drops, quick};

use crate::skb::Skb;
use crate::{Kernel, bandwidth, maps, overlay, refuse, rewrite};

/// Bytes that hold every header that is looked at.
const HEADERS: u32 = 128;
/// Address family of IPv4.
const AF_INET: u8 = 2;
/// `skb->pkt_type` of a packet for this host.
const PACKET_HOST: u32 = 0;

/// Sends a packet of a known flow on its way; it was seen at `origin`. `slowly` runs the hook for
/// every other packet.
#[inline(always)]
pub fn run_quickly(
    ctx: TcContext,
    hook: u8,
    origin: Origin,
    slowly: impl FnOnce(TcContext) -> i32,
) -> i32 {
    let way = known_way(&ctx, origin);
    if !way.is_known() {
        return slowly(ctx);
    }
    let len = ctx.len().saturating_sub(parse::ETH_LEN as u32);
    count(hook, Reason::FORWARDED, len);
    match (way.ifindex(), way.address()) {
        (0, hop) => match Kernel.config() {
            Some(config) => leave(config.uplink_ifindex, hop),
            None => TC_ACT_SHOT as i32,
        },
        (ifindex, 0) => deliver(&ctx, ifindex),
        (_, node) => overlay::send(&ctx, node),
    }
}

/// Out of line: the stack that it takes is free again for `slowly`.
#[inline(never)]
fn known_way(ctx: &TcContext, origin: Origin) -> Way {
    quick::way(&Kernel, &Skb::new(ctx), origin)
}

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
    let verdict = match read(ctx, packet).get() {
        Ok(()) => match whole(packet) {
            Reason::FORWARDED => decide(packet, ifindex(ctx)),
            reason => other(Other::Drop(reason)),
        },
        Err(what) => other(what),
    };
    packet.verdict = verdict;
    finish(ctx, packet);
    send(ctx, packet)
}

#[inline(always)]
fn whole(packet: &mut Packet) -> Reason {
    if packet.part.which == Part::WHOLE {
        Reason::FORWARDED
    } else {
        fragment::resolve(&Kernel, packet)
    }
}

/// Writes the packet, finds its next hop, counts it, records its drop, and makes an answer of one
/// that is refused.
#[inline(never)]
fn finish(ctx: &TcContext, packet: &mut Packet) {
    if packet.verdict.is_rewritten() && rewrite::write(ctx, packet) != 0 {
        packet.verdict = Verdict::drop(Reason::REWRITE_FAILED);
    }
    if !packet.verdict.is_rewritten() {
        match packet.verdict.action() {
            Action::Uplink { ifindex } if !packet.next_hop.is_known() => {
                find_next_hop(ctx, packet, ifindex);
            }
            Action::Encapsulate { .. } => conntrack::remember_next_hop(&Kernel, packet),
            _ => {}
        }
    }
    if let Action::HandOn { .. } = packet.verdict.action() {
        let fits = overlay::limit(ctx, packet);
        if fits != 0 {
            packet.verdict = Verdict::too_big(fits as u16);
        }
    }
    if packet.departure_ns != 0 && bandwidth::set_departure(ctx, packet.departure_ns) != 0 {
        packet.verdict = Verdict::drop(Reason::REWRITE_FAILED);
    }
    let reason = packet.verdict.reason();
    count(packet.hook, reason, packet.len);
    if reason != Reason::FORWARDED {
        drops::record(&Kernel, packet, reason);
        if let Action::Refuse(reason) = packet.verdict.action()
            && refuse::answer(ctx, packet) != 0
        {
            packet.verdict = Verdict::drop(reason);
        }
    }
}

/// Parses the packet; headers outside the linear part are pulled in once. Out of line: copies of
/// headers lie on the stack.
#[inline(never)]
fn read(ctx: &TcContext, packet: &mut Packet) -> Parsed {
    Parsed::of(match parse::ethernet(&Skb::new(ctx), packet) {
        Err(Other::Drop(Reason::MALFORMED)) => read_pulled(ctx, packet),
        parsed => parsed,
    })
}

#[inline(always)]
fn read_pulled(ctx: &TcContext, packet: &mut Packet) -> Result<(), Other> {
    if ctx.pull_data(ctx.len().min(HEADERS)).is_err() {
        return Err(Other::Drop(Reason::MALFORMED));
    }
    parse::ethernet(&Skb::new(ctx), packet)
}

/// Asks the routes for the next hop, and lets the flow remember it. Without an answer the redirect
/// asks again, which is slower but never wrong; an IPv6 flow remembers that it does so always.
#[inline(never)]
fn find_next_hop(ctx: &TcContext, packet: &mut Packet, ifindex: u32) {
    if !packet.dst.is_v4() {
        packet.next_hop = Hop::router(flow::BY_ROUTES);
        return conntrack::remember_next_hop(&Kernel, packet);
    }
    let mut route = MaybeUninit::<Route>::zeroed();
    let found = route.as_mut_ptr();
    // SAFETY: all bits zero is a value of the kernel's struct; the helper writes within the size
    // that it is given.
    let answer = unsafe {
        (*found).family = AF_INET;
        (*found).ifindex = ifindex;
        (*found).__bindgen_anon_3.ipv4_src = packet.src.word_v4();
        (*found).__bindgen_anon_4.ipv4_dst = packet.dst.word_v4();
        bpf_fib_lookup(
            ctx.skb.skb.cast(),
            found,
            size_of::<Route>() as i32,
            BPF_FIB_LOOKUP_OUTPUT,
        )
    };
    // Without a neighbour entry the route is known all the same; the redirect will resolve it.
    if answer != BPF_FIB_LKUP_RET_SUCCESS.into() && answer != BPF_FIB_LKUP_RET_NO_NEIGH.into() {
        return;
    }
    // SAFETY: as above; the helper has replaced the destination by the gateway.
    let (out, gateway) = unsafe { ((*found).ifindex, (*found).__bindgen_anon_4.ipv4_dst) };
    if out == ifindex {
        packet.next_hop = Hop::router(gateway);
        conntrack::remember_next_hop(&Kernel, packet);
    }
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

/// Whether the packet came in by some interface and was sent on.
#[inline(always)]
pub fn is_forwarded(ctx: &TcContext) -> bool {
    // SAFETY: the context is valid while the program runs.
    unsafe { (*ctx.skb.skb).ingress_ifindex != 0 }
}

/// Whether the packet may be the answer of an endpoint on the node's own network. Out of line: the
/// stack that it takes is free again.
#[inline(never)]
pub fn may_be_answer(ctx: &TcContext) -> bool {
    naru_ebpf_logic::may_be_answer(&Kernel, &Skb::new(ctx))
}

/// The interface that the packet is seen on.
#[inline(always)]
pub fn ifindex(ctx: &TcContext) -> u32 {
    // SAFETY: the context is valid while the program runs.
    unsafe { (*ctx.skb.skb).ifindex }
}

#[inline(always)]
fn send(ctx: &TcContext, packet: &Packet) -> i32 {
    match packet.verdict.action() {
        Action::Pass if packet.hook == counter::FROM_OVERLAY => pass(ctx),
        Action::Pass => TC_ACT_OK as i32,
        Action::Drop(_) => TC_ACT_SHOT as i32,
        Action::Deliver { ifindex } => deliver(ctx, ifindex),
        // It is on its way there.
        Action::Queue { .. } if packet.hook == counter::TO_POD => TC_ACT_OK as i32,
        Action::Queue { ifindex } => bandwidth::enqueue(ctx, packet, ifindex),
        Action::Uplink { ifindex } => leave(ifindex, packet.next_hop.address()),
        Action::Encapsulate { node } => overlay::send(ctx, node),
        Action::HandOn { node } => overlay::hand_on(ctx, packet, node),
        // Back where it came from.
        Action::Refuse(_) if packet.hook == counter::FROM_POD => deliver(ctx, ifindex(ctx)),
        Action::Refuse(_) if packet.hook == counter::FROM_OVERLAY => {
            overlay::send(ctx, packet.next_hop.address())
        }
        Action::Refuse(_) => leave(ifindex(ctx), 0),
    }
}

/// Out of the uplink: to the next hop, or to whatever the routes of the uplink's namespace say.
#[inline(always)]
fn leave(ifindex: u32, next_hop: u32) -> i32 {
    if next_hop == 0 || next_hop == flow::BY_ROUTES {
        // SAFETY: without parameters the helper asks the routes.
        return unsafe { bpf_redirect_neigh(ifindex, ptr::null_mut(), 0, 0) as i32 };
    }
    let mut hop = MaybeUninit::<bpf_redir_neigh>::zeroed();
    // SAFETY: all bits zero is a value of the kernel's struct, which lives through the call.
    unsafe {
        let hop = hop.as_mut_ptr();
        (*hop).nh_family = AF_INET.into();
        (*hop).__bindgen_anon_1.ipv4_nh = next_hop;
        bpf_redirect_neigh(ifindex, hop, size_of::<bpf_redir_neigh>() as i32, 0) as i32
    }
}

/// Into the pod, past its veth's queue.
#[inline(always)]
fn deliver(ctx: &TcContext, ifindex: u32) -> i32 {
    if !mark_as_ours(ctx) {
        return TC_ACT_SHOT as i32;
    }
    // SAFETY: the helper has no preconditions; a vanished interface is a drop.
    unsafe { bpf_redirect_peer(ifindex, 0) as i32 }
}

/// To the node's stack, from a device where frames have the MAC addresses of other links.
#[inline(always)]
fn pass(ctx: &TcContext) -> i32 {
    if mark_as_ours(ctx) {
        TC_ACT_OK as i32
    } else {
        TC_ACT_SHOT as i32
    }
}

/// A stack takes only packets that are marked as for its host.
#[inline(always)]
fn mark_as_ours(ctx: &TcContext) -> bool {
    // SAFETY: the context is valid while the program runs.
    let pkt_type = unsafe { (*ctx.skb.skb).pkt_type };
    pkt_type == PACKET_HOST || ctx.skb.change_type(PACKET_HOST).is_ok()
}
