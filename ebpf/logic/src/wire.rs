//! Packets that leave again by the link on which they came: hook `from_wire`, which the uplink's
//! driver runs before the kernel knows of the packet.
//!
//! They belong to clients outside that use a Service here whose backend is on another node. Flows
//! are opened, noted and ended by [`crate::from_network`] alone. What it noted of one holds here for
//! a second ([`STAMP_NS`]): the next packet then goes its way, and renews the note. So nothing is
//! written here, and whatever there is to decide is decided in one place.

use naru_ebpf_common::nat::{HANDED_ON, NODE_PORT_REMOTE, REPLY, UNANSWERED};
use naru_ebpf_common::overlay::OVERHEAD;
use naru_ebpf_common::{NatEntry, NatKey, NodeConfig, protocol};

use crate::Maps;
use crate::conntrack::STAMP_NS;
use crate::from_network::may_be_served;
use crate::parse::{Frame, plain};

/// Flags of segments that open or end a connection.
const OF_NOTE: u8 = protocol::SYN | protocol::FIN | protocol::RST;

/// Flags of an entry whose next packet says that the flow is answered.
const FIRST_ANSWER: u8 = REPLY | UNANSWERED;

/// Bytes of the longest frame: with more headers it still has a length of IP.
const LONGEST: u32 = u16::MAX as u32 - OVERHEAD;

/// A packet and what becomes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Onward {
    /// The packet.
    pub key: NatKey,
    /// What it becomes. If it is [`HANDED_ON`], nothing: then the source is the IPv4 address of the
    /// node that it goes to, and the destination the backend there.
    pub to: NatEntry,
    /// When this was found, nanoseconds of the monotonic clock.
    pub now_ns: u64,
}

/// Whether the packet in `frame` leaves by the uplink as `onward` says then; everything else is the
/// stack's.
#[inline(always)]
pub fn from_wire<M: Maps, F: Frame>(m: &M, frame: &F, onward: &mut Onward) -> bool {
    let Some(config) = m.config().filter(|c| c.uplink_ifindex != 0) else {
        return false;
    };
    let is_whole = frame.bytes() <= LONGEST && read(frame, &mut onward.key);
    if !is_whole || !may_be_known(config, &onward.key) {
        return false;
    }
    let (now, to) = (m.now_ns(), &mut onward.to);
    onward.now_ns = now;
    let is_noted = m.update_nat(&onward.key, |entry| {
        *to = *entry;
        now.saturating_sub(entry.seen_ns) <= STAMP_NS && entry.flags & FIRST_ANSWER != FIRST_ANSWER
    });
    is_noted == Some(true) && leaves(config, onward)
}

/// Reads a plain packet in the middle of its flow; false if it is none.
#[inline(always)]
fn read<F: Frame>(frame: &F, key: &mut NatKey) -> bool {
    plain::tuple(frame, key).is_some_and(|segment| segment.flags & OF_NOTE == 0)
}

/// Whether it is worth a lookup: most packets are for pods, or for the node itself.
#[inline(always)]
fn may_be_known(config: &NodeConfig, key: &NatKey) -> bool {
    let family = config.family(&key.dst);
    let is_own = key.src == family.node_addr || family.is_of_pods(&key.src);
    let is_for_node = key.dst == family.node_addr && !may_be_served(config, key.dst_port);
    !is_own && !is_for_node && !family.is_of_pods(&key.dst)
}

/// Whether what was noted leads out of the uplink, in the way in which the node sends now.
#[inline(always)]
fn leaves(config: &NodeConfig, onward: &Onward) -> bool {
    match onward.to.kind {
        HANDED_ON => config.is_direct(onward.key.protocol) && onward.to.src.is_v4(),
        // Through an overlay the device for that leads.
        NODE_PORT_REMOTE => config.overlay_ifindex == 0,
        _ => false,
    }
}
