//! Images: pulled, missing; containers that end.

use anyhow::{Result, ensure};
use naru_tests::support::containerd::Containerd;
use naru_tests::support::{addresses, wait};

use crate::harness::{Case, cases};
use crate::world::{PATIENCE, World, landing_pod};

pub(crate) const CASES: &[Case] = cases![
    an_image_is_pulled_from_a_registry,
    a_missing_image_is_reported_and_backed_off,
    a_crashing_container_is_restarted_with_back_off,
    a_killed_container_is_restarted,
];

const WAITING: &str = ".status.containerStatuses[0].state.waiting.reason";
const RESTARTS: &str = ".status.containerStatuses[0].restartCount";

fn an_image_is_pulled_from_a_registry(world: &World) -> Result<()> {
    let space = world.namespace("pull")?;
    let image = format!("{}/landing:pulled", addresses::registry());
    publish(world, &image)?;
    space.apply(&landing_pod("pulled", Some(2)).replace("naru.dev/landing:v1", &image))?;
    space.pods_ready(&["pulled"])?;
    let events = space.run(&["get", "events", "-o", "jsonpath={.items[*].reason}"])?;
    ensure!(events.contains("Pulled"), "{events}");
    Ok(())
}

/// Puts an image that node 1 has into the registry on the fabric.
fn publish(world: &World, image: &str) -> Result<()> {
    let socket = Containerd::of(&world.cluster.layout, "node1").socket();
    let ctr = |args: &[&str]| {
        let fixed = [
            "ctr",
            "-a",
            &socket.to_string_lossy(),
            "-n",
            "k8s.io",
            "images",
        ]
        .map(str::to_owned);
        let words: Vec<_> = fixed
            .iter()
            .map(String::as_str)
            .chain(args.iter().copied())
            .collect();
        world.on_node(1, &words)
    };
    ctr(&["tag", "--force", "naru.dev/landing:v1", image])?;
    wait::until("the registry", PATIENCE, || {
        ctr(&["push", "--plain-http", image]).map(Some)
    })?;
    Ok(())
}

fn a_missing_image_is_reported_and_backed_off(world: &World) -> Result<()> {
    let space = world.namespace("noimage")?;
    let image = format!("{}/nothing:here", addresses::registry());
    space.apply(&landing_pod("lost", None).replace("naru.dev/landing:v1", &image))?;
    space.field_becomes("pod/lost", WAITING, |v| {
        v == "ErrImagePull" || v == "ImagePullBackOff"
    })?;
    space.field_becomes("pod/lost", WAITING, |v| v == "ImagePullBackOff")?;
    let text = space.run(&["describe", "pod", "lost"])?;
    ensure!(text.contains(&image) && text.contains("Failed"), "{text}");
    for kubectl in [&world.kubectl, &world.oldest] {
        let said = kubectl.refused(&["-n", &space.name, "logs", "lost"], None)?;
        ensure!(
            said.contains("container \"main\" in pod \"lost\" is waiting to start"),
            "{said}"
        );
    }
    Ok(())
}

fn a_crashing_container_is_restarted_with_back_off(world: &World) -> Result<()> {
    let space = world.namespace("crash")?;
    space.apply(
        "apiVersion: v1
kind: Pod
metadata: {name: crash}
spec:
  containers:
  - {name: main, image: naru.dev/busybox:dev, args: [-c, echo last words; exit 3]}
",
    )?;
    space.field_becomes("pod/crash", WAITING, |v| v == "CrashLoopBackOff")?;
    space.field_becomes("pod/crash", RESTARTS, |v| {
        v.parse().is_ok_and(|n: u32| n >= 1)
    })?;
    let code = space.field(
        "pod/crash",
        ".status.containerStatuses[0].lastState.terminated.exitCode",
    )?;
    ensure!(code == "3", "exit code {code:?}");
    let words = space.run(&["logs", "--previous", "crash"])?;
    ensure!(words == "last words\n", "{words:?}");
    Ok(())
}

fn a_killed_container_is_restarted(world: &World) -> Result<()> {
    let space = world.namespace("kill")?;
    space.landing_pod("mortal", None)?;
    // The answer never comes: the server exits.
    space
        .get_from("mortal", "http://127.0.0.1:8080/exit/1")
        .ok();
    space.field_becomes("pod/mortal", RESTARTS, |v| v == "1")?;
    space.pods_ready(&["mortal"])
}
