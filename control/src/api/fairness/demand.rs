//! How many seats a level would have used over a while: average, spread and peak.

/// The integral of a step function of time.
#[derive(Debug, Default)]
pub(super) struct Demand {
    seats: u64,
    peak: u64,
    seconds: f64,
    sum: f64,
    squares: f64,
}

/// What a while looked like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Observed {
    /// Seats on average over time; none if no time has passed.
    pub(super) average: Option<f64>,
    /// Their standard deviation.
    pub(super) deviation: f64,
    /// Most seats at once.
    pub(super) peak: u64,
}

impl Demand {
    /// As many seats as before were wanted for `nanoseconds` more.
    pub(super) fn pass(&mut self, nanoseconds: u64) {
        let (seconds, seats) = (nanoseconds as f64 / 1e9, self.seats as f64);
        self.seconds += seconds;
        self.sum += seats * seconds;
        self.squares += seats * seats * seconds;
    }

    /// From now on so many seats are wanted.
    pub(super) fn set(&mut self, seats: u64) {
        self.seats = seats;
        self.peak = self.peak.max(seats);
    }

    /// What the while since the last question looked like; another one begins.
    pub(super) fn take(&mut self) -> Observed {
        let average = (self.seconds > 0.0).then(|| self.sum / self.seconds);
        let variance = average.map_or(0.0, |it| self.squares / self.seconds - it * it);
        let observed = Observed {
            average,
            deviation: variance.max(0.0).sqrt(),
            peak: self.peak,
        };
        *self = Self {
            seats: self.seats,
            peak: self.seats,
            ..Self::default()
        };
        observed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_while_has_an_average_a_spread_and_a_peak() {
        let mut demand = Demand::default();
        demand.pass(1_000_000_000);
        demand.set(4);
        demand.pass(1_000_000_000);
        demand.set(1);
        let seen = demand.take();
        assert_eq!((seen.average, seen.peak), (Some(2.0), 4));
        assert!((seen.deviation - 2.0).abs() < 1e-9);
        let next = demand.take();
        assert_eq!((next.average, next.deviation, next.peak), (None, 0.0, 1));
    }
}
