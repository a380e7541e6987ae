//! A level at work: its queues behind a lock, and whoever waits there for his number.
//!
//! The lock is held for the moment of a step of the queues, never while somebody waits. A [`Turn`] is
//! a guard: however its request ends, finished, refused, dropped by its client or lost in a panic, the
//! seats go to the next.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::borrowing::Wish;
use super::demand::Observed;
use super::queues::{Arrival, Place, QueueSet, Queuing, Tally};
use super::retry::Retry;

/// One priority level.
pub(super) struct Level {
    /// Where its time begins.
    start: Instant,
    kind: Kind,
    retry: Mutex<Retry>,
}

enum Kind {
    Exempt(Exempt),
    Limited(Box<Mutex<Queues>>),
}

/// What nobody limits is counted all the same: it takes from what is lent.
#[derive(Default)]
struct Exempt {
    executing: AtomicU64,
    peak: AtomicU64,
    dispatched: AtomicU64,
    wish: Mutex<Wish>,
}

struct Queues {
    set: QueueSet,
    /// Who waits, by number; told the time at which he is called.
    waiting: HashMap<u64, oneshot::Sender<u64>>,
    wish: Wish,
    late: u64,
    gone: u64,
}

/// What a level has to tell about itself.
#[derive(Default)]
pub(super) struct Report {
    pub(super) tally: Tally,
    /// Requests that waited in vain.
    pub(super) late: u64,
    /// Requests whose client went away while they waited.
    pub(super) gone: u64,
}

impl Level {
    /// A level on which everybody is served at once.
    pub(super) fn exempt() -> Self {
        Self::of(Kind::Exempt(Exempt::default()))
    }

    /// A level of so many seats.
    pub(super) fn limited(queuing: Option<Queuing>, limit: u64) -> Self {
        Self::of(Kind::Limited(Box::new(Mutex::new(Queues {
            set: QueueSet::new(queuing, limit),
            waiting: HashMap::new(),
            wish: Wish::default(),
            late: 0,
            gone: 0,
        }))))
    }

    fn of(kind: Kind) -> Self {
        Self {
            start: Instant::now(),
            kind,
            retry: Mutex::default(),
        }
    }

    pub(super) fn is_exempt(&self) -> bool {
        matches!(self.kind, Kind::Exempt(_))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Queues like this from now on.
    pub(super) fn reconfigure(&self, queuing: Option<Queuing>) {
        if let Kind::Limited(queues) = &self.kind {
            queues.lock().set.reconfigure(queuing);
        }
    }

    /// What it wants, with the time since the last question taken into account.
    pub(super) fn wish(&self) -> Wish {
        match &self.kind {
            Kind::Exempt(exempt) => {
                let executing = exempt.executing.load(Ordering::Relaxed);
                let mut wish = exempt.wish.lock();
                wish.update(Observed {
                    average: None,
                    deviation: 0.0,
                    peak: exempt.peak.swap(executing, Ordering::Relaxed),
                });
                *wish
            }
            Kind::Limited(queues) => {
                let mut queues = queues.lock();
                let seen = queues.set.observe(self.now());
                queues.wish.update(seen);
                queues.wish
            }
        }
    }

    /// So many seats from now on.
    pub(super) fn resize(&self, limit: u64) {
        if let Kind::Limited(queues) = &self.kind {
            let now = self.now();
            let mut queues = queues.lock();
            queues.set.resize(now, limit);
            queues.call(now);
        }
    }

    /// A request of the flow with this hash comes in; none if there is no room for it.
    pub(super) fn enter(self: &Arc<Self>, flow: u64, width: u32) -> Option<Turn> {
        let turn = |held| Turn {
            level: self.clone(),
            held,
        };
        match &self.kind {
            Kind::Exempt(exempt) => {
                let executing = exempt.executing.fetch_add(1, Ordering::Relaxed) + 1;
                exempt.peak.fetch_max(executing, Ordering::Relaxed);
                exempt.dispatched.fetch_add(1, Ordering::Relaxed);
                Some(turn(Held::Free))
            }
            Kind::Limited(queues) => {
                let mut queues = queues.lock();
                let now = self.now();
                match queues.set.arrive(now, flow, width) {
                    Arrival::Refused => None,
                    Arrival::Seated(place) => Some(turn(Held::Seats(place, now))),
                    Arrival::Waiting(place) => {
                        let (call, called) = oneshot::channel();
                        queues.waiting.insert(place.number, call);
                        queues.call(now);
                        Some(turn(Held::Number(place, called, Why::Gone)))
                    }
                }
            }
        }
    }

    /// Seconds after which somebody who is refused now may ask again.
    pub(super) fn refuse(&self) -> u64 {
        let now = jiff::Timestamp::now().as_second();
        let now = u64::try_from(now).unwrap_or_default();
        self.retry.lock().refused(now)
    }

    /// How things stand; with the seats that there are, if they are limited.
    pub(super) fn report(&self) -> (Report, Option<u64>) {
        match &self.kind {
            Kind::Exempt(exempt) => {
                let executing = exempt.executing.load(Ordering::Relaxed);
                let tally = Tally {
                    executing: usize::try_from(executing).unwrap_or_default(),
                    dispatched: exempt.dispatched.load(Ordering::Relaxed),
                    seats: executing,
                    ..Tally::default()
                };
                let report = Report {
                    tally,
                    ..Report::default()
                };
                (report, None)
            }
            Kind::Limited(queues) => {
                let queues = queues.lock();
                let report = Report {
                    tally: queues.set.tally(),
                    late: queues.late,
                    gone: queues.gone,
                };
                (report, Some(queues.set.limit()))
            }
        }
    }
}

impl Queues {
    /// Tells everybody who has his seats now.
    fn call(&mut self, now: u64) {
        while let Some(number) = self.set.next(now) {
            if let Some(call) = self.waiting.remove(&number) {
                // Whoever has just left finds out, and gives his seats back, when he has the lock.
                let _ = call.send(now);
            }
        }
    }
}

/// A request on a level: its seats, or its number.
pub(super) struct Turn {
    level: Arc<Level>,
    held: Held,
}

enum Held {
    /// Nothing that others would miss.
    Free,
    /// Seats, since a time.
    Seats(Place, u64),
    /// A number that is called with a time, and why it would leave without.
    Number(Place, oneshot::Receiver<u64>, Why),
}

#[derive(Clone, Copy, PartialEq)]
enum Why {
    Gone,
    Late,
}

impl Turn {
    /// Waits for its seats, no longer than `patience`; whether it has them.
    pub(super) async fn come(&mut self, patience: Duration) -> bool {
        let Held::Number(place, called, why) = &mut self.held else {
            return true;
        };
        match tokio::time::timeout(patience, called).await {
            Ok(Ok(since)) => {
                self.held = Held::Seats(*place, since);
                true
            }
            Ok(Err(_)) | Err(_) => {
                *why = Why::Late;
                false
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        match (&self.level.kind, &mut self.held) {
            (Kind::Exempt(exempt), _) => {
                exempt.executing.fetch_sub(1, Ordering::Relaxed);
            }
            (Kind::Limited(_), Held::Free) => {}
            (Kind::Limited(queues), Held::Seats(place, since)) => {
                let mut queues = queues.lock();
                let now = self.level.now();
                queues.set.finish(now, *place, *since);
                queues.call(now);
            }
            (Kind::Limited(queues), Held::Number(place, called, why)) => {
                let mut queues = queues.lock();
                let now = self.level.now();
                // Numbers are called under the lock, so that this one has been called or waits.
                if let Ok(since) = called.try_recv() {
                    queues.set.finish(now, *place, since);
                } else {
                    queues.waiting.remove(&place.number);
                    queues.set.give_up(now, *place);
                }
                match why {
                    Why::Gone => queues.gone += 1,
                    Why::Late => queues.late += 1,
                }
                queues.call(now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
