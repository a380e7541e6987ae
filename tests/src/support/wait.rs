//! Waiting for a condition, bounded.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(20);

/// Asks `probe` until it returns `Ok(Some(_))`, for at most `limit`.
///
/// # Errors
/// When the time is up; the error names `what` and carries the last answer.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begin = Instant::now();
    loop {
        let last = match probe() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => "not yet".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        if begin.elapsed() > limit {
            bail!(
                "waited {:.1} s for {what}; last answer: {last}",
                limit.as_secs_f64()
            );
        }
        thread::sleep(PAUSE);
    }
}

/// Asks `probe` until it returns true, for at most `limit`.
///
/// # Errors
/// As [`until`].
pub fn holds(what: &str, limit: Duration, mut probe: impl FnMut() -> bool) -> Result<()> {
    until(what, limit, || Ok(probe().then_some(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_is_in_the_error() {
        let error = until::<()>("rain", Duration::ZERO, || bail!("dry"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("rain") && error.contains("dry"), "{error}");
    }

    #[test]
    fn a_later_success_counts() {
        let mut calls = 0;
        holds("three", Duration::from_secs(5), || {
            calls += 1;
            calls == 3
        })
        .unwrap();
        assert_eq!(calls, 3);
    }
}
