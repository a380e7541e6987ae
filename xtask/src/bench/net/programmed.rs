//! What a node's daemon says of the services that it has programmed.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
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
        wait::until("services to be programmed", LIMIT, || {
            let text = std::fs::read(&self.log)?;
            let fresh = String::from_utf8_lossy(text.get(self.behind..).unwrap_or_default());
            let took = fresh.lines().find_map(|line| programmed(line, services));
            if took.is_some() {
                self.behind = text.len();
            }
            Ok(took)
        })
    }
}

/// The span of a log line that tells of at least `services` programmed services.
fn programmed(line: &str, services: usize) -> Option<Duration> {
    let rest = line.split_once("services programmed")?.1;
    let field = |name: &str| {
        let words = rest.split_whitespace();
        words.filter_map(|word| word.strip_prefix(name)).next()
    };
    let known: usize = field("services=")?.parse().ok()?;
    (known >= services).then(|| span(field("took=")?)).flatten()
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
    fn spans_of_every_unit_are_read() {
        assert_eq!(span("2s"), Some(Duration::from_secs(2)));
        assert_eq!(span("250µs"), Some(Duration::from_micros(250)));
        assert_eq!(span("x"), None);
        assert_eq!(span("7"), None);
    }
}
