//! Many clients at once, and what they come to.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Result;
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

    #[tokio::test]
    async fn a_failing_worker_fails_the_run() {
        let outcome = rate(vec![1, 2], 0.01, |_, seat, _| async move {
            anyhow::ensure!(seat == 1, "no");
            Ok(1)
        });
        assert!(outcome.await.is_err());
    }
}
