//! A work queue of keys: each waits at most once, runs at most once at a time, and backs off alone.
//!
//! Guarantees: a key added while it is being worked on runs again afterwards; of several delayed
//! additions the earliest counts; failures of one key delay that key only.

use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

const FIRST_RETRY: Duration = Duration::from_millis(5);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// The queue; see the module for its guarantees.
pub struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Notify,
}

struct State<T> {
    ready: VecDeque<T>,
    /// Waiting in `ready`, or to be put there when the running attempt ends.
    dirty: HashSet<T>,
    active: HashSet<T>,
    delayed: BTreeMap<(Instant, u64), T>,
    deadline: HashMap<T, (Instant, u64)>,
    serial: u64,
    failures: HashMap<T, u32>,
}

impl<T: Clone + Eq + Hash + Debug> Default for Queue<T> {
    fn default() -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            active: HashSet::new(),
            delayed: BTreeMap::new(),
            deadline: HashMap::new(),
            serial: 0,
            failures: HashMap::new(),
        };
        Queue {
            state: Mutex::new(state),
            wake: Notify::new(),
        }
    }
}

impl<T: Clone + Eq + Hash + Debug> Queue<T> {
    /// Asks for `key` to be looked at now.
    pub fn add(&self, key: T) {
        self.state.lock().add(key);
        self.wake.notify_one();
    }

    /// Asks for `key` to be looked at in `delay`, unless it is due earlier anyway.
    pub fn add_after(&self, key: T, delay: Duration) {
        self.state.lock().delay(key, Instant::now() + delay);
        self.wake.notify_one();
    }

    /// Asks for `key` again after a failure, later with each failure in a row (5 ms to 60 s).
    pub fn retry(&self, key: T) {
        let mut state = self.state.lock();
        let failures = state.failures.entry(key.clone()).or_insert(0);
        let delay = backoff(*failures);
        *failures = failures.saturating_add(1);
        state.delay(key, Instant::now() + delay);
        drop(state);
        self.wake.notify_one();
    }

    /// Forgets the failures of `key`.
    pub fn forget(&self, key: &T) {
        self.state.lock().failures.remove(key);
    }

    /// The next key; the caller must hand it back through [`Queue::done`].
    pub async fn next(&self) -> T {
        loop {
            let woken = self.wake.notified();
            let due = {
                let mut state = self.state.lock();
                state.promote(Instant::now());
                if let Some(key) = state.take() {
                    if !state.ready.is_empty() || !state.delayed.is_empty() {
                        self.wake.notify_one();
                    }
                    return key;
                }
                state.delayed.keys().next().map(|(due, _)| *due)
            };
            match due {
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, woken).await;
                }
                None => woken.await,
            }
        }
    }

    /// Ends the attempt at `key` that [`Queue::next`] began.
    pub fn done(&self, key: &T) {
        let mut state = self.state.lock();
        state.active.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.wake.notify_one();
        }
    }
}

impl<T: Clone + Eq + Hash + Debug> State<T> {
    fn add(&mut self, key: T) {
        if let Some(at) = self.deadline.remove(&key) {
            self.delayed.remove(&at);
        }
        if self.dirty.insert(key.clone()) && !self.active.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn delay(&mut self, key: T, due: Instant) {
        match self.deadline.get(&key) {
            Some((earlier, _)) if *earlier <= due => return,
            Some(at) => {
                self.delayed.remove(at);
            }
            None => {}
        }
        self.serial += 1;
        self.deadline.insert(key.clone(), (due, self.serial));
        self.delayed.insert((due, self.serial), key);
    }

    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let key = entry.remove();
            self.deadline.remove(&key);
            self.add(key);
        }
    }

    fn take(&mut self) -> Option<T> {
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.active.insert(key.clone());
        Some(key)
    }
}

fn backoff(failures: u32) -> Duration {
    FIRST_RETRY
        .saturating_mul(1u32.checked_shl(failures.min(20)).unwrap_or(u32::MAX))
        .min(LAST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn poll(queue: &Queue<&'static str>) -> Option<&'static str> {
        queue.next().now_or_never()
    }

    #[tokio::test]
    async fn a_key_waits_only_once() {
        let queue = Queue::default();
        queue.add("a");
        queue.add("a");
        assert_eq!(poll(&queue), Some("a"));
        queue.done(&"a");
        assert_eq!(poll(&queue), None);
    }

    #[tokio::test]
    async fn a_key_added_while_active_runs_again_and_never_twice_at_once() {
        let queue = Queue::default();
        queue.add("a");
        assert_eq!(poll(&queue), Some("a"));
        queue.add("a");
        assert_eq!(poll(&queue), None);
        queue.done(&"a");
        assert_eq!(poll(&queue), Some("a"));
    }

    #[test]
    fn of_several_delays_the_earliest_counts() {
        let queue = Queue::default();
        let mut state = queue.state.lock();
        let start = Instant::now();
        for seconds in [9, 2, 5] {
            state.delay("a", start + Duration::from_secs(seconds));
        }
        state.promote(start + Duration::from_secs(1));
        assert_eq!(state.take(), None);
        state.promote(start + Duration::from_secs(2));
        assert_eq!(state.take(), Some("a"));
        state.promote(start + Duration::from_secs(10));
        assert!(!state.dirty.contains("a"));
    }

    #[test]
    fn failures_double_the_delay_until_forgotten() {
        let queue = Queue::default();
        queue.retry("a");
        queue.retry("a");
        assert_eq!(queue.state.lock().failures["a"], 2);
        queue.forget(&"a");
        assert!(queue.state.lock().failures.is_empty());
        assert_eq!([0, 1, 2].map(|n| backoff(n).as_millis()), [5, 10, 20]);
    }

    #[test]
    fn backoff_ends_at_a_minute() {
        assert_eq!(backoff(0), FIRST_RETRY);
        assert_eq!(backoff(40), LAST_RETRY);
    }
}
