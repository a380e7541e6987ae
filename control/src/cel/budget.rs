//! What evaluations may cost.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::authorizer::{Answers, Asked};

/// Rounds of all comprehensions together.
const ROUNDS: u32 = 100_000;
/// Time of all evaluations together.
const TIME: Duration = Duration::from_millis(500);

/// What the evaluations of one write may still cost, together, and who answers their questions.
#[derive(Clone)]
pub(crate) struct Budget<'a> {
    left: Left,
    asked: Option<&'a Asked<'a>>,
}

/// What is left.
#[derive(Debug, Clone)]
struct Left {
    rounds: u32,
    end: Instant,
    spent: bool,
}

impl Default for Budget<'_> {
    fn default() -> Self {
        Self::new(ROUNDS, TIME)
    }
}

thread_local! {
    /// What is left to the evaluation that this thread is at.
    static CURRENT: RefCell<Option<Left>> = const { RefCell::new(None) };
}

impl std::fmt::Debug for Budget<'_> {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.left.fmt(to)
    }
}

impl Budget<'_> {
    pub(super) fn new(rounds: u32, time: Duration) -> Self {
        let left = Left {
            rounds,
            end: Instant::now() + time,
            spent: false,
        };
        Self { left, asked: None }
    }

    /// The budget of evaluations whose questions ([`super::authorizer`]) are answered by `asked`.
    pub(crate) fn asking<'a>(asked: &'a Asked<'a>) -> Budget<'a> {
        Budget {
            asked: Some(asked),
            ..Budget::default()
        }
    }

    /// Runs an evaluation on this budget, again for each question that it asks; none when it ran out.
    pub(super) fn run<T>(&mut self, mut evaluate: impl FnMut() -> T) -> Option<T> {
        let asked = self.asked;
        Answers::gather(asked, |questions| {
            // None for the first time, which looks at the clock all the same.
            self.left.take_rounds(questions);
            self.run_once(&mut evaluate)
        })
    }

    fn run_once<T>(&mut self, evaluate: impl FnOnce() -> T) -> Option<T> {
        if self.left.spent {
            return None;
        }
        CURRENT.with_borrow_mut(|current| *current = Some(self.left.clone()));
        let result = evaluate();
        if let Some(left) = CURRENT.with_borrow_mut(Option::take) {
            self.left = left;
        }
        (!self.left.spent).then_some(result)
    }

    /// Takes one round from the running evaluation's budget; whether there was one.
    pub(super) fn take_round() -> bool {
        CURRENT.with_borrow_mut(|current| current.as_mut().is_none_or(|left| left.take_rounds(1)))
    }
}

impl Left {
    /// Takes so many rounds; whether they were there.
    fn take_rounds(&mut self, count: u32) -> bool {
        match self.rounds.checked_sub(count) {
            Some(rounds) if Instant::now() < self.end => self.rounds = rounds,
            _ => self.spent = true,
        }
        !self.spent
    }
}
