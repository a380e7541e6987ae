//! When packets of a limited pod leave.
//!
//! A limit is kept by departure times: each packet is given the moment at which it may leave, and a
//! queue further on (the qdisc `fq`) keeps it until then. What has been sent moves that moment on, by
//! the time that it takes at the limit's rate. So a limit is two numbers, nobody waits for a timer,
//! and what sends too fast finds its packets queued, as on a slow wire.
//!
//! Guarantees: over any time in which packets wait, what leaves is what the rate says, within one
//! packet. Idle time is not saved up: the clock that is read lags by a tick at most, and that is all
//! that a pod gets in advance. Two processors that send for one pod at the same moment may both read
//! the same departure; the one that writes last decides, and a packet leaves that was not counted.

use naru_ebpf_common::endpoint::LIMITED_INGRESS;
use naru_ebpf_common::policy::INGRESS;
use naru_ebpf_common::{Bandwidth, BandwidthKey, Endpoint, Reason};

use crate::{Maps, Packet, Verdict};

/// A packet that would have to wait longer is dropped.
pub const HORIZON_NS: u64 = 2_000_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// When a packet of `len` bytes may leave, not before `now_ns`; `None` if it may not wait for so
/// long, and then nothing has changed. A rate of 0 is none: the packet leaves now.
#[inline(always)]
pub fn depart(limit: &mut Bandwidth, now_ns: u64, len: u32) -> Option<u64> {
    let departure = limit.next_ns.max(now_ns);
    if departure - now_ns > HORIZON_NS {
        return None;
    }
    let takes = (u64::from(len) * SECOND_NS).checked_div(limit.rate);
    limit.next_ns = departure + takes.unwrap_or(0);
    Some(departure)
}

/// Into the pod `dst`: straight, or through its queue if what enters it is limited.
#[inline(always)]
pub(crate) fn deliver(p: &mut Packet, dst: &Endpoint) -> Verdict {
    if dst.flags & LIMITED_INGRESS == 0 {
        return Verdict::deliver(dst.ifindex);
    }
    p.limit = BandwidthKey::new(dst.id, INGRESS);
    Verdict::queue(dst.ifindex)
}

/// The same verdict, with the packet's departure if one of its ends is limited on the way that the
/// packet goes, or a drop if that is too far ahead.
#[inline(always)]
pub(crate) fn scheduled<M: Maps>(m: &M, p: &mut Packet, verdict: Verdict) -> Verdict {
    if p.limit.endpoint == 0 || !verdict.is_for_a_queue() {
        return verdict;
    }
    p.verdict = verdict;
    schedule(m, p);
    p.verdict
}

#[inline(never)]
fn schedule<M: Maps>(m: &M, p: &mut Packet) {
    let (now, len) = (m.now_ns(), p.len);
    match m.update_bandwidth(&p.limit, |limit| depart(limit, now, len)) {
        Some(Some(departure)) => p.departure_ns = departure,
        Some(None) => {
            p.found.endpoint = p.limit.endpoint;
            p.found.direction = p.limit.direction;
            p.verdict = Verdict::drop(Reason::BANDWIDTH);
        }
        // The limit is gone, or not there yet.
        None => p.departure_ns = now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 1_000_000;

    fn limit() -> Bandwidth {
        Bandwidth {
            rate: RATE,
            next_ns: 0,
        }
    }

    /// Numbers that look like chance, the same in every run.
    fn numbers(seed: u64) -> impl Iterator<Item = u64> {
        std::iter::successors(Some(seed), |last| {
            Some(last.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1))
        })
        .map(|number| number >> 33)
    }

    #[test]
    fn packets_leave_one_after_the_other() {
        let mut limit = limit();
        let now = 5 * SECOND_NS;
        assert_eq!(depart(&mut limit, now, 1000), Some(now));
        assert_eq!(depart(&mut limit, now, 1000), Some(now + 1_000_000));
        assert_eq!(depart(&mut limit, now, 500), Some(now + 2_000_000));
        assert_eq!(depart(&mut limit, now, 500), Some(now + 2_500_000));
    }

    #[test]
    fn idle_time_is_not_saved_up() {
        let mut limit = limit();
        depart(&mut limit, 1, 1000);
        let later = 100 * SECOND_NS;
        assert_eq!(depart(&mut limit, later, 1000), Some(later));
        assert_eq!(depart(&mut limit, later, 1000), Some(later + 1_000_000));
    }

    #[test]
    fn what_would_wait_beyond_the_horizon_is_dropped_and_takes_nothing() {
        let mut limit = limit();
        assert_eq!(depart(&mut limit, 0, 2_000_001), Some(0));
        let full = limit;
        assert_eq!(depart(&mut limit, 0, 1), None);
        assert_eq!(limit, full);
        assert_eq!(depart(&mut limit, 1_000, 1), Some(2_000_001_000));
    }

    #[test]
    fn another_rate_counts_from_the_next_packet_on() {
        let mut limit = limit();
        depart(&mut limit, 0, 1000);
        limit.rate = 10 * RATE;
        assert_eq!(depart(&mut limit, 0, 1000), Some(1_000_000));
        assert_eq!(depart(&mut limit, 0, 1000), Some(1_100_000));
    }

    #[test]
    fn no_rate_divides_by_nothing() {
        let mut limit = Bandwidth::default();
        assert_eq!(depart(&mut limit, 7, u32::MAX), Some(7));
        assert_eq!(depart(&mut limit, 7, u32::MAX), Some(7));
    }

    /// Whatever is sent, at whatever rate and in whatever rhythm: nothing leaves before it was sent,
    /// nothing waits beyond the horizon, and between any two departures lies what was sent in
    /// between at the rate, to the nanosecond that each packet's time is rounded down by.
    #[test]
    fn no_rhythm_of_sending_goes_round_the_limit() {
        for seed in 1..=200 {
            let mut numbers = numbers(seed);
            let mut next = |below: u64| numbers.next().unwrap_or(0) % below;
            let rate = [125, 125_000, 12_500_000, 1_250_000_000, 125_000_000_000_000];
            let rate = rate[next(5) as usize];
            let mut limit = Bandwidth { rate, next_ns: 0 };
            let (mut now, mut dropped) = (1, 0);
            let mut left: Vec<(u64, u64)> = Vec::new();
            for _ in 0..500 {
                now += next(3) * next(20_000_000);
                let len = 60 + next(65_000) as u32;
                match depart(&mut limit, now, len) {
                    Some(at) => {
                        assert!(now <= at && at <= now + HORIZON_NS, "rate {rate}");
                        left.push((at, len.into()));
                    }
                    None => dropped += 1,
                }
            }
            assert!(rate > 125_000 || dropped > 0, "a slow limit drops");
            for first in [0, left.len() / 3, left.len() / 2] {
                let (begin, mut bytes) = (left[first].0, 0);
                for (n, (at, len)) in left[first..].iter().enumerate() {
                    let took = u128::from(at - begin) + n as u128;
                    let fastest = bytes * u128::from(SECOND_NS) / u128::from(rate);
                    assert!(took >= fastest, "rate {rate}: {bytes} bytes in {took} ns");
                    bytes += u128::from(*len);
                }
            }
        }
    }

    /// Whoever always has something to send gets the whole rate.
    #[test]
    fn the_rate_is_reached_within_a_packet() {
        let mut limit = limit();
        let (mut now, mut sent) = (0, 0);
        while now < 10 * SECOND_NS {
            if let Some(at) = depart(&mut limit, now, 1500) {
                sent += if at <= 10 * SECOND_NS { 1500 } else { 0 };
            }
            now += 100_000;
        }
        let whole = 10 * RATE;
        assert!(sent >= whole - 1500 && sent <= whole + 1500, "{sent}");
    }
}
