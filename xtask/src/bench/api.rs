//! The API server: durable creates against raw etcd on the same disk, reads, watchers, memory.
//!
//! All clients run in the control plane's namespace, so that the front door is not measured. Memory
//! comes first: an allocator that has served a load before would hide the growth.

use anyhow::Result;
use naru_tests::support::Cluster;
use naru_tests::support::daemons::CONTROL_PROCESS;

use super::daemon::Daemon;
use super::etcd::Etcd;
use super::report::Report;
use super::series::{Better, Case};
use super::{Effort, load};

/// Objects whose memory is measured.
const OBJECTS: u32 = 20_000;

const CLIENTS: [&str; 2] = ["1", "64"];

/// Everything, memory first.
pub(super) fn measure(cluster: &Cluster, effort: Effort, report: &mut Report) -> Result<()> {
    let etcd = Etcd::start(cluster)?;
    for case in memory(cluster)? {
        report.add(case);
    }
    for clients in CLIENTS {
        report.add(creates(cluster, &etcd, clients, effort)?);
        report.add(reads(cluster, clients, effort)?);
    }
    report.add(fanout(cluster, effort)?);
    Ok(())
}

fn memory(cluster: &Cluster) -> Result<[Case; 2]> {
    let control = Daemon::of(cluster, CONTROL_PROCESS)?;
    let before = control.memory()?;
    let sent = load::run(cluster, "fill", &["--count", &OBJECTS.to_string()])?;
    let each = (control.memory()? - before) / f64::from(OBJECTS);
    let case = |name, figure| Case::alone(name, "B", Better::Lower, &[figure]);
    Ok([
        case("memory_per_object", each),
        case("object_as_sent", sent),
    ])
}

fn creates(cluster: &Cluster, etcd: &Etcd<'_>, clients: &str, effort: Effort) -> Result<Case> {
    let seconds = effort.seconds.to_string();
    let args = ["--clients", clients, "--seconds", &seconds];
    let plural = if clients == "1" { "client" } else { "clients" };
    Case::paired(
        &format!("durable_creates_{clients}_{plural}"),
        "1/s",
        "raw etcd puts",
        effort.pairs,
        || load::run(cluster, "creates", &args),
        || etcd.puts(&args),
    )
}

fn reads(cluster: &Cluster, clients: &str, effort: Effort) -> Result<Case> {
    let seconds = effort.seconds.to_string();
    let args = ["--clients", clients, "--seconds", &seconds];
    let runs = repeat(effort.pairs, || load::run(cluster, "reads", &args))?;
    let plural = if clients == "1" { "client" } else { "clients" };
    let name = format!("reads_{clients}_{plural}");
    Ok(Case::alone(&name, "1/s", Better::Higher, &runs))
}

fn fanout(cluster: &Cluster, effort: Effort) -> Result<Case> {
    let args = ["--watchers", "1000"];
    let runs = repeat(effort.pairs, || load::run(cluster, "fanout", &args))?;
    let name = "fanout_1000_watchers";
    Ok(Case::alone(name, "ms", Better::Lower, &runs))
}

fn repeat(times: usize, run: impl FnMut() -> Result<f64>) -> Result<Vec<f64>> {
    std::iter::repeat_with(run).take(times).collect()
}
