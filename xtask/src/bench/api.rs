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

/// Objects whose memory is measured; a list of them too.
const OBJECTS: u32 = 30_000;

/// Definitions of custom kinds whose memory is measured.
const DEFINITIONS: u32 = 100;

const CLIENTS: [&str; 2] = ["1", "64"];

/// Everything, memory first.
pub(super) fn measure(cluster: &Cluster, effort: Effort, report: &mut Report) -> Result<()> {
    let etcd = Etcd::start(cluster)?;
    for case in memory(cluster)?.into_iter().chain(definitions(cluster)?) {
        report.add(case);
    }
    report.add(alone(cluster, "list_30000_objects", 1, "list", &[])?);
    for clients in CLIENTS {
        report.add(creates(cluster, &etcd, clients, effort)?);
        report.add(reads(cluster, clients, effort)?);
    }
    let seconds = effort.seconds.to_string();
    let crowd = ["--p99", "--clients", "64", "--seconds", &seconds];
    let (name, pairs) = ("create_p99_64_clients", effort.pairs);
    report.add(alone(cluster, name, pairs, "creates", &crowd)?);
    for watchers in ["1000", "5000"] {
        let name = format!("fanout_{watchers}_watchers");
        let args = ["--watchers", watchers];
        report.add(alone(cluster, &name, effort.pairs, "fanout", &args)?);
    }
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

/// What a definition of a custom kind takes, its kind served and shown in every document.
fn definitions(cluster: &Cluster) -> Result<[Case; 2]> {
    let control = Daemon::of(cluster, CONTROL_PROCESS)?;
    let before = control.memory()?;
    let sent = load::run(
        cluster,
        "definitions",
        &["--count", &DEFINITIONS.to_string()],
    )?;
    let each = (control.memory()? - before) / f64::from(DEFINITIONS);
    let case = |name, figure: f64| Case::alone(name, "KiB", Better::Lower, &[figure / 1024.0]);
    Ok([
        case("memory_per_definition", each),
        case("definition_as_sent", sent),
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

/// Milliseconds without a peer.
fn alone(cluster: &Cluster, name: &str, times: usize, task: &str, args: &[&str]) -> Result<Case> {
    let runs = repeat(times, || load::run(cluster, task, args))?;
    Ok(Case::alone(name, "ms", Better::Lower, &runs))
}

fn repeat(times: usize, run: impl FnMut() -> Result<f64>) -> Result<Vec<f64>> {
    std::iter::repeat_with(run).take(times).collect()
}
