//! The life of a container: hooks, probes of every kind, and how it is ended.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use naru_tests::support::wait;

use crate::harness::{Case, cases};
use crate::world::{PATIENCE, Space, World};

pub(crate) const CASES: &[Case] = cases![
    hooks_run_after_the_start_and_before_the_end,
    a_failed_post_start_hook_kills_the_container,
    readiness_follows_probes_of_every_kind,
    failed_liveness_probes_of_every_kind_restart,
    a_startup_probe_holds_the_others_back,
    sigterm_comes_first_and_sigkill_after_the_grace_period,
    a_pod_whose_time_is_up_is_ended_and_has_failed,
    pods_deleted_while_they_start_are_gone,
];

const READY: &str = ".status.containerStatuses[0].ready";
const RESTARTS: &str = ".status.containerStatuses[0].restartCount";
const STARTED: &str = ".status.containerStatuses[0].started";

/// A pod with one container of the landing image; `container` is YAML in flow style, without
/// braces, `spec` likewise.
fn pod(name: &str, spec: &str, container: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec: {{terminationGracePeriodSeconds: 1, {spec} containers: [{{name: main, image: \"naru.dev/landing:v1\", {container}}}]}}
---
"
    )
}

/// A server whose log says who asked for what; returns its address.
fn witness(space: &Space<'_>) -> Result<String> {
    space.landing_pod("witness", None)?;
    space.field("pod/witness", ".status.podIP")
}

/// The paths that the witness was asked for, in their order.
fn told(space: &Space<'_>) -> Result<Vec<String>> {
    let log = space.run(&["logs", "witness"])?;
    let paths = log.lines().filter_map(|line| line.split(' ').nth(1));
    Ok(paths
        .filter(|path| !["/health", "on"].contains(path))
        .map(str::to_owned)
        .collect())
}

fn hooks_run_after_the_start_and_before_the_end(world: &World) -> Result<()> {
    let space = world.namespace("hooks")?;
    let address = witness(&space)?;
    let tell = |what: &str| format!("/landing get --url http://{address}:8080/{what}");
    let exec = |what: &str| format!("exec: {{command: [sh, -c, \"{}\"]}}", tell(what));
    let get = |what: &str| format!("httpGet: {{host: {address}, port: 8080, path: /{what}}}");
    let term = format!(
        "command: [sh, -c, \"trap '{}; exit 0' TERM; while true; do sleep 0.1; done\"]",
        tell("exec-term")
    );
    let (up, down) = (exec("exec-up"), exec("exec-down"));
    let spec = pod(
        "exec",
        "",
        &format!("{term}, lifecycle: {{postStart: {{{up}}}, preStop: {{{down}}}}}"),
    );
    let spec = spec.replace("Seconds: 1", "Seconds: 20");
    let (up, down) = (get("get-up"), get("get-down"));
    let other = pod(
        "get",
        "",
        &format!("args: [serve], lifecycle: {{postStart: {{{up}}}, preStop: {{{down}}}}}"),
    );
    space.apply(&format!("{spec}{other}"))?;
    space.pods_ready(&["exec", "get"])?;
    let seen = told(&space)?;
    ensure!(
        seen.contains(&"/exec-up".into()) && seen.contains(&"/get-up".into()),
        "{seen:?}"
    );
    ensure!(seen.len() == 2, "before any end: {seen:?}");
    space.run(&["delete", "pod", "exec", "get", "--timeout=60s"])?;
    let seen = told(&space)?;
    let place = |what: &str| {
        seen.iter()
            .position(|p| p == what)
            .ok_or_else(|| anyhow!("no {what} in {seen:?}"))
    };
    place("/get-down")?;
    // The signal is sent when the hook has ended.
    ensure!(
        place("/exec-down")? < place("/exec-term")? && seen.len() == 5,
        "{seen:?}"
    );
    Ok(())
}

fn a_failed_post_start_hook_kills_the_container(world: &World) -> Result<()> {
    let space = world.namespace("badhook")?;
    let hook = "args: [serve], lifecycle: {postStart: {exec: {command: [sh, -c, 'echo no luck >&2; exit 4']}}}";
    space.apply(&pod("unlucky", "", hook))?;
    let events = wait::until("the hook's event", PATIENCE, || {
        let reason = "jsonpath={range .items[?(@.reason==\"FailedPostStartHook\")]}{.message}{end}";
        let text = space.run(&["get", "events", "-o", reason])?;
        Ok((!text.is_empty()).then_some(text))
    })?;
    ensure!(
        events.contains("no luck") && events.contains('4'),
        "{events}"
    );
    let waiting = ".status.containerStatuses[0].state.waiting.reason";
    let dead = ["PostStartHookError", "CrashLoopBackOff"];
    space
        .field_becomes("pod/unlucky", waiting, |v| dead.contains(&v))
        .map(drop)
}

fn becomes(space: &Space<'_>, name: &str, path: &str, wanted: &str) -> Result<()> {
    let name = format!("pod/{name}");
    space.field_becomes(&name, path, |v| v == wanted).map(drop)
}

const QUICK: &str = "periodSeconds: 1, failureThreshold: 1";

fn readiness_follows_probes_of_every_kind(world: &World) -> Result<()> {
    let space = world.namespace("readiness")?;
    let probe = |check: &str| format!("readinessProbe: {{{check}, {QUICK}}}");
    let serve = |check: &str| format!("args: [serve], {}", probe(check));
    let pods = [
        pod(
            "exec",
            "",
            &serve("exec: {command: [test, '!', -e, /tmp/sick]}"),
        ),
        pod("http", "", &serve("httpGet: {path: /health, port: 8080}")),
        pod(
            "tcp",
            "",
            &format!(
                "args: [serve], stdin: true, {}",
                probe("tcpSocket: {port: 8081}")
            ),
        ),
        pod(
            "grpc",
            "",
            &format!("args: [grpc-health], {}", probe("grpc: {port: 9000}")),
        ),
    ];
    space.apply(&pods.concat())?;
    for name in ["exec", "http", "grpc"] {
        becomes(&space, name, READY, "true")?;
    }
    // Nothing listens on the port of this one until it is told to.
    becomes(&space, "tcp", STARTED, "true")?;
    becomes(&space, "tcp", READY, "false")?;
    let listen = space.background_quietly("tcp", &["/landing", "serve", "--port", "8081"])?;
    becomes(&space, "tcp", READY, "true")?;
    drop(listen);
    let sick = ["touch", "/tmp/sick"];
    space.exec("exec", &sick)?;
    space.exec("grpc", &sick)?;
    space.get_from("http", "http://127.0.0.1:8080/fail")?;
    for name in ["exec", "http", "grpc"] {
        becomes(&space, name, READY, "false")?;
        becomes(&space, name, RESTARTS, "0")?;
    }
    space.exec("grpc", &["rm", "/tmp/sick"])?;
    becomes(&space, "grpc", READY, "true")?;
    let events = space.run(&[
        "get",
        "events",
        "-o",
        "jsonpath={range .items[?(@.reason==\"Unhealthy\")]}{.message}{\"\\n\"}{end}",
    ])?;
    for words in ["Readiness probe failed", "8081", "503"] {
        ensure!(events.contains(words), "no {words:?} in {events}");
    }
    Ok(())
}

fn failed_liveness_probes_of_every_kind_restart(world: &World) -> Result<()> {
    let space = world.namespace("liveness")?;
    // Two failures, because the first question may come before the server listens.
    let probe =
        |check: &str| format!("livenessProbe: {{{check}, periodSeconds: 1, failureThreshold: 2}}");
    let serve = |check: &str| format!("args: [serve], {}", probe(check));
    // A file of the container's own layer goes with the container: the next one is well.
    let pods = [
        pod(
            "exec",
            "",
            &serve("exec: {command: [test, '!', -e, /tmp/sick]}"),
        ),
        pod("http", "", &serve("httpGet: {path: /health, port: 8080}")),
        pod("tcp", "", &serve("tcpSocket: {port: 8081}")),
        pod(
            "grpc",
            "",
            &format!("args: [grpc-health], {}", probe("grpc: {port: 9000}")),
        ),
    ];
    space.apply(&pods.concat())?;
    space.pods_ready(&["exec", "http", "grpc"])?;
    space.exec("exec", &["touch", "/tmp/sick"])?;
    space.exec("grpc", &["touch", "/tmp/sick"])?;
    space.get_from("http", "http://127.0.0.1:8080/fail")?;
    for name in ["exec", "http", "grpc", "tcp"] {
        let pod = format!("pod/{name}");
        space.field_becomes(&pod, RESTARTS, |v| v.parse().is_ok_and(|n: u32| n >= 1))?;
    }
    space.pods_ready(&["exec", "http", "grpc"])?;
    for name in ["exec", "http", "grpc"] {
        becomes(&space, name, RESTARTS, "1")?;
    }
    let events = space.run(&["get", "events", "-o", "jsonpath={.items[*].message}"])?;
    ensure!(events.contains("Liveness probe failed"), "{events}");
    Ok(())
}

fn a_startup_probe_holds_the_others_back(world: &World) -> Result<()> {
    let space = world.namespace("startup")?;
    let check = |path: &str| format!("exec: {{command: [test, -e, {path}]}}, periodSeconds: 1");
    let slow = format!(
        "args: [serve], startupProbe: {{{}, failureThreshold: 100}}, livenessProbe: {{{}, failureThreshold: 1}}",
        check("/tmp/up"),
        check("/tmp/up")
    );
    let never = format!(
        "args: [serve], startupProbe: {{{}, failureThreshold: 2}}",
        check("/tmp/never")
    );
    space.apply(&[pod("slow", "", &slow), pod("never", "", &never)].concat())?;
    // Two failures end this one; by then the other's liveness probe would have ended it too.
    space.field_becomes("pod/never", RESTARTS, |v| {
        v.parse().is_ok_and(|n: u32| n >= 1)
    })?;
    becomes(&space, "slow", STARTED, "false")?;
    becomes(&space, "slow", READY, "false")?;
    space.exec("slow", &["touch", "/tmp/up"])?;
    becomes(&space, "slow", STARTED, "true")?;
    becomes(&space, "slow", READY, "true")?;
    becomes(&space, "slow", RESTARTS, "0")
}

fn sigterm_comes_first_and_sigkill_after_the_grace_period(world: &World) -> Result<()> {
    let space = world.namespace("grace")?;
    let address = witness(&space)?;
    let stubborn = format!(
        "command: [sh, -c, \"trap '/landing get --url http://{address}:8080/term' TERM; while true; do sleep 0.1; done\"]"
    );
    let spec = pod("stubborn", "", &stubborn).replace("Seconds: 1", "Seconds: 3");
    space.apply(&spec)?;
    space.pods_ready(&["stubborn"])?;
    let begin = Instant::now();
    space.run(&["delete", "pod", "stubborn", "--timeout=60s"])?;
    let took = begin.elapsed();
    ensure!(
        took >= Duration::from_secs(3),
        "killed before its time: {took:?}"
    );
    ensure!(took < Duration::from_secs(12), "{took:?}");
    let seen = told(&space)?;
    ensure!(seen == ["/term"], "{seen:?}");
    // One that ends by itself is not waited for.
    space.apply(&pod("polite", "", "args: [serve]").replace("Seconds: 1", "Seconds: 30"))?;
    space.pods_ready(&["polite"])?;
    let begin = Instant::now();
    space.run(&["delete", "pod", "polite", "--timeout=60s"])?;
    ensure!(
        begin.elapsed() < Duration::from_secs(30),
        "{:?}",
        begin.elapsed()
    );
    Ok(())
}

fn a_pod_whose_time_is_up_is_ended_and_has_failed(world: &World) -> Result<()> {
    let space = world.namespace("deadline")?;
    space.apply(&pod("brief", "activeDeadlineSeconds: 2,", "args: [serve]"))?;
    space.field_becomes("pod/brief", ".status.phase", |v| v == "Failed")?;
    let reason = space.field("pod/brief", ".status.reason")?;
    ensure!(reason == "DeadlineExceeded", "{reason:?}");
    let ended = space.field("pod/brief", ".status.containerStatuses[0].state")?;
    ensure!(ended.contains("terminated"), "{ended}");
    Ok(())
}

/// Each round deletes its pods a little later, in whatever they are doing then. A start that is
/// broken off leaves containerd a task that it can't delete, and the pod would never go.
fn pods_deleted_while_they_start_are_gone(world: &World) -> Result<()> {
    let space = world.namespace("early")?;
    for round in 0..8 {
        let names = (0..6).map(|number| format!("p{round}-{number}"));
        let pods: String = names
            .map(|name| pod(&name, "nodeName: node1,", "args: [serve]"))
            .collect();
        space.apply(&pods)?;
        thread::sleep(Duration::from_millis(40) * round);
        space.run(&["delete", "pods", "--all", "--wait=false"])?;
    }
    wait::until("the end of the pods", PATIENCE, || {
        let left = space.run(&["get", "pods", "-o", "name"])?;
        ensure!(left.is_empty(), "{left}");
        Ok(Some(()))
    })
}
