//! What a node's daemon says of what it has programmed.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use naru_tests::support::daemons::node_process;
use naru_tests::support::{Cluster, wait};

const LIMIT: Duration = Duration::from_secs(120);

/// The log of a node's daemon from some point on.
#[derive(Debug)]
pub(super) struct Programmed {
    log: PathBuf,
    /// The bytes that are behind us.
    behind: usize,
}

impl Programmed {
    /// What node `node` says from now on.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub(super) fn from_now(cluster: &Cluster, node: u8) -> Result<Self> {
        let log = cluster.layout.log(&node_process(node));
        let behind = std::fs::read(&log)?.len();
        Ok(Self { log, behind })
    }

    /// Waits for the next time that services were programmed, and there were at least `services`;
    /// how long the daemon says that it took, from reading what it knows to the last entry.
    ///
    /// # Errors
    /// When it does not say so in two minutes.
    pub(super) fn next(&mut self, services: usize) -> Result<Duration> {
        self.following("services to be programmed", |line| {
            programmed(line, services)
        })
    }

    /// Waits for the next time that entries of policies were programmed.
    ///
    /// # Errors
    /// As [`Programmed::next`].
    pub(super) fn next_policy(&mut self) -> Result<Policy> {
        self.following("policies to be programmed", policy)
    }

    fn following<T>(&mut self, what: &str, read: impl Fn(&str) -> Option<T>) -> Result<T> {
        wait::until(what, LIMIT, || {
            let text = std::fs::read(&self.log)?;
            let fresh = String::from_utf8_lossy(text.get(self.behind..).unwrap_or_default());
            let found = fresh.lines().find_map(&read);
            if found.is_some() {
                self.behind = text.len();
            }
            Ok(found)
        })
    }
}

/// Policies that are in force.
#[derive(Debug, PartialEq)]
pub(super) struct Policy {
    /// When the daemon said so, after the last entry was written.
    pub(super) at: Timestamp,
    /// What it took, from reading what the daemon knows to the last entry.
    pub(super) took: Duration,
}

/// Of a log line that tells of programmed entries of policies.
fn policy(line: &str) -> Option<Policy> {
    let (before, rest) = line.split_once("policy programmed")?;
    let written: usize = field(rest, "policy_written=")?.parse().ok()?;
    let policy = Policy {
        at: before.split_whitespace().next()?.parse().ok()?,
        took: span(field(rest, "took=")?)?,
    };
    (written > 0).then_some(policy)
}

/// The span of a log line that tells of at least `services` programmed services.
fn programmed(line: &str, services: usize) -> Option<Duration> {
    let rest = line.split_once("services programmed")?.1;
    let known: usize = field(rest, "services=")?.parse().ok()?;
    (known >= services)
        .then(|| span(field(rest, "took=")?))
        .flatten()
}

/// What stands behind the first `name` of a log line's fields.
fn field<'a>(fields: &'a str, name: &str) -> Option<&'a str> {
    let mut words = fields.split_whitespace();
    words.find_map(|word| word.strip_prefix(name))
}

/// A span as `Duration`'s `Debug` prints it.
fn span(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(unit);
    let scale = match unit {
        "s" => 1.0,
        "ms" => 1e-3,
        "µs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    };
    Some(Duration::from_secs_f64(number.parse::<f64>().ok()? * scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_is_understood_when_it_tells_of_enough() {
        let line = "INFO naru_node::network::services: services programmed written=12 removed=0 slots=24 services=12 took=1.5ms";
        assert_eq!(programmed(line, 12), Some(Duration::from_micros(1_500)));
        assert_eq!(programmed(line, 13), None);
        assert_eq!(programmed("INFO another", 0), None);
    }

    #[test]
    fn a_log_line_tells_when_policies_came_into_force_if_any_did() {
        let line = |written| {
            format!(
                "2026-01-02T03:04:05.678901Z  INFO naru_node::network::policies: policy programmed \
                 endpoints=4 policy_written={written} policy_removed=0 took=250µs"
            )
        };
        let found = policy(&line(1)).unwrap();
        assert_eq!(found.at.as_microsecond() % 1_000_000, 678_901);
        assert_eq!(found.took, Duration::from_micros(250));
        assert_eq!(policy(&line(0)), None);
    }

    #[test]
    fn spans_of_every_unit_are_read() {
        assert_eq!(span("2s"), Some(Duration::from_secs(2)));
        assert_eq!(span("250µs"), Some(Duration::from_micros(250)));
        assert_eq!(span("x"), None);
        assert_eq!(span("7"), None);
    }
}
