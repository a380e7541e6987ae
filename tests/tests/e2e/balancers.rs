//! Load balancers without a cloud: addresses from pools, answered for by one node at a time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use naru_tests::support::daemons::node_process;
use naru_tests::support::{run, wait};

use crate::harness::{Case, cases};
use crate::world::{PATIENCE, Space, World};

pub(crate) const CASES: &[Case] = cases![
    a_pool_gives_addresses_which_the_outside_reaches,
    what_a_pool_cannot_give_is_told_and_healed,
    a_local_address_is_announced_by_a_node_that_serves,
    an_address_moves_when_its_daemon_or_its_node_dies,
    the_manifest_of_the_network_alone_is_valid,
];

/// The pool's addresses: free ones of the fabric network.
const FIRST: &str = "192.168.77.200";
const SECOND: &str = "192.168.77.201";

/// A pool of two addresses, gone when dropped.
struct Pool<'a>(&'a World);

impl<'a> Pool<'a> {
    fn create(world: &'a World) -> Result<Self> {
        let object = format!(
            "apiVersion: naru.dev/v1alpha1
kind: AddressPool
metadata: {{name: e2e}}
spec:
  addresses: [{FIRST}-{SECOND}]
"
        );
        world.kubectl.pipe(&["apply", "-f", "-"], &object)?;
        Ok(Self(world))
    }
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        let delete = ["delete", "addresspool", "e2e", "--ignore-not-found"];
        self.0.kubectl.run(&delete).ok();
    }
}

const ADDRESS: &str = ".status.loadBalancer.ingress[0].ip";

fn balance(space: &Space<'_>, service: &str) -> Result<()> {
    let patch = r#"{"spec":{"type":"LoadBalancer"}}"#;
    space
        .run(&["patch", "service", service, "-p", patch])
        .map(drop)
}

/// Waits for an answer of `address` to somebody outside.
fn answers(world: &World, address: &str) -> Result<String> {
    let url = format!("http://{address}/");
    wait::until(&url, PATIENCE, || {
        let (code, body) = world.get_outside(&url, None)?;
        ensure!(code == 200, "{code} {body}");
        Ok(Some(body))
    })
}

/// The MAC address of a node's uplink.
fn mac(world: &World, k: u8) -> Result<String> {
    let link = world.on_node(k, &["ip", "-o", "link", "show", "eth0"])?;
    let mut words = link
        .split_whitespace()
        .skip_while(|word| *word != "link/ether");
    words.nth(1).map(str::to_owned).context("no link/ether")
}

/// The node that somebody outside finds at `address`.
fn announcer(world: &World, address: &str) -> Result<u8> {
    let neighbour = world.outside(&["ip", "neigh", "show", address])?;
    for k in [1, 2] {
        if neighbour.contains(&mac(world, k)?) {
            return Ok(k);
        }
    }
    Err(anyhow!("{address} is at no node: {neighbour:?}"))
}

fn a_pool_gives_addresses_which_the_outside_reaches(world: &World) -> Result<()> {
    let _pool = Pool::create(world)?;
    let space = world.namespace("balanced")?;
    space.landing_service("web", 2)?;
    balance(&space, "web")?;
    space.field_becomes("service/web", ADDRESS, |ip| ip == FIRST)?;
    let page = answers(world, FIRST)?;
    ensure!(page.contains("hostname web-"), "{page}");
    announcer(world, FIRST)?;
    let condition = ".status.conditions[?(@.type==\"naru.dev/AddressAssigned\")].reason";
    ensure!(space.field("service/web", condition)? == "Assigned");
    wait::until("the events", PATIENCE, || {
        let reasons = space.run(&["get", "events", "-o", "jsonpath={.items[*].reason}"])?;
        let told = ["AddressAssigned", "Announcing"]
            .iter()
            .all(|one| reasons.contains(one));
        ensure!(told, "{reasons}");
        Ok(Some(()))
    })?;
    // A pod of the cluster reaches it as well, and no node has it on a link.
    space.landing_pod("client", None)?;
    space.get_from("client", &format!("http://{FIRST}/"))?;
    for k in [1, 2] {
        let addresses = world.on_node(k, &["ip", "-o", "addr"])?;
        ensure!(!addresses.contains(FIRST), "{addresses}");
    }
    // It goes back with the type, and nobody answers for it any more.
    space.run(&[
        "patch",
        "service",
        "web",
        "-p",
        r#"{"spec":{"type":"ClusterIP"}}"#,
    ])?;
    space.field_becomes("service/web", ".status", |status| !status.contains(FIRST))?;
    wait::until("silence", PATIENCE, || {
        world.outside(&["ip", "neigh", "flush", "to", FIRST])?;
        let url = format!("http://{FIRST}/");
        Ok(world.get_outside(&url, None).err().map(drop))
    })
}

fn what_a_pool_cannot_give_is_told_and_healed(world: &World) -> Result<()> {
    let _pool = Pool::create(world)?;
    let space = world.namespace("pools")?;
    for name in ["a", "b", "c"] {
        space.apply(&format!(
            "apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{type: LoadBalancer, ports: [{{port: 80}}]}}
"
        ))?;
        let condition = ".status.conditions[0].reason";
        space.field_becomes(&format!("service/{name}"), condition, |reason| {
            !reason.is_empty()
        })?;
    }
    let reason = ".status.conditions[0].reason";
    ensure!(space.field("service/a", ADDRESS)? == FIRST);
    ensure!(space.field("service/b", ADDRESS)? == SECOND);
    ensure!(space.field("service/c", reason)? == "PoolExhausted");
    let events = space.run(&["get", "events", "-o", "jsonpath={.items[*].message}"])?;
    let sentence = "no free IPv4 address is left in AddressPool e2e";
    ensure!(events.contains(sentence), "{events}");
    let table = world.kubectl.run(&["get", "addresspools"])?;
    ensure!(table.contains("e2e") && table.contains("TOTAL"), "{table}");
    // What is asked for and taken is refused with the name of who has it.
    let asked = format!("naru.dev/load-balancer-addresses={FIRST}");
    space.run(&["annotate", "service", "c", &asked])?;
    space.field_becomes("service/c", ".status.conditions[0].message", |message| {
        message == format!("{FIRST} is taken by Service t-pools/a")
    })?;
    space.run(&["delete", "service", "a"])?;
    space.field_becomes("service/c", ADDRESS, |ip| ip == FIRST)?;
    ensure!(
        space.field("service/b", ADDRESS)? == SECOND,
        "it kept its address"
    );
    let bad = "apiVersion: naru.dev/v1alpha1
kind: AddressPool
metadata: {name: bad}
spec: {addresses: [192.168.77.200/24]}
";
    let refused = world.kubectl.pipe(&["create", "-f", "-"], bad).err();
    let refused = refused
        .map(|error| format!("{error:#}"))
        .unwrap_or_default();
    ensure!(
        refused.contains("spec.addresses[0]") && refused.contains("begins at 192.168.77.0"),
        "{refused}"
    );
    Ok(())
}

fn a_local_address_is_announced_by_a_node_that_serves(world: &World) -> Result<()> {
    let _pool = Pool::create(world)?;
    let space = world.namespace("lblocal")?;
    space.apply(
        "apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  selector: {role: web}
  ports: [{port: 80, targetPort: 8080}]
",
    )?;
    space.field_becomes("service/web", ADDRESS, |ip| ip == FIRST)?;
    for (pod, k) in [("one", 1), ("two", 2)] {
        space.landing_pod(pod, Some(k))?;
        space.run(&["label", "pod", pod, "role=web"])?;
        if pod == "two" {
            space.run(&["label", "pod", "one", "role-"])?;
        }
        wait::until(&format!("node{k} to announce"), PATIENCE, || {
            let page = answers(world, FIRST)?;
            ensure!(page.contains(&format!("hostname {pod}\n")), "{page}");
            let at = announcer(world, FIRST)?;
            ensure!(at == k, "node{at} announces");
            Ok(Some(()))
        })?;
        let page = answers(world, FIRST)?;
        ensure!(
            page.contains("peer 192.168.77.2\n"),
            "the source is not kept: {page}"
        );
    }
    Ok(())
}

/// Asks until `address` is at another node than `old` and answers; returns how long that took.
fn moves(world: &World, address: &str, old: u8) -> Result<Duration> {
    let begin = Instant::now();
    let url = format!("http://{address}/");
    let ask = ["curl", "-sS", "--max-time", "0.2", "-o", "/dev/null", &url];
    wait::until("a takeover", PATIENCE, || {
        let at = announcer(world, address)?;
        ensure!(at != old, "still at node{old}");
        world.outside(&ask)?;
        Ok(Some(()))
    })?;
    Ok(begin.elapsed())
}

/// A node cut off from the fabric, joined again when dropped.
struct Cut<'a>(&'a World, String);

impl<'a> Cut<'a> {
    fn off(world: &'a World, k: u8) -> Result<Self> {
        let cut = Self(world, format!("node{k}"));
        cut.link("down")?;
        Ok(cut)
    }

    fn link(&self, state: &str) -> Result<()> {
        let fabric = self.0.cluster.layout.namespace("fabric");
        run::run("ip", &["-n", &fabric, "link", "set", &self.1, state]).map(drop)
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        self.link("up").ok();
    }
}

fn an_address_moves_when_its_daemon_or_its_node_dies(world: &World) -> Result<()> {
    let _pool = Pool::create(world)?;
    let space = world.namespace("takeover")?;
    for (pod, k) in [("one", 1), ("two", 2)] {
        space.landing_pod(pod, Some(k))?;
        space.run(&["label", "pod", pod, "role=web"])?;
    }
    space.apply(
        "apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  selector: {role: web}
  ports: [{port: 80, targetPort: 8080}]
",
    )?;
    space.field_becomes("service/web", ADDRESS, |ip| ip == FIRST)?;
    answers(world, FIRST)?;
    let first = announcer(world, FIRST)?;
    world.cluster.kill(&node_process(first))?;
    // What runs in the kernel goes on until somebody else has taken over.
    let url = format!("http://{FIRST}/");
    for _ in 0..5 {
        world.get_outside(&url, None)?;
    }
    let took = moves(world, FIRST, first)?;
    println!(
        "  the address left a dead daemon in {} ms",
        took.as_millis()
    );
    world.cluster.start_node(first)?;
    world.cluster.wait_ready()?;
    let second = announcer(world, FIRST)?;
    ensure!(
        second != first,
        "a node that is back does not take the address back"
    );
    let cut = Cut::off(world, second)?;
    let took = moves(world, FIRST, second);
    drop(cut);
    let took = took?;
    println!("  the address left a lost node in {} ms", took.as_millis());
    world.cluster.wait_ready()
}

/// What an administrator of another cluster applies, looked at by an API server field by field.
fn the_manifest_of_the_network_alone_is_valid(world: &World) -> Result<()> {
    let manifest = include_str!("../../../deploy/network-only/daemonset.yaml");
    let apply = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
    let said = world.kubectl.pipe(&apply, manifest)?;
    for kind in [
        "serviceaccount",
        "clusterrole",
        "clusterrolebinding",
        "configmap",
        "daemonset",
    ] {
        ensure!(said.contains(kind), "no {kind}: {said}");
    }
    Ok(())
}
