//! From `kubectl apply` to a running pod, image present: what a user waits for.
//!
//! The clock runs from before the request is sent until the API shows the container as running. A
//! watch that is open beforehand tells the moment; kubectl's own start is counted once, in the case
//! that names it. What containerd and runc need for the same pod, without us and without a network of
//! its own, is measured in turn with it; what is left after both is ours.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use naru_tests::support::Cluster;

use super::report::Report;
use super::series::{Better, Case};
use super::{Ground, ingress, load};

/// The time that kubectl needs to start, reach the server and end.
const BARE: &[&str] = &["get", "--raw", "/readyz"];

const NODE: &str = "node1";
const IMAGE: &str = "naru.dev/landing:v1";

/// Milliseconds from apply to Running; those of a kubectl that asks nothing of anybody; those of
/// containerd and runc; and the rest.
pub(super) fn measure(cluster: &Cluster, runs: usize, report: &mut Report) -> Result<()> {
    let ground = Ground::prepare(cluster)?;
    let (mut running, mut bare, mut runtime) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..=runs {
        let took = apply_to_running(&ground, &format!("pod-{run}"))?;
        let begin = Instant::now();
        ground.run(BARE)?;
        // The first of all is the warm-up.
        if run > 0 {
            running.push(took);
            bare.push(millis(begin));
        }
        let alone = load::start_pod(cluster, NODE, IMAGE, &["/landing", "pause"])?;
        if run > 0 {
            runtime.push(alone);
        }
    }
    report.add(millis_of("apply_to_running", &running));
    report.add(millis_of("kubectl_alone", &bare));
    report.add(millis_of("containerd_and_runc_alone", &runtime));
    let parts = running.iter().zip(&bare).zip(&runtime);
    let own: Vec<_> = parts
        .map(|((all, bare), runtime)| all - bare - runtime)
        .collect();
    report.add(millis_of("apply_to_running_own_share", &own));
    report.add(ingress::measure(cluster, &ground, runs)?);
    Ok(())
}

fn apply_to_running(ground: &Ground, name: &str) -> Result<f64> {
    let phases = "custom-columns=NAME:.metadata.name,STATE:.status.phase";
    let mut watch = ground.kubectl.command(&[
        "-n",
        Ground::NAME,
        "get",
        "pods",
        "-w",
        "--no-headers",
        "-o",
        phases,
    ]);
    let mut watch = Watch(watch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
    let lines = BufReader::new(watch.0.stdout.take().context("stdout is piped")?).lines();
    let begin = Instant::now();
    ground.apply(&pod(name))?;
    let seen = lines
        .map_while(Result::ok)
        .any(|line| line.starts_with(name) && line.ends_with("Running"));
    let took = millis(begin);
    anyhow::ensure!(seen, "the watch ended before {name} ran");
    ground.run(&["delete", "pod", name])?;
    Ok(took)
}

fn pod(name: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{name: main, image: {IMAGE}, command: [/landing, pause]}}]
"
    )
}

fn millis_of(case: &str, runs: &[f64]) -> Case {
    Case::alone(case, "ms", Better::Lower, runs)
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// A kubectl that watches until it is dropped.
pub(super) struct Watch(pub(super) Child);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
