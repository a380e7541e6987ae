//! Packets of a flow that is known and plain: one lookup, and as few instructions as can be.
//!
//! Nearly every packet is one of these. What a program costs between two packets of a connection is
//! less its instructions than the memory they live in, which the rest of the network stack has
//! driven out of the caches meanwhile. So this way keeps its packet in registers and a tuple on the
//! stack, and leaves every other case, IPv4 options and first packets included, to the hooks.

use naru_ebpf_common::{Addr, Tuple, protocol};

use crate::Maps;
use crate::conntrack::{self, Origin, Way};
use crate::packet::Segment;
use crate::parse::{self, Frame};

/// Version 4 and a header without options.
const PLAIN_IPV4: u8 = 0x45;
/// The flag of more fragments and the offset, as they lie in the second word of a header.
const FRAGMENT_WORD: u32 = u32::from_ne_bytes([0, 0, 0x3f, 0xff]);
/// Where the TCP or UDP header is.
const L4: usize = parse::ETH_LEN + parse::IPV4_LEN;
/// The same of an IPv6 packet without extension headers.
const L4_V6: usize = parse::ETH_LEN + parse::IPV6_LEN;

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
    let ip: [u32; parse::IPV4_WORDS] = frame.words(parse::ETH_LEN)?;
    let [version_and_len, _, len_high, len_low] = ip[0].to_ne_bytes();
    if version_and_len != PLAIN_IPV4 || ip[1] & FRAGMENT_WORD != 0 {
        return None;
    }
    let protocol = ip[2].to_ne_bytes()[1];
    let len = u32::from(u16::from_be_bytes([len_high, len_low]));
    let len = len.wrapping_sub(parse::IPV4_LEN as u32);
    let (ports, segment) = transport(frame, L4, protocol, len)?;
    let (src_port, dst_port) = parse::ports(ports);
    let (key, side) = Tuple::v4((ip[3], src_port), (ip[4], dst_port), protocol);
    Some((key, side, segment))
}

#[inline(always)]
fn read_v6<F: Frame>(frame: &F) -> Read {
    let [first, second]: [u32; 2] = frame.words(parse::ETH_LEN)?;
    let [len_high, len_low, protocol, _] = second.to_ne_bytes();
    let len = u32::from(u16::from_be_bytes([len_high, len_low]));
    let (ports, segment) = transport(frame, L4_V6, protocol, len)?;
    let (src_port, dst_port) = parse::ports(ports);
    let src = Addr {
        words: frame.words(parse::ETH_LEN + parse::IPV6_SRC)?,
    };
    let dst = Addr {
        words: frame.words(parse::ETH_LEN + parse::IPV6_SRC + size_of::<Addr>())?,
    };
    if first.to_ne_bytes()[0] >> 4 != 6 || src.is_v4() || dst.is_v4() {
        return None;
    }
    let (key, side) = Tuple::new(&src, src_port, &dst, dst_port, protocol);
    Some((key, side, segment))
}

/// The ports and the segment of the TCP or UDP header at `l4`, whose bytes with all that follows
/// are `len`.
#[inline(always)]
fn transport<F: Frame>(frame: &F, l4: usize, protocol: u8, len: u32) -> Option<(u32, Segment)> {
    match protocol {
        protocol::TCP => {
            let tcp: [u32; parse::TCP_WORDS] = frame.words(l4)?;
            Some((tcp[0], parse::segment(&tcp, len)))
        }
        protocol::UDP => {
            let [ports]: [u32; 1] = frame.words(l4)?;
            Some((ports, Segment::default()))
        }
        _ => None,
    }
}
