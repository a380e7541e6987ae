//! Pods that no node could take, waiting for an event that may change that.
//!
//! Time is an argument. A pod that failed often waits longer after an event (1 s, doubling to
//! 10 s, counted from its last attempt), so that a full cluster with much movement stays cheap.

use crate::controllers::runtime::Key;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(10);

struct Attempt {
    count: u32,
    last: Instant,
    waiting: bool,
}

/// The parked pods.
#[derive(Default)]
pub struct Parked {
    pods: HashMap<Key, Attempt>,
}

impl Parked {
    /// Parks a pod after a failed attempt.
    pub fn park(&mut self, key: &Key, now: Instant) {
        let attempt = self.pods.entry(key.clone()).or_insert(Attempt {
            count: 0,
            last: now,
            waiting: true,
        });
        attempt.count = attempt.count.saturating_add(1);
        attempt.last = now;
        attempt.waiting = true;
    }

    /// Forgets a pod that was bound or deleted.
    pub fn forget(&mut self, key: &Key) {
        self.pods.remove(key);
    }

    /// Something changed: every parked pod, with how long it still has to wait.
    pub fn wake(&mut self, now: Instant) -> Vec<(Key, Duration)> {
        let mut woken = Vec::new();
        for (key, attempt) in self.pods.iter_mut().filter(|(_, attempt)| attempt.waiting) {
            attempt.waiting = false;
            let due = attempt.last + delay(attempt.count);
            woken.push((key.clone(), due.saturating_duration_since(now)));
        }
        woken
    }
}

fn delay(count: u32) -> Duration {
    FIRST
        .saturating_mul(1 << count.saturating_sub(1).min(8))
        .min(LAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_wakes_once_and_never_sooner_than_the_back_off() {
        let (mut parked, key, start) = (Parked::default(), Key::new("ns", "p"), Instant::now());
        parked.park(&key, start);
        let later = start + Duration::from_millis(400);
        assert_eq!(
            parked.wake(later),
            [(key.clone(), Duration::from_millis(600))]
        );
        assert!(parked.wake(later).is_empty());
        parked.park(&key, later);
        assert_eq!(
            parked.wake(later + Duration::from_secs(60)),
            [(key.clone(), Duration::ZERO)]
        );
        parked.park(&key, later);
        parked.forget(&key);
        assert!(parked.wake(later).is_empty());
    }

    #[test]
    fn delays_double_to_ten_seconds() {
        assert_eq!(
            [1, 2, 3, 4, 5, 99].map(|count| delay(count).as_secs()),
            [1, 2, 4, 8, 10, 10]
        );
    }
}
