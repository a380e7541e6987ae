//! The queues of one level: who gets a seat, who waits, who is refused. A state machine: it knows no
//! clock and no waker, takes the time as an argument, and says by number who may go on.
//!
//! Fairness is that of a virtual world (fair queuing) in which every queue with work is served at the
//! same rate, one of all seats that the level has divided by these queues. `progress` is what each
//! of them has been served there so far, in seat-nanoseconds; a queue's `start` is the progress at
//! which its next request begins there, and the real world serves first what ends first there. A
//! request is taken to last three milliseconds until it is over, and the difference is made good then.
//!
//! A queue exists while it holds a request, so that memory follows the requests and not the
//! configuration, and a changed configuration needs no moving about: queues beyond the number drain.

mod queue;

use std::collections::HashMap;

use super::demand::{Demand, Observed};
use super::hand;
use queue::Queue;

/// How a level queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Queuing {
    /// Queues, at least one.
    pub(super) queues: u32,
    /// Queues of one flow; a hand of them has to fit ([`hand::fits`]).
    pub(super) hand: u32,
    /// Requests that wait in one queue.
    pub(super) length: usize,
}

/// Where a request is; to be given back when it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Its number, by which it is called.
    pub(super) number: u64,
    queue: Option<u32>,
    width: u32,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It has its seats.
    Seated(Place),
    /// It waits until [`QueueSet::next`] calls its number.
    Waiting(Place),
    /// There is no room for it, not even to wait.
    Refused,
}

/// What has happened so far, and what is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) queues: usize,
    pub(super) waiting: usize,
    pub(super) executing: usize,
    pub(super) seats: u64,
    pub(super) dispatched: u64,
    pub(super) refused: u64,
}

/// The queues of one level, and its seats.
#[derive(Debug)]
pub(super) struct QueueSet {
    /// None where nobody waits.
    queuing: Option<Queuing>,
    limit: u64,
    queues: HashMap<u32, Queue>,
    /// Nanoseconds.
    now: u64,
    progress: i128,
    numbers: u64,
    tally: Tally,
    /// Seats that those who wait will take.
    wanted: u64,
    demand: Demand,
}

impl QueueSet {
    /// One with so many seats.
    pub(super) fn new(queuing: Option<Queuing>, limit: u64) -> Self {
        Self {
            queuing,
            limit,
            queues: HashMap::new(),
            now: 0,
            progress: 0,
            numbers: 0,
            tally: Tally::default(),
            wanted: 0,
            demand: Demand::default(),
        }
    }

    /// Seats from now on; whoever waits may have to be called.
    pub(super) fn resize(&mut self, now: u64, limit: u64) {
        self.pass(now);
        self.limit = limit;
    }

    /// Queues from now on; those who wait keep their places.
    pub(super) fn reconfigure(&mut self, queuing: Option<Queuing>) {
        self.queuing = queuing;
    }

    /// Seats at most.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// How things stand.
    pub(super) fn tally(&self) -> Tally {
        Tally {
            queues: self.queues.len(),
            ..self.tally
        }
    }

    /// What was wanted since the last question.
    pub(super) fn observe(&mut self, now: u64) -> Observed {
        self.pass(now);
        self.demand.take()
    }

    /// A request of the flow with this hash wants `width` seats, at least one. After it, whoever is
    /// [`Self::next`] is to be called.
    pub(super) fn arrive(&mut self, now: u64, flow: u64, width: u32) -> Arrival {
        self.pass(now);
        self.numbers += 1;
        let mut place = Place {
            number: self.numbers,
            queue: None,
            width,
        };
        let arrival = match self.queuing {
            None if self.fits(width) => self.seat(place),
            None => Arrival::Refused,
            Some(queuing) => {
                let index = self.choose(queuing, flow);
                place.queue = Some(index);
                self.enter(queuing, index, place)
            }
        };
        self.tally.refused += u64::from(arrival == Arrival::Refused);
        self.demand.set(self.tally.seats + self.wanted);
        arrival
    }

    /// The queue of the flow's hand in which the least waits.
    fn choose(&self, queuing: Queuing, flow: u64) -> u32 {
        let (hand, cards) = hand::deal(flow, queuing.queues, queuing.hand);
        let wanted = |index: &u32| self.queues.get(index).map_or(0, |queue| queue.wanted);
        let hand = &hand[..cards];
        // Among equals another one each time, so that a flow uses all of its hand.
        let first = usize::try_from(self.numbers % cards.max(1) as u64).unwrap_or(0);
        let turned = hand[first..].iter().chain(&hand[..first]);
        turned
            .min_by_key(|index| wanted(index))
            .copied()
            .unwrap_or(0)
    }

    fn enter(&mut self, queuing: Queuing, index: u32, place: Place) -> Arrival {
        let (idle, fits) = (self.tally.waiting == 0, self.fits(place.width));
        let full = self.tally.seats >= self.limit;
        let progress = self.progress;
        let new = || Queue::new(progress);
        let queue = self.queues.entry(index).or_insert_with(new);
        if idle && fits && !full {
            queue.seat(place.width, progress);
            return self.seat(place);
        }
        if full && queue.waiting.len() >= queuing.length {
            return Arrival::Refused;
        }
        queue.push(place.number, place.width, progress);
        self.wanted += u64::from(place.width);
        self.tally.waiting += 1;
        Arrival::Waiting(place)
    }

    fn seat(&mut self, place: Place) -> Arrival {
        self.tally.executing += 1;
        self.tally.dispatched += 1;
        self.tally.seats += u64::from(place.width);
        Arrival::Seated(place)
    }

    /// Whether there are seats for that many more; one that is wider than the level has it alone.
    fn fits(&self, width: u32) -> bool {
        let width = u64::from(width);
        if width > self.limit {
            self.tally.executing == 0
        } else {
            self.tally.seats + width <= self.limit
        }
    }

    /// The number of who waited and has his seats now, if there is one; to be asked until there is
    /// none, whenever seats may have become free.
    ///
    /// A wide request that is next is not passed over by narrow ones, which would starve it.
    pub(super) fn next(&mut self, now: u64) -> Option<u64> {
        self.pass(now);
        if self.tally.waiting == 0 || self.tally.seats >= self.limit {
            return None;
        }
        let heads = self.queues.iter().filter_map(|(index, queue)| {
            let (end, head) = queue.head()?;
            Some((end, head.number, head.width, *index))
        });
        let (_, number, width, index) = heads.min()?;
        if !self.fits(width) {
            return None;
        }
        self.queues.get_mut(&index)?.pop();
        self.wanted -= u64::from(width);
        self.tally.waiting -= 1;
        self.seat(Place {
            number,
            queue: Some(index),
            width,
        });
        self.demand.set(self.tally.seats + self.wanted);
        Some(number)
    }

    /// A request that had its seats since `since` is over. After it, whoever is [`Self::next`] is to
    /// be called.
    pub(super) fn finish(&mut self, now: u64, place: Place, since: u64) {
        self.pass(now);
        let width = u64::from(place.width);
        self.tally.executing = self.tally.executing.saturating_sub(1);
        self.tally.seats = self.tally.seats.saturating_sub(width);
        if let Some(queue) = self.queue(place) {
            queue.finish(place.width, now.saturating_sub(since));
        }
        self.tidy(place);
    }

    /// A request that waits has given up. After it, whoever is [`Self::next`] is to be called: it may
    /// have been a wide one that held up others.
    pub(super) fn give_up(&mut self, now: u64, place: Place) {
        self.pass(now);
        let gone = self
            .queue(place)
            .and_then(|queue| queue.remove(place.number));
        if gone.is_some() {
            self.wanted -= u64::from(place.width);
            self.tally.waiting -= 1;
            self.tidy(place);
        }
    }

    fn queue(&mut self, place: Place) -> Option<&mut Queue> {
        self.queues.get_mut(&place.queue?)
    }

    fn tidy(&mut self, place: Place) {
        if let Some(index) = place.queue
            && self.queues.get(&index).is_some_and(Queue::is_empty)
        {
            self.queues.remove(&index);
        }
        self.demand.set(self.tally.seats + self.wanted);
    }

    /// Everything has been as it is until now.
    fn pass(&mut self, now: u64) {
        let lapse = now.saturating_sub(self.now);
        self.now = self.now.max(now);
        self.demand.pass(lapse);
        if self.queues.is_empty() {
            return;
        }
        let served = (self.tally.seats + self.wanted).min(self.limit);
        let each = u128::from(lapse) * u128::from(served) / self.queues.len() as u128;
        self.progress += i128::try_from(each).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests;
