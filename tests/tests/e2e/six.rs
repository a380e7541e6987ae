//! A cluster of IPv6 alone: no link but the loopback's has an address of IPv4.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use naru_tests::support::{addresses, wait};

use crate::balancers::{ADDRESS, Cut, FIRST_V6, Pool, announcer, moves};
use crate::families::{answers, only_c_may_reach_a, pods, server, service, url};
use crate::harness::{Case, cases};
use crate::network::arrive_from_their_nodes;
use crate::world::{PATIENCE, Space, World};

pub(crate) const CASES: &[Case] = cases![
    everything_has_an_ipv6_address_and_no_other,
    pods_services_and_names_work_over_ipv6_alone,
    the_api_is_reached_from_nodes_and_reaches_them_over_ipv6_alone,
    node_ports_health_checks_and_the_ingress_answer_over_ipv6_alone,
    policies_hold_over_ipv6_alone,
    the_world_is_reached_over_ipv6_alone,
    an_address_is_elected_and_moves_over_ipv6_alone,
];

fn address(space: &Space<'_>, pod: &str) -> Result<String> {
    space.field(&format!("pod/{pod}"), ".status.podIP")
}

/// A GET by curl on node `k`.
fn get_on(world: &World, k: u8, url: &str) -> Result<String> {
    world.on_node(k, &["curl", "-gksS", "--max-time", "3", url])
}

fn everything_has_an_ipv6_address_and_no_other(world: &World) -> Result<()> {
    let space = world.namespace("alone")?;
    space.apply(&server("a", 1))?;
    space.pods_ready(&["a"])?;
    let all = |what: &[&str], path: &str| {
        let output = format!("jsonpath={{{path}}}");
        world.kubectl.run(&[what, &["-o", &output]].concat())
    };
    let services = ["get", "services", "-A"];
    let found = [
        all(&["get", "nodes"], ".items[*].spec.podCIDRs[*]")?,
        all(&services, ".items[*].spec.clusterIPs[*]")?,
        space.field("pod/a", ".status.podIPs[*].ip")?,
        space.field("pod/a", ".status.hostIPs[*].ip")?,
    ];
    for text in &found {
        let v6 = !text.is_empty() && text.split(' ').all(|one| one.contains(':'));
        ensure!(v6, "{found:#?}");
    }
    let said = all(&["get", "nodes"], ".items[*].status.addresses[*].address")?;
    let expected = format!("{} node1", addresses::node_v6(1));
    ensure!(said.starts_with(&expected), "{said}");
    for k in world.cluster.nodes() {
        let links = world.on_node(k, &["ip", "-4", "-o", "addr"])?;
        let others = links.lines().find(|line| !line.contains(" lo "));
        ensure!(others.is_none(), "node{k}: {links}");
    }
    let own = space.exec("a", &["cat", "/etc/resolv.conf"])?;
    ensure!(own.contains("nameserver fd00:10:96::a\n"), "{own}");
    Ok(())
}

fn pods_services_and_names_work_over_ipv6_alone(world: &World) -> Result<()> {
    let space = world.namespace("reachalone")?;
    pods(&space)?;
    for (from, to) in [("a", "b"), ("a", "c"), ("c", "a")] {
        answers(&space, from, &url(&address(&space, to)?, 8080), to)?;
    }
    space.apply(&service("c", "sessionAffinity: None"))?;
    for from in ["a", "b"] {
        answers(&space, from, "http://c/", "c")?;
    }
    let full = format!("http://c.{}.svc.cluster.local/", space.name);
    answers(&space, "b", &full, "c")?;
    let own = space.field("service/c", ".spec.clusterIP")?;
    for k in world.cluster.nodes() {
        let page = get_on(world, k, &url(&own, 80))?;
        ensure!(page.contains("hostname c\n"), "{page}");
    }
    space.run(&["delete", "pod", "c"])?;
    wait::until("a refused connection", PATIENCE, || {
        let refused = space.get_from("a", &url(&own, 80)).err();
        let text = refused.map(|error| format!("{error:#}"));
        Ok(text.filter(|text| text.contains("refused")).map(drop))
    })
}

fn the_api_is_reached_from_nodes_and_reaches_them_over_ipv6_alone(world: &World) -> Result<()> {
    let space = world.namespace("apialone")?;
    space.apply(&server("a", 2))?;
    space.pods_ready(&["a"])?;
    // Logs and exec come from the node; the Service in front of the API leads to its address.
    space.exec("a", &["true"])?;
    space.run(&["logs", "a"])?;
    let own = addresses::v6(addresses::CONTROL1).to_string();
    for k in world.cluster.nodes() {
        for at in ["[fd00:10:96::1]:443", &format!("[{own}]:6443")] {
            let said = get_on(world, k, &format!("https://{at}/version"))?;
            ensure!(said.contains("gitVersion"), "node{k} at {at}: {said}");
        }
    }
    Ok(())
}

fn node_ports_health_checks_and_the_ingress_answer_over_ipv6_alone(world: &World) -> Result<()> {
    let space = world.namespace("doorsalone")?;
    space.apply(&server("a", 1))?;
    space.pods_ready(&["a"])?;
    let local = "type: LoadBalancer, externalTrafficPolicy: Local";
    space.apply(&service("a", local))?;
    let health = space.field("service/a", ".spec.healthCheckNodePort")?;
    space.apply(&server("b", 1))?;
    space.pods_ready(&["b"])?;
    space.apply(&service("b", "type: NodePort"))?;
    let port = space.field("service/b", ".spec.ports[0].nodePort")?;
    space.apply(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: b}
spec:
  rules:
  - host: six.localhost
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: b, port: {number: 80}}}}]}
",
    )?;
    let expect = |url: &str, host: Option<&str>, good: &dyn Fn(u16, &str) -> bool| {
        wait::until(url, PATIENCE, || {
            let (code, body) = world.get_outside(url, host)?;
            ensure!(good(code, &body), "{code} {body}");
            Ok(Some(()))
        })
    };
    for k in world.cluster.nodes() {
        let node = addresses::node_v6(k);
        let is_b = |code: u16, body: &str| code == 200 && body.contains("hostname b\n");
        expect(&format!("http://[{node}]:{port}/"), None, &is_b)?;
        expect(&format!("http://[{node}]/"), Some("six.localhost"), &is_b)?;
        let wanted = if k == 1 { 200 } else { 503 };
        let checked = |code: u16, _: &str| code == wanted;
        expect(&format!("http://[{node}]:{health}/"), None, &checked)?;
    }
    Ok(())
}

fn policies_hold_over_ipv6_alone(world: &World) -> Result<()> {
    let space = world.namespace("policyalone")?;
    pods(&space)?;
    let target = url(&address(&space, "a")?, 8080);
    only_c_may_reach_a(&space, &target)
}

/// The server outside knows no route to pods, so an answer proves the translation.
fn the_world_is_reached_over_ipv6_alone(world: &World) -> Result<()> {
    let space = world.namespace("worldalone")?;
    pods(&space)?;
    let outside = addresses::v6(addresses::OUTSIDE);
    let target = SocketAddr::new(outside.into(), 8187);
    arrive_from_their_nodes(&space, target, |node| addresses::node_v6(node).into())?;
    // A name that only the world knows is asked of the name server there.
    let asked = space.exec("a", &["nslookup", "-type=a", "world.example."])?;
    ensure!(asked.contains("203.0.113.7"), "{asked}");
    Ok(())
}

fn an_address_is_elected_and_moves_over_ipv6_alone(world: &World) -> Result<()> {
    let _pool = Pool::create(world)?;
    let space = world.namespace("movealone")?;
    for (pod, k) in [("one", 1), ("two", 2)] {
        space.apply(&server(pod, k))?;
        space.pods_ready(&[pod])?;
        space.run(&["label", "pod", pod, "--overwrite", "app=web"])?;
    }
    space.apply(&service("web", "type: LoadBalancer"))?;
    space.field_becomes("service/web", ADDRESS, |ip| ip == FIRST_V6)?;
    crate::balancers::answers(world, FIRST_V6)?;
    let at = announcer(world, FIRST_V6)?;
    let cut = Cut::off(world, at)?;
    let took = moves(world, FIRST_V6, at);
    drop(cut);
    println!("  the address left a lost node: {}", took?);
    world.cluster.wait_ready()
}
