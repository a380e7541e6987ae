//! Ten thousand services on a node that knows none of them.
//!
//! The node's daemon is killed and everything it pinned removed, as after a reboot of the machine.
//! Two spans are told apart: from the start of the process to the last service in the maps, which
//! holds the loading of programs and the list from the API server; and the programming alone, from
//! the complete list to the last entry, which is what kube-proxy's rules take to load.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use naru_tests::support::Cluster;
use naru_tests::support::daemons::node_process;
use naru_tests::support::layout::node_name;

use super::plain::Plain;
use super::programmed::Programmed;
use super::rules;
use crate::bench::daemon::Daemon;
use crate::bench::report::Report;
use crate::bench::series::{Better, Case};

/// Prefix of the cases.
pub(super) const COLD: &str = "cold_10000_services";

/// The node that is restarted: no end of a measured connection is on it any more.
const NODE: u8 = 2;

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
            ensure!(kind.load(plain, services)?, kind.too_slow(services));
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
    let mut programmed = Programmed::from_now(cluster, NODE)?;
    let begin = Instant::now();
    cluster.start_node(NODE)?;
    let programming = programmed.next(services)?;
    Ok(Start {
        until_programmed: begin.elapsed(),
        programming,
    })
}
