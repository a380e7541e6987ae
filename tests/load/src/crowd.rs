//! Many clients at once, and what they come to.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

/// Runs every worker until the time is over and returns what all did, per second.
///
/// A worker is told its number and when to stop, and returns how much it did.
///
/// # Errors
/// That of the first worker that fails.
pub(crate) async fn rate<T, F>(
    seats: Vec<T>,
    seconds: f64,
    worker: impl Fn(usize, T, Instant) -> F,
) -> Result<f64>
where
    F: Future<Output = Result<u64>> + Send + 'static,
{
    let begin = Instant::now();
    let until = begin + Duration::try_from_secs_f64(seconds)?;
    let mut running = JoinSet::new();
    for (number, seat) in seats.into_iter().enumerate() {
        running.spawn(worker(number, seat, until));
    }
    let mut done = 0;
    while let Some(outcome) = running.join_next().await {
        done += outcome??;
    }
    Ok(done as f64 / begin.elapsed().as_secs_f64())
}

/// Runs every worker until the time is over and returns the 99th percentile of what one step took,
/// in milliseconds.
///
/// # Errors
/// That of the first worker that fails.
pub(crate) async fn slowest<T, F>(
    seats: Vec<T>,
    seconds: f64,
    worker: impl Fn(usize, T, Instant) -> F,
) -> Result<f64>
where
    F: Future<Output = Result<Vec<Duration>>> + Send + 'static,
{
    let until = Instant::now() + Duration::try_from_secs_f64(seconds)?;
    let mut running = JoinSet::new();
    for (number, seat) in seats.into_iter().enumerate() {
        running.spawn(worker(number, seat, until));
    }
    let mut all = Vec::new();
    while let Some(outcome) = running.join_next().await {
        all.append(&mut outcome??);
    }
    percentile(&mut all, 99).context("not one step was done")
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
        let outcome = rate(vec![1, 2], 0.01, |_, seat, _| async move {
            anyhow::ensure!(seat == 1, "no");
            Ok(1)
        });
        assert!(outcome.await.is_err());
    }
}
