//! Packets of a flow that is known and plain: one lookup, and as few instructions as can be.
//!
//! Nearly every packet is one of these. What a program costs between two packets of a connection is
//! less its instructions than the memory they live in, which the rest of the network stack has
//! driven out of the caches meanwhile. So this way keeps its packet in registers and a tuple on the
//! stack, and leaves every other case, IPv4 options and first packets included, to the hooks.

use naru_ebpf_common::{Tuple, protocol};

use crate::Maps;
use crate::conntrack::{self, Way};
use crate::packet::Segment;
use crate::parse::{self, Frame};

/// Version 4 and a header without options.
const PLAIN_IPV4: u8 = 0x45;
/// The flag of more fragments and the offset, as they lie in the second word of a header.
const FRAGMENT_WORD: u32 = u32::from_ne_bytes([0, 0, 0x3f, 0xff]);
/// Where the TCP or UDP header is.
const L4: usize = parse::ETH_LEN + parse::IPV4_LEN;

/// The way of the packet in `frame`, which arrived on the interface `from` (0 for the uplink), if
/// its flow is open, allowed, remembered and not translated; else one that is not known.
#[inline(always)]
pub fn way<F: Frame, M: Maps>(m: &M, frame: &F, from: u32) -> Way {
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
    let go_on = |conn: &mut _| conntrack::go_on(conn, config, segment, side & 1, from, now);
    let way = m.update_conn(&key, go_on).unwrap_or(Way::UNKNOWN);
    if way.is_last() {
        m.remove_conn(&key);
    }
    way
}

/// The flow of a TCP or UDP packet, the side that sent it, and its segment.
#[inline(always)]
fn read<F: Frame>(frame: &F) -> Option<(Tuple, usize, Segment)> {
    if u16::from_be(frame.half(parse::ETHERTYPE)?) != parse::IPV4 {
        return None;
    }
    let ip: [u32; parse::IPV4_WORDS] = frame.words(parse::ETH_LEN)?;
    let [version_and_len, _, len_high, len_low] = ip[0].to_ne_bytes();
    if version_and_len != PLAIN_IPV4 || ip[1] & FRAGMENT_WORD != 0 {
        return None;
    }
    let protocol = ip[2].to_ne_bytes()[1];
    let (ports, segment) = match protocol {
        protocol::TCP => {
            let tcp: [u32; parse::TCP_WORDS] = frame.words(L4)?;
            let len = u32::from(u16::from_be_bytes([len_high, len_low]));
            (
                tcp[0],
                parse::segment(&tcp, len.wrapping_sub(parse::IPV4_LEN as u32)),
            )
        }
        protocol::UDP => {
            let [ports]: [u32; 1] = frame.words(L4)?;
            (ports, Segment::default())
        }
        _ => return None,
    };
    let (src_port, dst_port) = parse::ports(ports);
    let (key, side) = Tuple::v4((ip[3], src_port), (ip[4], dst_port), protocol);
    Some((key, side, segment))
}
