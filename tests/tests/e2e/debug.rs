//! `kubectl debug` of a pod that runs: containers that join it, once, and leave it as it is.

use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use naru_tests::support::daemons::node_process;
use naru_tests::support::wait;

use crate::harness::{Case, cases};
use crate::world::{PATIENCE, Space, World};

pub(crate) const CASES: &[Case] = cases![
    a_debugger_sees_the_processes_of_its_target,
    a_debugger_without_a_target_sees_its_own_processes,
    a_debugger_is_attached_and_never_restarted,
    a_debugger_whose_image_is_not_there_says_so_and_the_pod_stays_ready,
    a_debugger_outlives_its_nodes_daemon_and_ends_with_its_pod,
];

const IMAGE: &str = "--image=naru.dev/landing:v1";
const POD: &str = "pod/web";
const STATE: &str = ".status.ephemeralContainerStatuses[0].state";

/// Adds a debugger called `look` to the pod and waits until it runs.
fn debug(space: &Space<'_>, more: &[&str]) -> Result<()> {
    let args = ["debug", "web", "--container=look", IMAGE];
    space.run(&[&args, more].concat())?;
    space.field_becomes(POD, &format!("{STATE}.running.startedAt"), |at| {
        !at.is_empty()
    })?;
    Ok(())
}

/// Runs a command in the debugger.
fn look(space: &Space<'_>, words: &[&str]) -> Result<String> {
    space.run(&[&["exec", "web", "--container=look", "--"], words].concat())
}

fn ready(space: &Space<'_>) -> Result<String> {
    let path = r#".status.conditions[?(@.type=="Ready")].status"#;
    space.field(POD, path)
}

fn a_debugger_sees_the_processes_of_its_target(world: &World) -> Result<()> {
    let space = world.namespace("debug-target")?;
    space.landing_pod("web", None)?;
    let script = "echo looking; exec sleep 3600";
    debug(&space, &["--target=main", "--", "sh", "-c", script])?;
    let first = look(&space, &["cat", "/proc/1/cmdline"])?;
    ensure!(first.starts_with("/landing\0serve"), "{first:?}");
    // One network as well.
    let page = look(
        &space,
        &["/landing", "get", "--url", "http://127.0.0.1:8080/health"],
    )?;
    ensure!(!page.is_empty(), "nobody answers");
    let log = space.run(&["logs", "web", "--container=look"])?;
    ensure!(log.trim() == "looking", "{log:?}");
    let started =
        "jsonpath={range .items[?(@.reason==\"Started\")]}{.involvedObject.fieldPath} {end}";
    let events = space.run(&["get", "events", "-o", started])?;
    ensure!(
        events.contains("spec.ephemeralContainers{look}"),
        "{events}"
    );
    let described = space.run(&["describe", "pod", "web"])?;
    ensure!(described.contains("Ephemeral Containers:"), "{described}");
    ensure!(ready(&space)? == "True");
    let restarts = space.field(POD, ".status.containerStatuses[0].restartCount")?;
    ensure!(restarts == "0", "{restarts}");
    Ok(())
}

fn a_debugger_without_a_target_sees_its_own_processes(world: &World) -> Result<()> {
    let space = world.namespace("debug-alone")?;
    space.landing_pod("web", None)?;
    debug(&space, &["--env=WHO=me", "--", "sleep", "3600"])?;
    let first = look(&space, &["cat", "/proc/1/cmdline"])?;
    ensure!(first.starts_with("sleep\0"), "{first:?}");
    let who = look(&space, &["sh", "-c", "echo $WHO"])?;
    ensure!(who.trim() == "me", "{who:?}");
    Ok(())
}

fn a_debugger_is_attached_and_never_restarted(world: &World) -> Result<()> {
    let space = world.namespace("debug-attach")?;
    space.landing_pod("web", None)?;
    let script = "read word; echo heard $word; exit 3";
    let args = [
        "debug",
        "-i",
        "web",
        "--container=look",
        IMAGE,
        "--",
        "sh",
        "-c",
        script,
    ];
    let mut command = world
        .kubectl
        .command(&[&["-n", &space.name], &args[..]].concat());
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.spawn()?;
    // The end of the input would end the attachment, and what is said after it were lost.
    let mut input = child.stdin.take().context("piped")?;
    input.write_all(b"hello\n")?;
    let output = child.wait_with_output()?;
    drop(input);
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(said.contains("heard hello"), "{said:?}");
    let code = format!("{STATE}.terminated.exitCode");
    space.field_becomes(POD, &code, |code| code == "3")?;
    // Another one joins beside it; the first one stays ended.
    space.run(&[
        "debug",
        "web",
        "--container=other",
        IMAGE,
        "--",
        "sleep",
        "3600",
    ])?;
    let other = ".status.ephemeralContainerStatuses[1].state.running.startedAt";
    space.field_becomes(POD, other, |at| !at.is_empty())?;
    ensure!(space.field(POD, &code)? == "3");
    let restarts = ".status.ephemeralContainerStatuses[0].restartCount";
    ensure!(space.field(POD, restarts)? == "0");
    ensure!(ready(&space)? == "True");
    Ok(())
}

fn a_debugger_whose_image_is_not_there_says_so_and_the_pod_stays_ready(
    world: &World,
) -> Result<()> {
    let space = world.namespace("debug-image")?;
    space.landing_pod("web", None)?;
    let image = "--image=naru.dev/nothing:v1";
    space.run(&["debug", "web", "--container=look", image])?;
    let reason = format!("{STATE}.waiting.reason");
    space.field_becomes(POD, &reason, |reason| reason == "ImagePullBackOff")?;
    ensure!(ready(&space)? == "True");
    ensure!(space.field(POD, ".status.phase")? == "Running");
    let said = world.kubectl.refused(
        &["-n", &space.name, "logs", "web", "--container=look"],
        None,
    )?;
    ensure!(said.contains("is waiting to start"), "{said}");
    Ok(())
}

fn a_debugger_outlives_its_nodes_daemon_and_ends_with_its_pod(world: &World) -> Result<()> {
    let space = world.namespace("debug-restart")?;
    space.landing_pod("web", Some(1))?;
    // A number that no other process has.
    debug(&space, &["--target=main", "--", "sleep", "36001"])?;
    let id = space.field(POD, ".status.ephemeralContainerStatuses[0].containerID")?;
    world.cluster.kill(&node_process(1))?;
    world.cluster.start_node(1)?;
    world.cluster.wait_ready()?;
    space.pods_ready(&["web"])?;
    let first = look(&space, &["cat", "/proc/1/cmdline"])?;
    ensure!(first.starts_with("/landing\0serve"), "{first:?}");
    // The new daemon follows the pod: it starts the next one, and not the first one again.
    space.run(&[
        "debug",
        "web",
        "--container=other",
        IMAGE,
        "--",
        "sleep",
        "36002",
    ])?;
    let other = ".status.ephemeralContainerStatuses[1].state.running.startedAt";
    space.field_becomes(POD, other, |at| !at.is_empty())?;
    let now = space.field(POD, ".status.ephemeralContainerStatuses[0].containerID")?;
    ensure!(now == id, "{now} instead of {id}");
    ensure!(sleepers(world)? == 2, "{} sleep", sleepers(world)?);
    space.run(&["delete", "pod", "web", "--timeout=60s"])?;
    wait::until("the end of the debuggers", PATIENCE, || {
        Ok((sleepers(world)? == 0).then_some(()))
    })
}

/// How many of the debuggers' processes there are on the first node.
fn sleepers(world: &World) -> Result<usize> {
    let script = "grep -lzE '^3600[12]$' /proc/[0-9]*/cmdline 2>/dev/null | wc -l";
    let count = world.on_node(1, &["sh", "-c", script])?;
    Ok(count.trim().parse()?)
}
