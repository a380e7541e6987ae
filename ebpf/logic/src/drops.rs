//! Drops: counted per cause, reported at once the first time and then once a second at most.

use naru_ebpf_common::event::{DROP, DROP_REPEAT_NS};
use naru_ebpf_common::{DropCount, DropKey, Reason};

use crate::{Maps, Packet, admission};

/// Counts a dropped packet and sends an event if one is due. Nothing is sampled away: an event says
/// how many packets it stands for, and the map holds the totals.
#[inline(never)]
pub fn record<M: Maps>(m: &M, p: &mut Packet, reason: Reason) -> u32 {
    let key = DropKey {
        src: p.src,
        dst: p.dst,
        dst_port: p.dst_port,
        protocol: p.protocol,
        reason,
        endpoint: p.found.endpoint,
    };
    let now = m.now_ns();
    let len = u64::from(p.len);
    let due = m.update_drop(&key, |count| count_one(count, len, now));
    let (packets, bytes) = match due {
        Some(due) => (due as u32, due >> 32),
        None => {
            m.insert_drop(&key, &first(len, now));
            (1, len)
        }
    };
    if packets != 0 {
        admission::describe(p, DROP, now);
        p.event.reason = reason;
        p.event.count = packets;
        p.event.bytes = bytes;
        m.emit(&p.event, true);
    }
    0
}

#[inline(always)]
fn first(len: u64, now: u64) -> DropCount {
    DropCount {
        packets: 1,
        bytes: len,
        first_ns: now,
        reported_ns: now,
        ..DropCount::default()
    }
}

/// Adds a packet; returns packets (low half) and bytes (high half) to report now, 0 for nothing.
#[inline(always)]
fn count_one(count: &mut DropCount, len: u64, now: u64) -> u64 {
    count.packets = count.packets.wrapping_add(1);
    count.bytes = count.bytes.wrapping_add(len);
    count.pending_packets = count.pending_packets.wrapping_add(1);
    count.pending_bytes = count.pending_bytes.wrapping_add(len);
    if now.saturating_sub(count.reported_ns) < DROP_REPEAT_NS {
        return 0;
    }
    let due = (count.pending_packets & 0xffff_ffff) | count.pending_bytes << 32;
    count.pending_packets = 0;
    count.pending_bytes = 0;
    count.reported_ns = now;
    due
}
