//! Daemons killed, nodes lost: what must not break, and what must heal.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use naru_tests::support::daemons::{CONTROL_PROCESS, node_process};
use naru_tests::support::process::enter;
use naru_tests::support::{addresses, run, wait};

use crate::harness::{Case, cases};
use crate::runtime::network_of;
use crate::workloads::load_from_outside;
use crate::world::{Background, Counts, PATIENCE, Space, World};

pub(crate) const CASES: &[Case] = cases![
    killing_the_node_daemons_breaks_no_connection,
    node_daemons_that_die_twenty_times_break_no_connection,
    killing_the_control_plane_breaks_no_connection_and_loses_nothing,
    a_restarted_node_daemon_restarts_no_container,
    a_killed_containerd_comes_back_to_its_pods,
    pods_of_a_lost_node_are_replaced,
];

/// What must go on whatever happens to daemons: a load from a pod through a Service, a long stream
/// beside it, and a load on a NodePort from outside.
///
/// They run in the pod's network namespace, but are no children of an exec session: that one is
/// carried by the daemon that gets killed.
struct Held<'a> {
    world: &'a World,
    pod: PathBuf,
    service: String,
    inside: Background,
    stream: Background,
    outside: Background,
}

impl<'a> Held<'a> {
    fn start(world: &'a World, space: &Space<'_>) -> Result<Self> {
        space.landing_service("web", 2)?;
        space.run(&[
            "patch",
            "service",
            "web",
            "-p",
            r#"{"spec":{"type":"NodePort"}}"#,
        ])?;
        let port =
            space.field_becomes("service/web", ".spec.ports[0].nodePort", |v| !v.is_empty())?;
        space.landing_pod("client", Some(1))?;
        let service = format!("{}:80", space.field("service/web", ".spec.clusterIP")?);
        let entry = format!("http://{}:{port}/", addresses::node(1));
        wait::until("the node port", PATIENCE, || {
            world.get_outside(&entry, None).map(Some)
        })?;
        let pod = network_of(world, space, "client")?;
        let inside = Background::start(within(world, 1, &pod, "load", &service, UNTIL)?)?;
        let stream = Background::start(within(world, 1, &pod, "stream", &service, UNTIL)?)?;
        let outside = load_from_outside(world, &format!("{}:{port}", addresses::node(1)))?;
        Ok(Self {
            world,
            pod,
            service,
            inside,
            stream,
            outside,
        })
    }

    /// A second more of load; nothing of it may fail.
    fn goes_on(&self) -> Result<()> {
        let text = run::checked(&mut within(
            self.world,
            1,
            &self.pod,
            "load",
            &self.service,
            &["--seconds", "1"],
        )?)?;
        Counts {
            text: text.trim_end().to_owned(),
        }
        .flawless(20)
    }

    fn finish(self) -> Result<()> {
        self.outside
            .finish()?
            .flawless(50)
            .context("from outside")?;
        self.inside.finish()?.flawless(50).context("from a pod")?;
        let stream = self.stream.finish()?;
        ensure!(
            stream.number("breaks")? == 0 && stream.number("lines")? > 10,
            "stream: {}",
            stream.text
        );
        Ok(())
    }
}

/// Ends a load by closing its standard input.
pub(crate) const UNTIL: &[&str] = &["--until-stdin-closes", "true"];

/// A landing command in the network namespace of a pod of node `k`.
pub(crate) fn within(
    world: &World,
    k: u8,
    pod: &Path,
    verb: &str,
    target: &str,
    more: &[&str],
) -> Result<Command> {
    let mut command = enter(
        &world.cluster.cgroups.dir(&format!("node{k}/daemons")),
        Some(pod),
        false,
    );
    command
        .arg(world.landing()?)
        .args([verb, "--target", target])
        .args(more);
    Ok(command)
}

fn killing_the_node_daemons_breaks_no_connection(world: &World) -> Result<()> {
    let space = world.namespace("killnode")?;
    let held = Held::start(world, &space)?;
    for k in world.cluster.nodes() {
        world.cluster.kill(&node_process(k))?;
        held.goes_on()?;
        world.cluster.start_node(k)?;
        held.goes_on()?;
    }
    world.cluster.wait_ready()?;
    held.finish()
}

/// How often a daemon dies, on one node after the other.
const DEATHS: u8 = 20;

/// Most of them die while they start.
fn node_daemons_that_die_twenty_times_break_no_connection(world: &World) -> Result<()> {
    let space = world.namespace("kill-loop")?;
    let held = Held::start(world, &space)?;
    for death in 0..DEATHS {
        let k = 1 + death % 2;
        world.cluster.kill(&node_process(k))?;
        world.cluster.start_node(k)?;
        if death % 5 == 4 {
            world.cluster.wait_ready()?;
            held.goes_on().with_context(|| format!("death {death}"))?;
        }
    }
    world.cluster.wait_ready()?;
    held.goes_on()?;
    held.finish()
}

fn killing_the_control_plane_breaks_no_connection_and_loses_nothing(world: &World) -> Result<()> {
    let space = world.namespace("killcontrol")?;
    let held = Held::start(world, &space)?;
    space.run(&["create", "configmap", "written", "--from-literal=last=word"])?;
    world.cluster.kill(CONTROL_PROCESS)?;
    held.goes_on()?;
    world.cluster.start_control()?;
    ensure!(space.field("configmap/written", ".data.last")? == "word");
    world.cluster.wait_ready()?;
    held.goes_on()?;
    held.finish()
}

fn container_ids(space: &Space<'_>) -> Result<String> {
    space.run(&["get", "pods", "-o", "jsonpath={range .items[*]}{.status.containerStatuses[*].containerID} {.status.containerStatuses[*].restartCount}{\"\\n\"}{end}"])
}

fn a_restarted_node_daemon_restarts_no_container(world: &World) -> Result<()> {
    let space = world.namespace("adopt")?;
    space.landing_service("web", 3)?;
    let before = container_ids(&space)?;
    for k in world.cluster.nodes() {
        world.cluster.kill(&node_process(k))?;
        world.cluster.start_node(k)?;
    }
    world.cluster.wait_ready()?;
    // Proof that the new daemons have looked at every pod: one that they start themselves.
    space.landing_pod("after1", Some(1))?;
    space.landing_pod("after2", Some(2))?;
    space.run(&["delete", "pod", "after1", "after2"])?;
    let after = container_ids(&space)?;
    ensure!(before == after, "{before}\nbecame\n{after}");
    Ok(())
}

fn a_killed_containerd_comes_back_to_its_pods(world: &World) -> Result<()> {
    let space = world.namespace("runtime")?;
    space.landing_pod("steady", Some(1))?;
    let before = container_ids(&space)?;
    world.cluster.kill("containerd@node1")?;
    world.cluster.start_containerd(1)?;
    wait::until("exec on node 1", PATIENCE, || {
        space.exec("steady", &["true"]).map(Some)
    })?;
    space.landing_pod("fresh", Some(1))?;
    space.run(&["delete", "pod", "fresh"])?;
    ensure!(before == container_ids(&space)?, "the pod was restarted");
    Ok(())
}

fn pods_of_a_lost_node_are_replaced(world: &World) -> Result<()> {
    let space = world.namespace("lost")?;
    space.landing_service("web", 2)?;
    space.run(&["patch", "deployment", "web", "-p", r#"{"spec":{"template":{"spec":{"tolerations":[
        {"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":1},
        {"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":1}]}}}}"#])?;
    space.rolled_out("web")?;
    let loss = Loss::of_node(world, 2)?;
    let ready = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
    wait::until("node2 to be NotReady", Duration::from_secs(90), || {
        let state = world.kubectl.run(&["get", "node", "node2", "-o", ready])?;
        if state == "True" {
            Err(anyhow!("it is Ready"))
        } else {
            Ok(Some(()))
        }
    })?;
    wait::until("two ready pods on node1", Duration::from_secs(90), || {
        let nodes = "jsonpath={range .items[?(@.status.containerStatuses[0].ready==true)]}{.spec.nodeName} {end}";
        let nodes = space.run(&["get", "pods", "-l", "app=web", "-o", nodes])?;
        let count = nodes.split_whitespace().filter(|n| *n == "node1").count();
        if count >= 2 {
            Ok(Some(()))
        } else {
            Err(anyhow!("ready on {nodes:?}"))
        }
    })?;
    drop(loss);
    world.cluster.wait_ready()
}

/// A node cut off from the fabric, until dropped.
struct Loss<'a> {
    world: &'a World,
    port: String,
}

impl<'a> Loss<'a> {
    fn of_node(world: &'a World, k: u8) -> Result<Self> {
        let loss = Self {
            world,
            port: format!("node{k}"),
        };
        loss.set("down")?;
        Ok(loss)
    }

    fn set(&self, state: &str) -> Result<()> {
        let fabric = self.world.cluster.layout.namespace("fabric");
        naru_tests::support::run::run("ip", &["-n", &fabric, "link", "set", &self.port, state])
            .map(drop)
    }
}

impl Drop for Loss<'_> {
    fn drop(&mut self) {
        self.set("up").ok();
    }
}
