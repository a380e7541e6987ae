//! Growing delays between attempts. Time is an argument, so a test needs no clock.

use jiff::{SignedDuration, Timestamp};

/// First delay.
pub const BASE: SignedDuration = SignedDuration::from_secs(10);
/// Longest delay; after twice this time without a new attempt the count starts anew.
pub const MAX: SignedDuration = SignedDuration::from_secs(300);

/// First delay after a failure that has no process behind it, such as a missing volume.
const QUICK_BASE: SignedDuration = SignedDuration::from_millis(500);
/// Longest delay of such.
const QUICK_MAX: SignedDuration = SignedDuration::from_secs(60);

/// The delay before the next attempt: none, then the base, doubling to the maximum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    base: SignedDuration,
    max: SignedDuration,
    delay: SignedDuration,
    updated: Option<Timestamp>,
}

/// The delays of crashes and pulls: 10 s to 5 min.
impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: BASE,
            max: MAX,
            delay: SignedDuration::ZERO,
            updated: None,
        }
    }
}

impl Backoff {
    /// Half a second to a minute.
    pub fn quick() -> Self {
        Self {
            base: QUICK_BASE,
            max: QUICK_MAX,
            ..Self::default()
        }
    }

    /// Notes an attempt at `now` and lengthens the delay that follows it.
    pub fn attempt(&mut self, now: Timestamp) {
        self.forget_if_old(now);
        self.delay = if self.delay.is_zero() {
            self.base
        } else {
            (self.delay * 2).min(self.max)
        };
        self.updated = Some(now);
    }

    /// Until when to wait after something ended at `ended`; `None` when there is no need to.
    pub fn until(&self, ended: Timestamp, now: Timestamp) -> Option<Timestamp> {
        if self.is_old(now) || self.delay.is_zero() {
            return None;
        }
        Some(ended + self.delay).filter(|until| *until > now)
    }

    /// The current delay.
    pub fn delay(&self) -> SignedDuration {
        self.delay
    }

    fn is_old(&self, now: Timestamp) -> bool {
        self.updated
            .is_none_or(|updated| now.duration_since(updated) > self.max * 2)
    }

    fn forget_if_old(&mut self, now: Timestamp) {
        if self.is_old(now) {
            self.delay = SignedDuration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn first_attempt_is_free_then_delays_double_to_the_maximum() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.until(at(0), at(0)), None);
        let mut delays = Vec::new();
        for _ in 0..7 {
            backoff.attempt(at(0));
            delays.push(backoff.delay().as_secs());
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn waiting_counts_from_the_end_not_from_the_start() {
        let mut backoff = Backoff::default();
        backoff.attempt(at(0));
        assert_eq!(backoff.until(at(100), at(105)), Some(at(110)));
        assert_eq!(backoff.until(at(100), at(110)), None);
    }

    #[test]
    fn ten_quiet_minutes_start_the_count_anew() {
        let mut backoff = Backoff::default();
        backoff.attempt(at(0));
        backoff.attempt(at(1));
        assert_eq!(backoff.until(at(700), at(700)), None);
        backoff.attempt(at(700));
        assert_eq!(backoff.delay(), BASE);
    }
}
