//! Events that wait for a thread which takes them somewhere: bounded, in order, lost by number.
//!
//! No request waits for room. Events wait here while their place is slow; when they would take more
//! than [`ROOM`], new ones are lost, which is told when it begins and counted when it is over. Who
//! wants to wait until an event of his is delivered can ([`Queue::settled`]); he does not wait for a
//! place that refuses.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

/// Bytes of events that may wait.
pub(super) const ROOM: usize = 16 << 20;
/// How long the end of the process waits for the last events.
const PATIENCE: Duration = Duration::from_secs(5);

/// Events on their way to one place.
pub(super) struct Queue {
    /// What the place is called in messages.
    place: &'static str,
    waiting: Mutex<Waiting>,
    /// Something in `waiting` has changed.
    news: Condvar,
    progress: watch::Sender<Progress>,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Bytes>,
    /// Of the events, and of those that are being delivered.
    bytes: usize,
    /// Events that ever had room.
    taken: u64,
    /// Events since the queue was last empty that are lost.
    lost: u64,
    /// No events will follow.
    closed: bool,
    /// The thread is gone.
    ended: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// Events of which is known what became.
    settled: u64,
    /// The place refuses at the moment.
    stuck: bool,
}

impl Queue {
    /// An empty queue to a place that messages call `place`.
    pub(super) fn new(place: &'static str) -> Self {
        Self {
            place,
            waiting: Mutex::default(),
            news: Condvar::new(),
            progress: watch::Sender::default(),
        }
    }

    /// Takes an event; answers its number for [`Queue::settled`].
    pub(super) fn push(&self, event: Bytes) -> u64 {
        let mut waiting = self.waiting.lock();
        if waiting.bytes + event.len() <= ROOM {
            waiting.bytes += event.len();
            waiting.taken += 1;
            waiting.events.push_back(event);
            self.news.notify_all();
            return waiting.taken;
        }
        waiting.lost += 1;
        if waiting.lost == 1 {
            tracing::error!("{} is too slow or full: events are lost", self.place);
        }
        0
    }

    /// Waits until it is known what became of the event of that number, or its place refuses.
    pub(super) async fn settled(&self, number: u64) {
        let mut progress = self.progress.subscribe();
        let known = |progress: &Progress| progress.stuck || progress.settled >= number;
        // The sender is in `self`.
        let _ = progress.wait_for(known).await;
    }

    /// The next event; none when it was the last.
    pub(super) fn pop(&self) -> Option<Bytes> {
        self.gather(1, Duration::ZERO).pop()
    }

    /// The next events: as soon as there are `most`, or some and `wait` has passed since the first was
    /// seen. None when there will be no more.
    pub(super) fn gather(&self, most: usize, wait: Duration) -> Vec<Bytes> {
        let mut waiting = self.waiting.lock();
        self.news.wait_while(&mut waiting, |waiting| {
            waiting.events.is_empty() && !waiting.closed
        });
        let end = Instant::now() + wait;
        let few = |waiting: &mut Waiting| waiting.events.len() < most && !waiting.closed;
        self.news.wait_while_until(&mut waiting, few, end);
        let count = waiting.events.len().min(most);
        waiting.events.drain(..count).collect()
    }

    /// These events are delivered or, if `lost`, given up.
    pub(super) fn done(&self, events: &[Bytes], lost: bool) {
        let mut waiting = self.waiting.lock();
        let count = events.len() as u64;
        waiting.bytes -= events.iter().map(Bytes::len).sum::<usize>();
        if lost {
            waiting.lost += count;
        }
        self.news.notify_all();
        if waiting.events.is_empty() && waiting.lost > 0 && !lost {
            let lost = std::mem::take(&mut waiting.lost);
            tracing::warn!(lost, "{} keeps up again", self.place);
        }
        drop(waiting);
        self.progress
            .send_modify(|progress| progress.settled += count);
    }

    /// Whether the place refuses.
    pub(super) fn stuck(&self, stuck: bool) {
        self.progress.send_if_modified(|progress| {
            let changed = progress.stuck != stuck;
            progress.stuck = stuck;
            changed
        });
    }

    /// Waits for a while; whether events may still follow.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let mut waiting = self.waiting.lock();
        let open = |waiting: &mut Waiting| !waiting.closed;
        self.news.wait_while_for(&mut waiting, open, time);
        !waiting.closed
    }

    /// The thread is gone.
    pub(super) fn end(&self) {
        self.waiting.lock().ended = true;
        self.news.notify_all();
    }

    /// No events will follow; waits until the last ones are delivered, if that is possible.
    pub(super) fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        self.news.notify_all();
        let busy = |waiting: &mut Waiting| !waiting.ended;
        self.news.wait_while_for(&mut waiting, busy, PATIENCE);
        let lost = waiting.lost + waiting.events.len() as u64;
        if lost > 0 {
            tracing::error!(lost, "{} ends incomplete", self.place);
        }
    }

    /// Waits until everything is delivered.
    #[cfg(test)]
    pub(super) fn settle(&self) {
        let mut waiting = self.waiting.lock();
        let busy = |waiting: &mut Waiting| waiting.bytes > 0;
        let ended = self.news.wait_while_for(&mut waiting, busy, PATIENCE);
        assert!(!ended.timed_out(), "events are still waiting");
    }

    /// Bytes that wait, and events that are lost.
    #[cfg(test)]
    pub(super) fn state(&self) -> (usize, u64) {
        let waiting = self.waiting.lock();
        (waiting.bytes, waiting.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_together_as_far_as_they_may() {
        let queue = Queue::new("it");
        for event in ["a", "b", "c"] {
            queue.push(event.into());
        }
        let long = Duration::from_secs(3600);
        assert_eq!(queue.gather(2, long), ["a", "b"]);
        assert_eq!(queue.gather(2, Duration::ZERO), ["c"]);
        queue.push("d".into());
        queue.waiting.lock().closed = true;
        assert_eq!(queue.gather(2, long), ["d"]);
        assert!(queue.gather(2, long).is_empty());
    }

    #[tokio::test]
    async fn who_waits_hears_of_his_event_or_that_its_place_refuses() {
        let queue = Queue::new("it");
        let first = queue.push("a".into());
        let second = queue.push("b".into());
        let is_settled = async |number: u64| {
            let wait = std::pin::pin!(queue.settled(number));
            futures_util::poll!(wait).is_ready()
        };
        assert!(!is_settled(first).await);
        let event = queue.pop().unwrap();
        queue.done(&[event], false);
        assert!(is_settled(first).await && !is_settled(second).await);
        queue.stuck(true);
        assert!(is_settled(second).await);
        queue.stuck(false);
        assert!(!is_settled(second).await);
        // One for which there was no room is settled: it is lost.
        let large = Bytes::from(vec![0; ROOM]);
        let lost = queue.push(large);
        assert!(is_settled(lost).await);
    }
}
