//! Packets of a flow that is known and plain: one lookup, and as few instructions as can be.
//!
//! Nearly every packet is one of these. What a program costs between two packets of a connection is
//! less its instructions than the memory they live in, which the rest of the network stack has
//! driven out of the caches meanwhile. So this way keeps its packet in registers and a tuple on the
//! stack, and leaves every other case, IPv4 options and first packets included, to the hooks.

use naru_ebpf_common::Tuple;

use crate::Maps;
use crate::conntrack::{self, Origin, Way};
use crate::packet::Segment;
use crate::parse::{self, Frame, plain};

/// The way of the packet in `frame`, which was seen at `origin`, if its flow is open, allowed,
/// remembered and not translated; else one that is not known.
#[inline(always)]
pub fn way<F: Frame, M: Maps>(m: &M, frame: &F, origin: Origin) -> Way {
    let Some(config) = m.config().filter(|c| c.epoch != 0) else {
        return Way::UNKNOWN;
    };
    let Some((key, side, segment)) = read(frame) else {
        return Way::UNKNOWN;
    };
    if segment.is_opening() {
        return Way::UNKNOWN;
    }
    let now = m.now_ns();
    let go_on = |conn: &mut _| conntrack::go_on(conn, config, segment, side & 1, origin, now);
    let way = m.update_conn(&key, go_on).unwrap_or(Way::UNKNOWN);
    if way.is_last() {
        m.remove_conn(&key);
    }
    way
}

/// A flow, the side that sent a packet of it, and the packet's segment.
type Read = Option<(Tuple, usize, Segment)>;

#[inline(always)]
fn read<F: Frame>(frame: &F) -> Read {
    match u16::from_be(frame.half(parse::ETHERTYPE)?) {
        parse::IPV4 => read_v4(frame),
        parse::IPV6 => read_v6(frame),
        _ => None,
    }
}

#[inline(always)]
fn read_v4<F: Frame>(frame: &F) -> Read {
    let p = plain::v4(frame)?;
    let (key, side) = Tuple::v4((p.src, p.src_port), (p.dst, p.dst_port), p.protocol);
    Some((key, side, p.segment))
}

#[inline(always)]
fn read_v6<F: Frame>(frame: &F) -> Read {
    let p = plain::v6(frame)?;
    let (key, side) = Tuple::new(&p.src, p.src_port, &p.dst, p.dst_port, p.protocol);
    Some((key, side, p.segment))
}
