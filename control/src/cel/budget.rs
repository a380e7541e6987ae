//! What evaluations may cost.

use std::cell::RefCell;
use std::time::{Duration, Instant};

/// Rounds of all comprehensions together.
const ROUNDS: u32 = 100_000;
/// Time of all evaluations together.
const TIME: Duration = Duration::from_millis(500);

/// What the evaluations of one write may still cost, together.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    rounds: u32,
    end: Instant,
    spent: bool,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(ROUNDS, TIME)
    }
}

thread_local! {
    /// The budget of the evaluation that this thread is at.
    static CURRENT: RefCell<Option<Budget>> = const { RefCell::new(None) };
}

impl Budget {
    pub(super) fn new(rounds: u32, time: Duration) -> Self {
        Self {
            rounds,
            end: Instant::now() + time,
            spent: false,
        }
    }

    /// Runs an evaluation on this budget; none when it ran out.
    pub(super) fn run<T>(&mut self, evaluate: impl FnOnce() -> T) -> Option<T> {
        if Instant::now() >= self.end {
            self.spent = true;
        }
        if self.spent {
            return None;
        }
        CURRENT.with_borrow_mut(|current| *current = Some(self.clone()));
        let result = evaluate();
        if let Some(left) = CURRENT.with_borrow_mut(Option::take) {
            *self = left;
        }
        (!self.spent).then_some(result)
    }

    /// Takes one round from the running evaluation's budget; whether there was one.
    pub(super) fn take_round() -> bool {
        CURRENT.with_borrow_mut(|current| current.as_mut().is_none_or(Budget::take))
    }

    fn take(&mut self) -> bool {
        if self.rounds == 0 || Instant::now() >= self.end {
            self.spent = true;
        } else {
            self.rounds -= 1;
        }
        !self.spent
    }
}
