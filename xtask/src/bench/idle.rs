//! What the daemons cost while nothing happens: a fresh cluster, ten seconds.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use naru_tests::support::Cluster;
use naru_tests::support::daemons::{CONTROL_PROCESS, node_process};

use super::daemon::Daemon;
use super::report::Report;
use super::series::{Better, Case};

const SPAN: Duration = Duration::from_secs(10);

/// Memory in MiB and processor time in per cent of a core; and `up`, what it took until both nodes
/// were Ready.
pub(super) fn measure(cluster: &Cluster, up: Duration, report: &mut Report) -> Result<()> {
    report.add(lower("up_to_two_ready_nodes", "s", up.as_secs_f64()));
    let daemons = [
        ("control", Daemon::of(cluster, CONTROL_PROCESS)?),
        ("node", Daemon::of(cluster, &node_process(1))?),
    ];
    // The start itself is not idle.
    sleep(SPAN / 2);
    let (begin, before) = (Instant::now(), spent(&daemons)?);
    sleep(SPAN);
    let (span, after) = (begin.elapsed().as_secs_f64(), spent(&daemons)?);
    for (at, (name, daemon)) in daemons.iter().enumerate() {
        let memory = daemon.memory()? / f64::from(1 << 20);
        let cpu = (after[at] - before[at]) / span * 100.0;
        report.add(lower(&format!("idle_memory_{name}"), "MiB", memory));
        report.add(lower(&format!("idle_cpu_{name}"), "% of a core", cpu));
    }
    Ok(())
}

fn spent(daemons: &[(&str, Daemon)]) -> Result<Vec<f64>> {
    daemons.iter().map(|(_, daemon)| daemon.cpu()).collect()
}

fn lower(case: &str, unit: &str, figure: f64) -> Case {
    Case::alone(case, unit, Better::Lower, &[figure])
}
