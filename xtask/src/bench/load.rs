//! `naru-load`, run beside the server that it loads.

use std::process::Command;

use anyhow::{Context, Result};
use naru_tests::support::containerd::Containerd;
use naru_tests::support::daemons::control_data;
use naru_tests::support::{Cluster, run};

use super::last_number;

/// Namespace of its objects.
pub(super) const NAMESPACE: &str = "load";

/// A run against the API server of the cluster; its figure.
///
/// # Errors
/// When it fails, with what it said.
pub(super) fn run(cluster: &Cluster, task: &str, args: &[&str]) -> Result<f64> {
    let mut command = command(cluster, task)?;
    let kubeconfig = control_data(&cluster.layout).join("admin.kubeconfig");
    command.arg("--kubeconfig").arg(kubeconfig).args(args);
    figure(command, task)
}

/// A pod that naru-load starts on `node` by itself; milliseconds.
///
/// # Errors
/// When it fails, with what it said.
pub(super) fn start_pod(cluster: &Cluster, node: &str, image: &str, line: &[&str]) -> Result<f64> {
    let task = "pod";
    let mut command = Command::new(cluster.layout.program("naru-load")?);
    command.arg(task).args(["--image", image, "--socket"]);
    command.arg(Containerd::of(&cluster.layout, node).socket());
    let parent = cluster.cgroups.runtime_name(&format!("{node}/pods"));
    command.args(["--cgroup-parent", &parent, "--"]).args(line);
    figure(command, task)
}

/// A run against etcd; its figure.
///
/// # Errors
/// When it fails, with what it said.
pub(super) fn run_etcd(cluster: &Cluster, endpoint: &str, args: &[&str]) -> Result<f64> {
    let task = "etcd-puts";
    let mut command = command(cluster, task)?;
    command.args(["--endpoint", endpoint]).args(args);
    figure(command, task)
}

fn command(cluster: &Cluster, task: &str) -> Result<Command> {
    let mut command = cluster.inside("control1");
    command.arg(cluster.layout.program("naru-load")?).arg(task);
    Ok(command)
}

fn figure(mut command: Command, task: &str) -> Result<f64> {
    let printed = run::checked(&mut command)?;
    last_number(&printed).with_context(|| format!("{task} printed {printed:?}"))
}
