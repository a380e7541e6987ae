//! Fragments: a packet's ports stand in its first part, the others are judged by what that said.
//!
//! Nothing is put together here, so that nothing can be filled up: the receiver does that. A part
//! that overtook the first is dropped; nothing sends parts out of order on purpose.

use naru_ebpf_common::fragment::FOLLOW_NS;
use naru_ebpf_common::{FragmentKey, Fragmented, Reason};

use crate::{Maps, Packet};

/// Which part of a packet a frame carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Identification of the packet, as it lies in the header.
    pub id: u32,
    /// [`Part::WHOLE`], [`Part::FIRST`] or [`Part::LATER`].
    pub which: u8,
}

impl Part {
    /// All of it.
    pub const WHOLE: u8 = 0;
    /// The part with the header of layer 4.
    pub const FIRST: u8 = 1;
    /// One without.
    pub const LATER: u8 = 2;

    /// Whether the frame has the header of layer 4 and not the end of the packet.
    #[inline(always)]
    pub const fn is_first(self) -> bool {
        self.which == Self::FIRST
    }

    /// Whether the frame has no header of layer 4.
    #[inline(always)]
    pub const fn is_later(self) -> bool {
        self.which == Self::LATER
    }
}

/// Notes the ports of a first fragment, and gives them to a later one.
/// [`Reason::FORWARDED`] means that the packet can be judged.
#[inline(never)]
pub fn resolve<M: Maps>(m: &M, p: &mut Packet) -> Reason {
    if p.related != 0 {
        return Reason::FRAGMENT;
    }
    let key = FragmentKey {
        src: p.src,
        dst: p.dst,
        id: p.part.id,
        protocol: p.protocol,
        reserved: [0; 3],
    };
    let now = m.now_ns();
    if !p.part.is_later() {
        let first = Fragmented {
            seen_ns: now,
            src_port: p.src_port,
            dst_port: p.dst_port,
            icmp_type: p.icmp_type,
            reserved: [0; 3],
        };
        m.insert_fragmented(&key, &first);
        return Reason::FORWARDED;
    }
    match m.fragmented(&key) {
        Some(first) if now.wrapping_sub(first.seen_ns) <= FOLLOW_NS => {
            p.src_port = first.src_port;
            p.dst_port = first.dst_port;
            p.icmp_type = first.icmp_type;
            Reason::FORWARDED
        }
        _ => Reason::FRAGMENT,
    }
}
