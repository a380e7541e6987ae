//! When the link is told again who announces an address.
//!
//! A frame may be lost without a word: the switch's port or the own card may just have come up, a
//! neighbour may be asking for the old place at this moment. Who missed the first frames and has an
//! entry for the address would talk to a dead machine until its own kernel gives up, which takes
//! Linux three seconds and more.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Between the frames at first, and how long at first lasts.
const SOON: Duration = Duration::from_millis(250);
const FIRST: Duration = Duration::from_secs(3);
/// Between the frames later on, and when there is an end of them.
const LATER: Duration = Duration::from_secs(1);
const END: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy)]
struct Due {
    since: Duration,
    at: Duration,
}

/// Addresses that are to be told again.
#[derive(Debug, Default)]
pub struct Repeats(BTreeMap<IpAddr, Due>);

impl Repeats {
    /// Begins anew with an address, which has just been told. What is due soon anyway is due no
    /// sooner.
    pub fn begin(&mut self, now: Duration, address: IpAddr) {
        let next = now + SOON;
        let due = self.0.entry(address).or_insert(Due {
            since: now,
            at: next,
        });
        due.since = now;
        due.at = due.at.min(next);
    }

    /// No more of an address.
    pub fn stop(&mut self, address: IpAddr) {
        self.0.remove(&address);
    }

    /// What is to be told now.
    pub fn due(&mut self, now: Duration) -> Vec<IpAddr> {
        let mut told = Vec::new();
        for (address, due) in &mut self.0 {
            if due.at <= now {
                let age = now.saturating_sub(due.since);
                due.at = now + if age < FIRST { SOON } else { LATER };
                told.push(*address);
            }
        }
        self.0.retain(|_, due| now < due.since + END);
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(50);

    fn address() -> IpAddr {
        IpAddr::from([192, 0, 2, 1])
    }

    /// When something was told, in milliseconds after the start, until a minute is over.
    fn told(repeats: &mut Repeats, from: Duration) -> Vec<u128> {
        let ticks = (1..1200).map(|tick| TICK * tick);
        let told = ticks.filter(|tick| !repeats.due(from + *tick).is_empty());
        told.map(|tick| tick.as_millis()).collect()
    }

    #[test]
    fn often_at_first_then_seldom_then_never() {
        let start = Duration::from_secs(7);
        let mut repeats = Repeats::default();
        repeats.begin(start, address());
        let told = told(&mut repeats, start);
        assert_eq!(told[..3], [250, 500, 750]);
        let count = |from, to| told.iter().filter(|at| (from..to).contains(*at)).count();
        assert_eq!((count(0, 3000), count(4000, 14000)), (11, 10));
        assert!(told.last().is_some_and(|last| *last <= 15000), "{told:?}");
    }

    #[test]
    fn to_begin_anew_time_and_again_hastens_nothing() {
        let mut repeats = Repeats::default();
        let mut count = 0;
        for tick in 0..200 {
            repeats.begin(TICK * tick, address());
            count += repeats.due(TICK * tick).len();
        }
        assert!((38..=40).contains(&count), "{count} in ten seconds");
        repeats.stop(address());
        assert!(told(&mut repeats, Duration::from_secs(10)).is_empty());
    }
}
