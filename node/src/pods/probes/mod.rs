//! Probes: one task per probe of a running container; verdicts go to the pod's worker.
//!
//! The counting is pure ([`Counter`]), asking is in [`ask`]. A worker starts the start-up probe
//! with its container and the others when that has succeeded.

mod ask;
mod grpc;

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use naru_cri::Cri;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Which question a probe answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Has it finished starting?
    Startup,
    /// Does it take traffic?
    Readiness,
    /// Does it work at all?
    Liveness,
}

impl Kind {
    /// The probe's name in messages.
    pub fn label(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// Counts answers until a threshold is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    success: u32,
    failure: u32,
    last: Option<bool>,
    run: u32,
}

impl Counter {
    /// A counter with the probe's thresholds; the API's defaults are 1 success and 3 failures.
    pub fn new(probe: &Probe) -> Self {
        let at_least_one = |value: Option<i32>, default: u32| {
            value
                .and_then(|value| u32::try_from(value).ok())
                .filter(|v| *v > 0)
                .unwrap_or(default)
        };
        Self {
            success: at_least_one(probe.success_threshold, 1),
            failure: at_least_one(probe.failure_threshold, 3),
            last: None,
            run: 0,
        }
    }

    /// Counts an answer; `Some` when it makes up the mind.
    pub fn count(&mut self, success: bool) -> Option<bool> {
        self.run = if self.last == Some(success) {
            self.run.saturating_add(1)
        } else {
            1
        };
        self.last = Some(success);
        let needed = if success { self.success } else { self.failure };
        (self.run >= needed).then_some(success)
    }
}

/// One answer of a probe.
#[derive(Debug, Clone)]
pub struct Report {
    /// The container.
    pub container_id: String,
    /// Its name.
    pub container: String,
    /// The probe.
    pub kind: Kind,
    /// `Some` when a threshold is reached.
    pub verdict: Option<bool>,
    /// Why it failed; `None` when it didn't.
    pub failure: Option<String>,
}

/// What a probe asks.
#[derive(Debug, Clone)]
pub struct Target {
    /// The runtime, for commands.
    pub cri: Cri,
    /// The container's id.
    pub id: String,
    /// Its spec.
    pub container: Container,
    /// The pod's address.
    pub ip: Option<IpAddr>,
}

/// Asks periodically until aborted; a start-up probe ends with its first verdict.
pub async fn run(target: Target, kind: Kind, probe: Probe, reports: mpsc::UnboundedSender<Report>) {
    let seconds = |value: Option<i32>, default: u64| {
        Duration::from_secs(value.and_then(|v| u64::try_from(v).ok()).unwrap_or(default))
    };
    let period = seconds(probe.period_seconds, 10).max(Duration::from_secs(1));
    let timeout = seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1));
    let start = Instant::now() + seconds(probe.initial_delay_seconds, 0);
    let mut ticks = interval_at(start, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut counter = Counter::new(&probe);
    loop {
        ticks.tick().await;
        let failure = ask::ask(&target, &probe, timeout).await.err();
        let verdict = counter.count(failure.is_none());
        let report = Report {
            container_id: target.id.clone(),
            container: target.container.name.clone(),
            kind,
            verdict,
            failure,
        };
        if reports.send(report).is_err() || (kind == Kind::Startup && verdict.is_some()) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(success: i32, failure: i32) -> Counter {
        Counter::new(&Probe {
            success_threshold: Some(success),
            failure_threshold: Some(failure),
            ..Probe::default()
        })
    }

    #[test]
    fn verdicts_need_their_threshold_in_a_row() {
        let mut counter = counter(2, 3);
        let answers = [true, false, false, true, true, false, false, false, false];
        let verdicts: Vec<_> = answers.map(|answer| counter.count(answer)).to_vec();
        let expected = [
            None,
            None,
            None,
            None,
            Some(true),
            None,
            None,
            Some(false),
            Some(false),
        ];
        assert_eq!(verdicts, expected);
    }

    #[test]
    fn thresholds_default_to_one_and_three() {
        let mut counter = Counter::new(&Probe::default());
        assert_eq!(counter.count(true), Some(true));
        assert_eq!(
            [
                counter.count(false),
                counter.count(false),
                counter.count(false)
            ],
            [None, None, Some(false)]
        );
    }
}
