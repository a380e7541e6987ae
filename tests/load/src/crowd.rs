//! Many clients at once, and what they come to.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

/// What a crowd did.
#[derive(Debug)]
pub(crate) struct Steps {
    /// How long each step took.
    took: Vec<Duration>,
    /// From the first to the last.
    span: Duration,
}

impl Steps {
    /// Steps per second.
    pub(crate) fn rate(&self) -> f64 {
        self.took.len() as f64 / self.span.as_secs_f64()
    }

    /// What 99 of 100 took at most, in milliseconds.
    ///
    /// # Errors
    /// When there was no step.
    pub(crate) fn p99(mut self) -> Result<f64> {
        percentile(&mut self.took, 99).context("not one step was done")
    }
}

/// Runs every worker until the time is over.
///
/// A worker is told its number and when to stop, and returns what each of its steps took.
///
/// # Errors
/// That of the first worker that fails.
pub(crate) async fn run<T, F>(
    seats: Vec<T>,
    seconds: f64,
    worker: impl Fn(usize, T, Instant) -> F,
) -> Result<Steps>
where
    F: Future<Output = Result<Vec<Duration>>> + Send + 'static,
{
    let begin = Instant::now();
    let until = begin + Duration::try_from_secs_f64(seconds)?;
    let mut running = JoinSet::new();
    for (number, seat) in seats.into_iter().enumerate() {
        running.spawn(worker(number, seat, until));
    }
    let mut took = Vec::new();
    while let Some(outcome) = running.join_next().await {
        took.append(&mut outcome??);
    }
    let span = begin.elapsed();
    Ok(Steps { took, span })
}

/// The percentile `p` in milliseconds; none of nothing.
fn percentile(all: &mut [Duration], p: usize) -> Option<f64> {
    all.sort_unstable();
    let index = (all.len() * p).div_ceil(100).checked_sub(1)?;
    Some(all.get(index)?.as_secs_f64() * 1000.0)
}

/// The numbers from 0 below `count` that fall to worker `number` of `workers`.
pub(crate) fn share(count: usize, number: usize, workers: usize) -> impl Iterator<Item = usize> {
    (number..count).step_by(workers.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_everything_once() {
        let mut all: Vec<_> = (0..3).flat_map(|n| share(10, n, 3)).collect();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_percentile_is_one_of_the_figures() {
        let mut all: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut all, 99), Some(198.0));
        assert_eq!(percentile(&mut all[..1], 99), Some(1.0));
        assert_eq!(percentile(&mut [], 99), None);
    }

    #[tokio::test]
    async fn a_failing_worker_fails_the_run() {
        let outcome = run(vec![1, 2], 0.01, |_, seat, _| async move {
            anyhow::ensure!(seat == 1, "no");
            Ok(Vec::new())
        });
        assert!(outcome.await.is_err());
    }
}
