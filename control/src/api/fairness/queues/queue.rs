//! One queue: who waits in it, and how far it has been served in the virtual world.

use std::collections::VecDeque;

/// Nanoseconds that a request is taken to hold its seats, until it is known.
const SERVICE: i128 = 3_000_000;

/// Requests of the flows whose hand the queue is in.
#[derive(Debug)]
pub(super) struct Queue {
    /// First come, first served.
    pub(super) waiting: VecDeque<Waiting>,
    /// Seats that those who wait will take.
    pub(super) wanted: u64,
    executing: usize,
    /// The progress at which its next request begins.
    start: i128,
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) number: u64,
    pub(super) width: u32,
    /// The progress when it came.
    arrived: i128,
}

fn work(width: u32) -> i128 {
    i128::from(width) * SERVICE
}

impl Queue {
    /// An empty one, which begins at this progress.
    pub(super) fn new(progress: i128) -> Self {
        Self {
            waiting: VecDeque::new(),
            wanted: 0,
            executing: 0,
            start: progress,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.executing == 0
    }

    /// The progress at which its first request is over, with that request.
    pub(super) fn head(&self) -> Option<(i128, &Waiting)> {
        let head = self.waiting.front()?;
        Some((self.start + work(head.width), head))
    }

    /// A request comes in and waits.
    pub(super) fn push(&mut self, number: u64, width: u32, progress: i128) {
        self.wanted += u64::from(width);
        self.waiting.push_back(Waiting {
            number,
            width,
            arrived: progress,
        });
        self.bound();
    }

    /// The first request gets its seats.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let head = self.waiting.pop_front()?;
        self.wanted -= u64::from(head.width);
        self.seat(head.width, head.arrived);
        self.bound();
        Some(head)
    }

    /// A request that came at this progress gets its seats.
    pub(super) fn seat(&mut self, width: u32, progress: i128) {
        self.executing += 1;
        self.start = self.start.max(progress) + work(width);
    }

    /// A request that had its seats for so many nanoseconds is over; what was wrong about its length
    /// is put right.
    pub(super) fn finish(&mut self, width: u32, lasted: u64) {
        self.executing = self.executing.saturating_sub(1);
        self.start += i128::from(width) * i128::from(lasted) - work(width);
        self.bound();
    }

    /// A request leaves without its turn; none if it does not wait here.
    pub(super) fn remove(&mut self, number: u64) -> Option<Waiting> {
        let is_it = |waiting: &Waiting| waiting.number == number;
        let position = self.waiting.iter().position(is_it)?;
        let gone = self.waiting.remove(position)?;
        self.wanted -= u64::from(gone.width);
        self.bound();
        Some(gone)
    }

    /// Nobody is served in the virtual world before he came: whoever asks for less than his share
    /// saves nothing up.
    fn bound(&mut self) {
        if let Some(head) = self.waiting.front() {
            self.start = self.start.max(head.arrived);
        }
    }
}
