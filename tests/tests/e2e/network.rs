//! Packets between pods, Services, nodes and the world outside.

use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use naru_tests::support::addresses;
use naru_tests::support::wait;

use crate::harness::{Case, cases};
use crate::kubectl::Running;
use crate::world::{PATIENCE, Space, World};

pub(crate) const CASES: &[Case] = cases![
    pods_reach_pods_on_the_same_and_on_another_node,
    a_pod_keeps_its_address_towards_other_pods,
    a_service_spreads_connections_over_its_pods,
    a_node_reaches_a_service_and_its_pods,
    a_pod_reaches_itself_through_its_service,
    udp_goes_through_a_service,
    a_node_port_answers_on_every_node,
    pods_reach_the_world_under_their_nodes_address,
    a_service_without_pods_refuses,
    pods_reach_the_api_server_through_its_service,
];

fn pair(space: &Space<'_>) -> Result<()> {
    space.landing_pod("a", Some(1))?;
    space.landing_pod("b", Some(1))?;
    space.landing_pod("c", Some(2))
}

fn address(space: &Space<'_>, pod: &str) -> Result<String> {
    space.field(&format!("pod/{pod}"), ".status.podIP")
}

fn pods_reach_pods_on_the_same_and_on_another_node(world: &World) -> Result<()> {
    let space = world.namespace("reach")?;
    pair(&space)?;
    for (from, to) in [("a", "b"), ("a", "c"), ("c", "a"), ("a", "a")] {
        let page = space.get_from(from, &format!("http://{}:8080/", address(&space, to)?))?;
        ensure!(
            page.contains(&format!("hostname {to}\n")),
            "{from} to {to}: {page}"
        );
    }
    Ok(())
}

fn a_pod_keeps_its_address_towards_other_pods(world: &World) -> Result<()> {
    let space = world.namespace("source")?;
    pair(&space)?;
    let own = address(&space, "a")?;
    for to in ["b", "c"] {
        let page = space.get_from("a", &format!("http://{}:8080/", address(&space, to)?))?;
        ensure!(page.contains(&format!("peer {own}\n")), "a to {to}: {page}");
    }
    Ok(())
}

fn a_service_spreads_connections_over_its_pods(world: &World) -> Result<()> {
    let space = world.namespace("spread")?;
    space.landing_service("web", 3)?;
    space.landing_pod("client", None)?;
    let ask = "for i in $(seq 60); do /landing get --url http://web/ | grep hostname; done | sort | uniq -c";
    let said = space.exec("client", &["sh", "-c", ask])?;
    let counts: Vec<u32> = said
        .lines()
        .filter_map(|l| l.split_whitespace().next()?.parse().ok())
        .collect();
    ensure!(
        counts.len() == 3 && counts.iter().sum::<u32>() == 60,
        "{said}"
    );
    ensure!(counts.iter().all(|n| *n >= 4), "uneven: {said}");
    Ok(())
}

fn a_node_reaches_a_service_and_its_pods(world: &World) -> Result<()> {
    let space = world.namespace("host")?;
    space.landing_service("web", 2)?;
    let service = space.field("service/web", ".spec.clusterIP")?;
    let pods = space.run(&[
        "get",
        "pods",
        "-l",
        "app=web",
        "-o",
        "jsonpath={.items[*].status.podIP}",
    ])?;
    let targets: Vec<_> = pods
        .split(' ')
        .map(|ip| format!("{ip}:8080"))
        .chain([format!("{service}:80")])
        .collect();
    for k in world.cluster.nodes() {
        for target in &targets {
            let url = format!("http://{target}/");
            let page = world.on_node(k, &["curl", "-sS", "--max-time", "3", &url]);
            ensure!(
                page.with_context(|| format!("node{k} to {target}"))?
                    .contains("hostname web-")
            );
        }
    }
    Ok(())
}

fn a_pod_reaches_itself_through_its_service(world: &World) -> Result<()> {
    let space = world.namespace("hairpin")?;
    space.landing_service("web", 1)?;
    let pod = space.run(&["get", "pods", "-o", "jsonpath={.items[0].metadata.name}"])?;
    let page = space.get_from(&pod, "http://web/")?;
    ensure!(page.contains(&format!("hostname {pod}\n")), "{page}");
    Ok(())
}

fn udp_goes_through_a_service(world: &World) -> Result<()> {
    let space = world.namespace("udp")?;
    space.apply(
        "apiVersion: v1
kind: Pod
metadata: {name: echo, labels: {app: echo}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: naru.dev/landing:v1, args: [udp-echo, --port, '5353']}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  selector: {app: echo}
  ports: [{protocol: UDP, port: 9999, targetPort: 5353}]
",
    )?;
    space.pods_ready(&["echo"])?;
    space.landing_pod("client", None)?;
    let said = space.exec("client", &["/landing", "udp-ask", "--target", "echo:9999"])?;
    // The answer comes from where the question went, not from the pod behind it.
    let service = space.field("service/echo", ".spec.clusterIP")?;
    ensure!(
        said == format!("echo ping from {service}:9999\n"),
        "{said:?}"
    );
    Ok(())
}

fn a_node_port_answers_on_every_node(world: &World) -> Result<()> {
    let space = world.namespace("nodeport")?;
    space.landing_service("web", 1)?;
    space.run(&[
        "patch",
        "service",
        "web",
        "-p",
        r#"{"spec":{"type":"NodePort"}}"#,
    ])?;
    let port = space.field_becomes("service/web", ".spec.ports[0].nodePort", |v| !v.is_empty())?;
    for k in world.cluster.nodes() {
        let url = format!("http://{}:{port}/", addresses::node(k));
        wait::until(&url, PATIENCE, || {
            let (code, body) = world.get_outside(&url, None)?;
            ensure!(
                code == 200 && body.contains("hostname web-"),
                "{code} {body}"
            );
            Ok(Some(()))
        })?;
    }
    Ok(())
}

/// The server outside knows no route to pods, so an answer proves the translation.
fn pods_reach_the_world_under_their_nodes_address(world: &World) -> Result<()> {
    let space = world.namespace("world")?;
    pair(&space)?;
    let target = SocketAddr::new(addresses::OUTSIDE.into(), 8181);
    arrive_from_their_nodes(&space, target, |node| addresses::node(node).into())
}

/// Pods `a` on node 1 and `c` on node 2 ask a server outside the cluster, which sees their nodes'
/// addresses.
pub(crate) fn arrive_from_their_nodes(
    space: &Space<'_>,
    target: SocketAddr,
    node: impl Fn(u8) -> IpAddr,
) -> Result<()> {
    let mut server = space.world.cluster.inside("outside");
    let (host, port) = (target.ip().to_string(), target.port().to_string());
    server.args([
        &space.world.landing()?,
        "serve",
        "--host",
        &host,
        "--port",
        &port,
    ]);
    let _server = Running(server.stdout(Stdio::null()).spawn()?);
    let url = format!("http://{target}/");
    for (pod, number) in [("a", 1), ("c", 2)] {
        let page = wait::until(&url, PATIENCE, || space.get_from(pod, &url).map(Some))?;
        let peer = format!("peer {}\n", node(number));
        ensure!(page.contains(&peer), "{pod}: {page}");
    }
    Ok(())
}

fn a_service_without_pods_refuses(world: &World) -> Result<()> {
    let space = world.namespace("nobody")?;
    space.landing_service("web", 1)?;
    space.landing_pod("client", None)?;
    space.get_from("client", "http://web/")?;
    space.run(&["scale", "deployment/web", "--replicas=0"])?;
    wait::until("a refused connection", PATIENCE, || {
        let refused = space
            .get_from("client", "http://web/")
            .err()
            .map(|e| format!("{e:#}"));
        Ok(refused.filter(|text| text.contains("refused")).map(drop))
    })
}

fn pods_reach_the_api_server_through_its_service(world: &World) -> Result<()> {
    let space = world.namespace("api")?;
    space.landing_pod("client", None)?;
    // A TLS server answers a line that is no TLS with an alert record (RFC 8446, 5.1: type 21).
    let ask = "echo hello | nc -w 3 kubernetes.default.svc 443 | od -A n -t x1";
    let said = space.exec("client", &["sh", "-c", ask])?;
    ensure!(said.trim_start().starts_with("15 03"), "{said:?}");
    Ok(())
}
