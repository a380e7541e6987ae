//! Ten thousand services on a node that knows none of them.
//!
//! The node's daemon is killed and everything it pinned removed, as after a reboot of the machine.
//! Two spans are told apart: from the start of the process to the last service in the maps, which
//! holds the loading of programs and the list from the API server; and the programming alone, from
//! the complete list to the last entry, which is what kube-proxy's rules take to load.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use naru_tests::support::daemons::node_process;
use naru_tests::support::layout::node_name;
use naru_tests::support::{Cluster, wait};

use super::plain::Plain;
use super::rules;
use crate::bench::daemon::Daemon;
use crate::bench::report::Report;
use crate::bench::series::{Better, Case};

/// Prefix of the cases.
pub(super) const COLD: &str = "cold_10000_services";

/// The node that is restarted: no end of a measured connection is on it any more.
const NODE: u8 = 2;
const LIMIT: Duration = Duration::from_secs(60);

/// Restarts the node and loads the peers' rules, `runs` times; `services` exist already.
///
/// # Errors
/// When the daemon does not come back, or a rule set is refused.
pub(super) fn measure(
    cluster: &Cluster,
    plain: &Plain,
    services: usize,
    runs: usize,
    report: &mut Report,
) -> Result<()> {
    let mut figures: [Vec<f64>; 3] = Default::default();
    for _ in 0..runs {
        let start = restart(cluster, services)?;
        figures[0].push(start.until_programmed.as_secs_f64());
        figures[1].push(start.programming.as_secs_f64());
        let memory = Daemon::of(cluster, &node_process(NODE))?.memory()?;
        figures[2].push(memory / f64::from(1 << 20));
    }
    for (part, unit, figures) in [
        ("start", "s", &figures[0]),
        ("programming", "s", &figures[1]),
        ("memory_node", "MiB", &figures[2]),
    ] {
        let case = format!("{COLD}_{part}");
        report.add(Case::alone(&case, unit, Better::Lower, figures));
    }
    for kind in rules::Kind::ALL {
        let mut loads = Vec::with_capacity(runs);
        for _ in 0..runs {
            let begin = Instant::now();
            kind.load(plain, services)?;
            loads.push(begin.elapsed().as_secs_f64());
            kind.unload(plain)?;
        }
        let case = format!("{COLD}_{}", kind.name());
        report.add(Case::alone(&case, "s", Better::Lower, &loads));
    }
    Ok(())
}

/// What a cold start took.
struct Start {
    until_programmed: Duration,
    programming: Duration,
}

fn restart(cluster: &Cluster, services: usize) -> Result<Start> {
    let name = node_process(NODE);
    cluster.kill(&name)?;
    let pins = cluster.layout.bpffs().join(node_name(NODE));
    std::fs::remove_dir_all(&pins).with_context(|| pins.display().to_string())?;
    let log = cluster.layout.log(&name);
    let before = std::fs::read(&log)?.len();
    let begin = Instant::now();
    cluster.start_node(NODE)?;
    let programming = wait::until("the services to be programmed", LIMIT, || {
        let text = std::fs::read(&log)?;
        let fresh = String::from_utf8_lossy(text.get(before..).unwrap_or_default()).into_owned();
        Ok(fresh.lines().find_map(|line| programmed(line, services)))
    })?;
    Ok(Start {
        until_programmed: begin.elapsed(),
        programming,
    })
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
