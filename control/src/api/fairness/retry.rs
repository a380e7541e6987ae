//! When a refused client may ask again: the longer a level refuses, the later. Pure; time is seconds.

use std::collections::VecDeque;

/// Seconds at most.
const MOST: u64 = 32;

/// What a level has refused lately, and what it says to whom it refuses.
#[derive(Debug)]
pub(super) struct Retry {
    /// Seconds until another attempt makes sense.
    after: u64,
    /// When that was last raised.
    raised: Option<u64>,
    /// Refusals by second, oldest first.
    history: VecDeque<(u64, u64)>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            after: 1,
            raised: None,
            history: VecDeque::new(),
        }
    }
}

impl Retry {
    /// Counts a refusal in the second `now`; answers the seconds to wait, between 1 and 32.
    ///
    /// With the first refusal of a second those of the `after` seconds before it are looked at: three
    /// in each of them double the time, unless it was raised as recently; fewer than one in each of
    /// them take a second off.
    pub(super) fn refused(&mut self, now: u64) -> u64 {
        match self.history.back_mut() {
            Some((second, count)) if *second >= now => *count += 1,
            _ => {
                self.adjust(now);
                self.history.push_back((now, 1));
            }
        }
        self.after
    }

    fn adjust(&mut self, now: u64) {
        while self.history.front().is_some_and(|(at, _)| now - at > MOST) {
            self.history.pop_front();
        }
        let recent = self.history.iter().filter(|(at, _)| now - at <= self.after);
        let recent: u64 = recent.map(|(_, count)| count).sum();
        let rested = self.raised.is_none_or(|at| now - at >= self.after);
        if rested && recent >= 3 * self.after {
            self.after = (2 * self.after).min(MOST);
            self.raised = Some(now);
        } else if recent < self.after && self.after > 1 {
            self.after -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flood(retry: &mut Retry, seconds: std::ops::Range<u64>) -> u64 {
        let mut after = 0;
        for now in seconds {
            for _ in 0..100 {
                after = retry.refused(now);
            }
        }
        after
    }

    #[test]
    fn a_flood_doubles_the_time_up_to_half_a_minute() {
        let mut retry = Retry::default();
        assert_eq!(retry.refused(100), 1);
        assert_eq!(flood(&mut retry, 100..102), 2);
        assert_eq!(flood(&mut retry, 102..200), MOST);
        assert!(retry.history.len() <= 1 + usize::try_from(MOST).unwrap() + 1);
    }

    #[test]
    fn silence_brings_it_down_again() {
        let mut retry = Retry::default();
        flood(&mut retry, 100..200);
        let mut after = MOST;
        for now in 1..100 {
            let next = retry.refused(200 + 40 * now);
            assert!(next == after - 1 || next == 1);
            after = next;
        }
        assert_eq!(after, 1);
    }

    #[test]
    fn a_clock_that_goes_back_is_no_new_second() {
        let mut retry = Retry::default();
        retry.refused(100);
        assert_eq!(retry.refused(50), 1);
        assert_eq!(retry.history, [(100, 2)]);
    }
}
