//! A packet's way through the uplink's driver: read, look up, find the next hop, write, send.
//!
//! Whatever cannot be sent from here goes to the stack as it came, where [`crate::tc`] knows what to
//! do with it: so nothing is written before all is known that is needed, and there are no drops.

use core::ptr;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::helpers::{bpf_xdp_adjust_head, bpf_xdp_get_buff_len};
use aya_ebpf::programs::XdpContext;
use naru_ebpf_common::nat::HANDED_ON;
use naru_ebpf_common::overlay::{DIRECT_VNI, MACS, macs_of};
use naru_ebpf_common::{Addr, Reason, counter, protocol};
use naru_ebpf_logic::checksum::Change;
use naru_ebpf_logic::parse::plain::{L4_V4, L4_V6};
use naru_ebpf_logic::parse::{ETH_LEN, Frame};
use naru_ebpf_logic::tunnel::{INNER, Outer, Route, outer_len};
use naru_ebpf_logic::{Maps, Onward, from_wire};

use crate::tc::count;
use crate::{Kernel, hops};

/// Places in an IPv4 header.
const V4_CHECKSUM: usize = 10;
const V4_ADDRESSES: usize = 12;
/// Place in an IPv6 header.
const V6_ADDRESSES: usize = 8;
/// Places in TCP and UDP headers.
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

/// Runs the hook.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> u32 {
    let mut onward = Onward::default();
    let wire = Wire::new(ctx);
    if !from_wire(&Kernel, &wire, &mut onward) {
        return XDP_PASS;
    }
    let action = if onward.to.kind == HANDED_ON {
        hand_on(ctx, &wire, &onward)
    } else {
        translate(ctx, &wire, &onward)
    };
    if action == XDP_TX {
        let len = wire.len.saturating_sub(ETH_LEN as u32);
        count(counter::FROM_WIRE, Reason::FORWARDED, len);
    }
    action
}

/// Around the packet as it came: the headers of the overlay, under the identifier of what is handed
/// on, with MAC addresses that name the backend.
#[inline(always)]
fn hand_on(ctx: &XdpContext, wire: &Wire, onward: &Onward) -> u32 {
    let (Some(config), Some(tos)) = (Kernel.config(), type_of_service(wire)) else {
        return XDP_PASS;
    };
    let ends = [&config.v4.node_addr, &onward.to.src];
    let len = wire.len as u16;
    let Some(hop) = hops::find(ctx, ends, outer_len(len), onward.now_ns) else {
        return XDP_PASS;
    };
    let route = Route {
        macs: hop.macs,
        ends: ends.map(Addr::word_v4),
    };
    let outer = Outer::new(&route, &onward.key, DIRECT_VNI, len, tos, hop.next_id());
    let inner = macs_of(&onward.to.dst, onward.to.dst_port);
    // SAFETY: the helper moves the packet's beginning, or fails and leaves all as it is.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(INNER as i32)) } != 0 {
        return XDP_PASS;
    }
    let wire = Wire::of(ctx, wire.len);
    let (Some(around), Some(within)) = (wire.place(0), wire.place(INNER)) else {
        return XDP_DROP;
    };
    // SAFETY: both places lie inside the packet.
    unsafe {
        ptr::write_unaligned(around, outer);
        ptr::write_unaligned::<[u8; MACS]>(within, inner);
    }
    XDP_TX
}

/// Under other addresses and ports.
#[inline(always)]
fn translate(ctx: &XdpContext, wire: &Wire, onward: &Onward) -> u32 {
    let to = &onward.to;
    let len = wire.len.saturating_sub(ETH_LEN as u32) as u16;
    let Some(hop) = hops::find(ctx, [&to.src, &to.dst], len, onward.now_ns) else {
        return XDP_PASS;
    };
    let written = if to.dst.is_v4() {
        write_v4(wire, onward)
    } else {
        write_v6(wire, onward)
    };
    match (written, wire.place(0)) {
        (Some(()), Some(link)) => {
            // SAFETY: the place lies inside the packet.
            unsafe { ptr::write_unaligned(link, hop.macs) };
            XDP_TX
        }
        _ => XDP_PASS,
    }
}

/// Nothing is written unless all of it is.
#[inline(always)]
fn write_v4(wire: &Wire, onward: &Onward) -> Option<()> {
    let (key, to) = (&onward.key, &onward.to);
    let header = wire.place::<u16>(ETH_LEN + V4_CHECKSUM)?;
    let addresses = wire.place::<[u32; 2]>(ETH_LEN + V4_ADDRESSES)?;
    let new = [to.src.word_v4(), to.dst.word_v4()];
    let change = Change::of(key.src.word_v4(), new[0]).and(Change::of(key.dst.word_v4(), new[1]));
    transport(wire, L4_V4, onward, change)?;
    // SAFETY: both places lie inside the packet.
    unsafe {
        ptr::write_unaligned(header, change.apply(ptr::read_unaligned(header)));
        ptr::write_unaligned(addresses, new);
    }
    Some(())
}

/// The same of IPv6, whose header has no checksum.
#[inline(always)]
fn write_v6(wire: &Wire, onward: &Onward) -> Option<()> {
    let (key, to) = (&onward.key, &onward.to);
    let addresses = wire.place::<[Addr; 2]>(ETH_LEN + V6_ADDRESSES)?;
    let mut change = Change::default();
    for word in 0..4 {
        change = change
            .and(Change::of(key.src.words[word], to.src.words[word]))
            .and(Change::of(key.dst.words[word], to.dst.words[word]));
    }
    transport(wire, L4_V6, onward, change)?;
    // SAFETY: the place lies inside the packet.
    unsafe { ptr::write_unaligned(addresses, [to.src, to.dst]) };
    Some(())
}

/// Writes the ports of the TCP or UDP header at `l4` and its checksum; `change` is that of the
/// addresses.
#[inline(always)]
fn transport(wire: &Wire, l4: usize, onward: &Onward, change: Change) -> Option<()> {
    let (key, to) = (&onward.key, &onward.to);
    let ports = |src: u16, dst: u16| u32::from(src) | u32::from(dst) << 16;
    let new = ports(to.src_port.0, to.dst_port.0);
    let change = change.and(Change::of(ports(key.src_port.0, key.dst_port.0), new));
    let at = wire.place::<u32>(l4)?;
    let is_tcp = key.protocol == protocol::TCP;
    let checksum = if is_tcp { TCP_CHECKSUM } else { UDP_CHECKSUM };
    let checksum = wire.place::<u16>(l4 + checksum)?;
    // SAFETY: both places lie inside the packet.
    unsafe {
        let before = ptr::read_unaligned(checksum);
        let after = if is_tcp {
            change.apply(before)
        } else {
            change.apply_udp(before)
        };
        ptr::write_unaligned(checksum, after);
        ptr::write_unaligned(at, new);
    }
    Some(())
}

/// The type of service, or traffic class, of the packet.
#[inline(always)]
fn type_of_service(wire: &Wire) -> Option<u8> {
    let [word]: [u32; 1] = wire.words(ETH_LEN)?;
    let word = u32::from_be(word);
    Some(match word >> 28 {
        4 => (word >> 16) as u8,
        _ => (word >> 20) as u8,
    })
}

/// The first buffer of a frame. Invalid after the frame's beginning was moved.
struct Wire {
    start: usize,
    end: usize,
    /// Bytes of the whole frame.
    len: u32,
}

impl Wire {
    #[inline(always)]
    fn new(ctx: &XdpContext) -> Self {
        // SAFETY: the context is valid while the program runs.
        Self::of(ctx, unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as u32)
    }

    /// The same, when it is known how long the frame is.
    #[inline(always)]
    fn of(ctx: &XdpContext, len: u32) -> Self {
        // Volatile for the reason given in `skb`.
        // SAFETY: the context is valid while the program runs.
        let (start, end) = unsafe {
            (
                ptr::read_volatile(&raw const (*ctx.ctx).data),
                ptr::read_volatile(&raw const (*ctx.ctx).data_end),
            )
        };
        Self {
            start: start as usize,
            end: end as usize,
            len,
        }
    }

    /// Where something of this size is, if it lies in the buffer as a whole.
    #[inline(always)]
    fn place<T>(&self, offset: usize) -> Option<*mut T> {
        let start = self.start + offset;
        if start + size_of::<T>() > self.end {
            return None;
        }
        Some(start as *mut T)
    }

    #[inline(always)]
    fn at<T: Copy>(&self, offset: usize) -> Option<T> {
        // SAFETY: the bytes lie inside the packet, and T is an array of integers.
        self.place::<T>(offset)
            .map(|place| unsafe { ptr::read_unaligned(place) })
    }
}

impl Frame for Wire {
    #[inline(always)]
    fn half(&self, offset: usize) -> Option<u16> {
        self.at(offset)
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        self.at(offset)
    }

    #[inline(always)]
    fn bytes(&self) -> u32 {
        self.len
    }
}
