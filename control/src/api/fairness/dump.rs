//! What administrators look at when requests wait: `/debug/api_priority_and_fairness/…`, as the tools
//! of Kubernetes know it, a line of comma-separated fields for each level.

use std::fmt::Write;

use http::StatusCode;

use super::level::Report;
use super::plan::Plan;
use crate::api::body::{Reply, text};

const LEVELS: &str = "/debug/api_priority_and_fairness/dump_priority_levels";
const COLUMNS: [&str; 12] = [
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
    "DispatchedRequests",
    "RejectedRequests",
    "TimedoutRequests",
    "CancelledRequests",
    "SeatsInUse",
    "CurrentLimitSeats",
];

/// Answers if the path is one of these.
pub(super) fn answer(plan: &Plan, path: &str) -> Option<Reply> {
    (path == LEVELS).then(|| text(StatusCode::OK, levels(plan)))
}

fn levels(plan: &Plan) -> String {
    let mut lines = COLUMNS.join(",\t");
    for (name, level) in plan.levels() {
        let (Report { tally, late, gone }, seats) = level.report();
        let idle = tally.waiting + tally.executing == 0;
        let seats = seats.map_or_else(|| "<none>".to_owned(), |seats| seats.to_string());
        // A level that is gone is not shown any more while it drains.
        let quiescing = false;
        let _ = write!(
            lines,
            "\n{name},\t{},\t{idle},\t{quiescing},\t{},\t{},\t{},\t{},\t{late},\t{gone},\t{},\t{seats}",
            tally.queues,
            tally.waiting,
            tally.executing,
            tally.dispatched,
            tally.refused + late,
            tally.seats,
        );
    }
    lines.push('\n');
    lines
}
