//! Bandwidth limits of pods. A kernel without the qdisc `fq` says so on the pod and lets traffic be; on
//! one that has it, transfers take what the limit says.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use naru_tests::support::wait;

use crate::faults_node::{event_says, messages};
use crate::harness::{Case, cases};
use crate::netctl::netctl;
use crate::world::{PATIENCE, Space, World, landing_pod};

pub(crate) const CASES: &[Case] = cases![
    a_limit_is_kept_or_its_pod_is_told_why_not,
    a_wrong_limit_is_told_and_counts_for_nothing,
];

const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
const EGRESS: &str = "kubernetes.io/egress-bandwidth";
const UNAVAILABLE: &str = "BandwidthLimitUnavailable";
const INVALID: &str = "InvalidBandwidth";

/// Bytes of the file that is sent.
const SIZE: usize = 2_000_000;
/// A second for the file.
const RATE: &str = "16M";
/// What sending it takes at least: a second, less what may leave at once.
const LEAST: Duration = Duration::from_millis(900);

/// Whether the kernel has `fq`. It is asked on the loopback of node 1, where it changes nothing.
fn has_fair_queue(world: &World) -> Result<bool> {
    let put = ["tc", "qdisc", "replace", "dev", "lo", "root", "fq"];
    let has = world.on_node(1, &put).is_ok();
    if has {
        world.on_node(1, &["tc", "qdisc", "del", "dev", "lo", "root"])?;
    }
    Ok(has)
}

/// Starts a pod of node 1 with annotations, and puts a file into it.
fn limited(space: &Space<'_>, name: &str, annotations: &[(&str, &str)]) -> Result<String> {
    let all: Vec<_> = annotations
        .iter()
        .map(|(k, v)| format!("{k}: '{v}'"))
        .collect();
    let metadata = format!(
        "metadata: {{name: {name}, annotations: {{{}}},",
        all.join(", ")
    );
    let pod = landing_pod(name, Some(1)).replace(&format!("metadata: {{name: {name},"), &metadata);
    space.apply(&pod)?;
    space.pods_ready(&[name])?;
    fill(space, name)?;
    let address = space.field(&format!("pod/{name}"), ".status.podIP")?;
    Ok(format!("http://{address}:8080/file/tmp/file"))
}

fn fill(space: &Space<'_>, pod: &str) -> Result<()> {
    let fill = format!("mkdir -p /tmp && yes naru | head -c {SIZE} > /tmp/file");
    space.exec(pod, &["sh", "-c", &fill]).map(drop)
}

/// Gets the file from within a pod; what that took.
fn fetched(space: &Space<'_>, from: &str, url: &str) -> Result<Duration> {
    let began = Instant::now();
    let body = space.get_from(from, url)?;
    let took = began.elapsed();
    ensure!(body.len() >= SIZE - 1, "{} bytes of {SIZE}", body.len());
    Ok(took)
}

fn a_limit_is_kept_or_its_pod_is_told_why_not(world: &World) -> Result<()> {
    let space = world.namespace("bandwidth")?;
    let url = limited(&space, "slow", &[(INGRESS, RATE), (EGRESS, RATE)])?;
    space.landing_pod("near", Some(1))?;
    space.landing_pod("far", Some(2))?;
    fill(&space, "near")?;
    let near = space.field("pod/near", ".status.podIP")?;
    let into = fetched(&space, "slow", &format!("http://{near}:8080/file/tmp/file"))?;
    let out = fetched(&space, "far", &url)?;
    // Within the node what a pod sends has no limit.
    fetched(&space, "near", &url)?;
    if has_fair_queue(world)? {
        ensure!(into >= LEAST, "into the pod it took {into:?}");
        ensure!(out >= LEAST, "out of the node it took {out:?}");
        let told = messages(&space, UNAVAILABLE)?;
        ensure!(told.is_empty(), "{told}");
        return Ok(());
    }
    for direction in ["ingress", "egress"] {
        let missing = format!("{direction} is not limited: this kernel has no qdisc fq");
        event_says(&space, UNAVAILABLE, &[&missing, "sch_fq"])?;
    }
    let pod = format!("pod {}/slow: egress is not limited", space.name);
    netctl(world, &["status"])?.expect(0, &[&pod])?;
    space.run(&[
        "annotate",
        "pod",
        "slow",
        &format!("{INGRESS}-"),
        &format!("{EGRESS}-"),
    ])?;
    wait::until("netctl status to be well", PATIENCE, || {
        let said = netctl(world, &["status"])?;
        said.expect(0, &["nothing is degraded"]).map(|_| Some(()))
    })
}

fn a_wrong_limit_is_told_and_counts_for_nothing(world: &World) -> Result<()> {
    let space = world.namespace("bandwidth-wrong")?;
    let url = limited(&space, "wrong", &[(INGRESS, "fast"), (EGRESS, "1")])?;
    event_says(
        &space,
        INVALID,
        &[INGRESS, "\"fast\"", "ingress is not limited"],
    )?;
    let bounds = "\"1\": must be from 1k to 1P bits in a second; egress is not limited";
    event_says(&space, INVALID, &[EGRESS, bounds])?;
    space.landing_pod("far", Some(2))?;
    fetched(&space, "far", &url)?;
    // A changed annotation is looked at again.
    space.run(&[
        "annotate",
        "--overwrite",
        "pod",
        "wrong",
        &format!("{INGRESS}=2Pi"),
    ])?;
    event_says(&space, INVALID, &[INGRESS, "\"2Pi\""])
}
