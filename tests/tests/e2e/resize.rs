//! Pods that are resized while they run: the kernel's own figures, and what the pod says of itself.

use anyhow::{Result, ensure};
use naru_tests::support::daemons::node_process;
use naru_tests::support::wait;

use crate::harness::{Case, cases};
use crate::runtime::{of_cgroup, process_of};
use crate::world::{PATIENCE, Space, World, landing_pod};

pub(crate) const CASES: &[Case] = cases![
    a_pod_grows_and_shrinks_without_a_restart,
    a_container_whose_policy_says_so_restarts_with_its_new_resources,
    what_the_node_cannot_give_is_told_and_the_pod_goes_on,
    what_others_have_is_given_once_they_are_gone,
    a_restarted_daemon_knows_what_it_gave,
];

const POD: &str = "pod/web";
const RESTARTS: &str = ".status.containerStatuses[0].restartCount";

/// Starts a pod that may use a quarter of a CPU and 48 MiB.
fn start(space: &Space<'_>, policy: &str) -> Result<()> {
    let pod = landing_pod("web", Some(1))
        + "    resources: {limits: {cpu: 250m, memory: 48Mi}, requests: {cpu: 100m, memory: 16Mi}}\n"
        + policy;
    space.apply(&pod)?;
    space.pods_ready(&["web"])
}

/// Resizes it by what stands in `resources`.
fn resize(space: &Space<'_>, resources: &str) -> Result<()> {
    let patch =
        format!(r#"{{"spec":{{"containers":[{{"name":"main","resources":{resources}}}]}}}}"#);
    space.run(&["patch", "pod", "web", "--subresource=resize", "-p", &patch])?;
    Ok(())
}

/// Waits until the kernel has this memory limit, in MiB, and CPU quota, in thousandths.
fn kernel_has(world: &World, space: &Space<'_>, mebibytes: u64, milli: u64) -> Result<()> {
    wait::until("the kernel's figures", PATIENCE, || {
        let pid = process_of(world, space, "web")?;
        let memory = of_cgroup(pid, "memory.max", "memory", "memory.limit_in_bytes")?;
        let quota = of_cgroup(pid, "cpu.max", "cpu", "cpu.cfs_quota_us")?;
        let wanted = (milli * 100).to_string();
        let quota = quota.split(' ').next().unwrap_or_default().to_owned();
        ensure!(
            memory == (mebibytes << 20).to_string() && quota == wanted,
            "memory {memory}, quota {quota}"
        );
        Ok(Some(()))
    })
}

/// The conditions about resizes, as `TYPE=REASON`.
fn resizes(space: &Space<'_>) -> Result<String> {
    let all = r#"jsonpath={range .status.conditions[*]}{.type}={.reason} {end}"#;
    let all = space.run(&["get", POD, "-o", all])?;
    let told = all.split(' ').filter(|word| word.starts_with("PodResize"));
    Ok(told.collect::<Vec<_>>().join(" "))
}

fn settled(space: &Space<'_>, path: &str, value: &str) -> Result<()> {
    space.field_becomes(POD, path, |seen| seen == value)?;
    wait::until("the end of the resize", PATIENCE, || {
        let told = resizes(space)?;
        ensure!(told.is_empty(), "{told}");
        Ok(Some(()))
    })
}

fn a_pod_grows_and_shrinks_without_a_restart(world: &World) -> Result<()> {
    let space = world.namespace("resize")?;
    start(&space, "")?;
    kernel_has(world, &space, 48, 250)?;
    let pid = process_of(world, &space, "web")?;
    let limit = ".status.containerStatuses[0].resources.limits.memory";
    let given = ".status.containerStatuses[0].allocatedResources.cpu";
    ensure!(space.field(POD, given)? == "100m");
    resize(
        &space,
        r#"{"limits":{"cpu":"500m","memory":"96Mi"},"requests":{"cpu":"200m"}}"#,
    )?;
    kernel_has(world, &space, 96, 500)?;
    let shares = of_cgroup(pid, "cpu.weight", "cpu", "cpu.shares")?;
    ensure!(shares == "204" || shares == "8", "CPU shares {shares}");
    settled(&space, limit, "96Mi")?;
    ensure!(space.field(POD, given)? == "200m");
    resize(
        &space,
        r#"{"limits":{"cpu":"150m","memory":"64Mi"},"requests":{"cpu":"50m"}}"#,
    )?;
    kernel_has(world, &space, 64, 150)?;
    settled(&space, limit, "64Mi")?;
    ensure!(process_of(world, &space, "web")? == pid, "another process");
    ensure!(space.field(POD, RESTARTS)? == "0");
    let (seen, now) = (".status.observedGeneration", ".metadata.generation");
    ensure!(space.field(POD, seen)? == space.field(POD, now)?);
    Ok(())
}

fn a_container_whose_policy_says_so_restarts_with_its_new_resources(world: &World) -> Result<()> {
    let space = world.namespace("resize-restart")?;
    let policy = "    resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]\n";
    start(&space, policy)?;
    resize(&space, r#"{"limits":{"cpu":"500m"}}"#)?;
    kernel_has(world, &space, 48, 500)?;
    ensure!(space.field(POD, RESTARTS)? == "0");
    resize(&space, r#"{"limits":{"memory":"64Mi"}}"#)?;
    space.field_becomes(POD, RESTARTS, |count| count == "1")?;
    kernel_has(world, &space, 64, 500)?;
    settled(
        &space,
        ".status.containerStatuses[0].resources.limits.memory",
        "64Mi",
    )?;
    space.pods_ready(&["web"])
}

fn what_the_node_cannot_give_is_told_and_the_pod_goes_on(world: &World) -> Result<()> {
    let space = world.namespace("resize-refused")?;
    start(&space, "")?;
    let pid = process_of(world, &space, "web")?;
    resize(
        &space,
        r#"{"limits":{"cpu":"5000"},"requests":{"cpu":"5000"}}"#,
    )?;
    let why = r#".status.conditions[?(@.type=="PodResizePending")].message"#;
    let said = space.field_becomes(POD, why, |said| !said.is_empty())?;
    ensure!(resizes(&space)? == "PodResizePending=Infeasible");
    ensure!(
        said.starts_with("Node didn't have enough capacity: cpu, requested: 5000000"),
        "{said}"
    );
    let given = ".status.containerStatuses[0].allocatedResources.cpu";
    ensure!(space.field(POD, given)? == "100m");
    kernel_has(world, &space, 48, 250)?;
    // Nothing is owed once less is wanted.
    resize(
        &space,
        r#"{"limits":{"cpu":"300m"},"requests":{"cpu":"100m"}}"#,
    )?;
    kernel_has(world, &space, 48, 300)?;
    settled(
        &space,
        ".status.containerStatuses[0].resources.limits.cpu",
        "300m",
    )?;
    ensure!(process_of(world, &space, "web")? == pid, "another process");
    Ok(())
}

fn what_others_have_is_given_once_they_are_gone(world: &World) -> Result<()> {
    let space = world.namespace("resize-deferred")?;
    let path = "jsonpath={.status.allocatable.cpu}";
    let cpus = world.kubectl.run(&["get", "node", "node1", "-o", path])?;
    let milli: u64 = match cpus.strip_suffix('m') {
        Some(milli) => milli.parse()?,
        None => cpus.parse::<u64>()? * 1000,
    };
    let other = landing_pod("other", Some(1))
        + &format!("    resources: {{requests: {{cpu: {}m}}}}\n", milli * 3 / 4);
    space.apply(&other)?;
    start(&space, "")?;
    // No whole number of CPUs, which would be written without the m.
    let half = milli / 2 - 25;
    let wish = format!(r#"{{"limits":{{"cpu":"{half}m"}},"requests":{{"cpu":"{half}m"}}}}"#);
    resize(&space, &wish)?;
    let why = r#".status.conditions[?(@.type=="PodResizePending")].message"#;
    let said = space.field_becomes(POD, why, |said| !said.is_empty())?;
    ensure!(resizes(&space)? == "PodResizePending=Deferred");
    let words = format!("Node didn't have enough resource: cpu, requested: {half}, used: ");
    ensure!(said.starts_with(&words), "{said}");
    kernel_has(world, &space, 48, 250)?;
    space.run(&["delete", "pod", "other"])?;
    kernel_has(world, &space, 48, half)?;
    let given = ".status.containerStatuses[0].allocatedResources.cpu";
    settled(&space, given, &format!("{half}m"))?;
    ensure!(space.field(POD, RESTARTS)? == "0");
    Ok(())
}

fn a_restarted_daemon_knows_what_it_gave(world: &World) -> Result<()> {
    let space = world.namespace("resize-daemon")?;
    start(&space, "")?;
    resize(
        &space,
        r#"{"limits":{"cpu":"5000"},"requests":{"cpu":"5000"}}"#,
    )?;
    let pending = || -> Result<Option<()>> {
        let told = resizes(&space)?;
        ensure!(told == "PodResizePending=Infeasible", "{told}");
        Ok(Some(()))
    };
    wait::until("the refusal", PATIENCE, pending)?;
    world.cluster.kill(&node_process(1))?;
    // While nobody is there, another wish comes.
    resize(
        &space,
        r#"{"limits":{"cpu":"400m","memory":"80Mi"},"requests":{"cpu":"100m"}}"#,
    )?;
    world.cluster.start_node(1)?;
    world.cluster.wait_ready()?;
    kernel_has(world, &space, 80, 400)?;
    settled(
        &space,
        ".status.containerStatuses[0].resources.limits.memory",
        "80Mi",
    )?;
    ensure!(space.field(POD, RESTARTS)? == "0");
    Ok(())
}
