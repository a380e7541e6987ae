//! What levels tell to whoever measures the server, a number for each level.

use super::Fairness;
use super::level::Report;

/// A level at one moment.
pub(in crate::api) struct Measured {
    report: Report,
    /// Seats that it has; none where they are not limited.
    seats: Option<u64>,
}

/// A measure: its name, its kind, its help, and its value.
type Measure = (
    &'static str,
    &'static str,
    &'static str,
    fn(&Measured) -> Option<u64>,
);

/// Every measure.
pub(in crate::api) const MEASURES: [Measure; 7] = [
    (
        "current_executing_requests",
        "gauge",
        "Requests that are served.",
        |it| Some(it.report.tally.executing as u64),
    ),
    (
        "current_executing_seats",
        "gauge",
        "Seats that they take.",
        |it| Some(it.report.tally.seats),
    ),
    (
        "current_inqueue_requests",
        "gauge",
        "Requests that wait.",
        |it| Some(it.report.tally.waiting as u64),
    ),
    (
        "current_limit_seats",
        "gauge",
        "Seats of the level at the moment.",
        |it| it.seats,
    ),
    (
        "dispatched_requests_total",
        "counter",
        "Requests that were let pass.",
        |it| Some(it.report.tally.dispatched),
    ),
    (
        "rejected_requests_total",
        "counter",
        "Requests that were refused, or waited in vain.",
        |it| Some(it.report.tally.refused + it.report.late),
    ),
    (
        "cancelled_requests_total",
        "counter",
        "Requests whose client went away while they waited.",
        |it| Some(it.report.gone),
    ),
];

impl Fairness {
    /// Every level by its name; none where the server is not divided.
    pub(in crate::api) fn measured(&self) -> Vec<(String, Measured)> {
        let Some(fair) = self.as_fair() else {
            return Vec::new();
        };
        let plan = fair.plan.load();
        let levels = plan.levels().map(|(name, level)| {
            let (report, seats) = level.report();
            (name.to_owned(), Measured { report, seats })
        });
        levels.collect()
    }
}
