//! Load balancers without a cloud: addresses from pools, answered for by one node at a time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use naru_tests::support::daemons::node_process;
use naru_tests::support::{run, wait};

use crate::families::{server, service};
use crate::harness::{Case, cases};
use crate::world::{PATIENCE, Space, World};

pub(crate) const CASES: &[Case] = cases![
    a_pool_gives_addresses_which_the_outside_reaches,
    what_a_pool_cannot_give_is_told_and_healed,
    a_local_address_is_announced_by_a_node_that_serves,
    an_ipv6_address_is_announced_to_those_who_ask,
    an_address_moves_when_its_daemon_or_its_node_dies,
    addresses_of_both_families_move_time_and_again,
    the_manifest_of_the_network_alone_is_valid,
];

/// The pool's addresses: free ones of the fabric network.
const FIRST: &str = "192.168.77.200";
const SECOND: &str = "192.168.77.201";
/// The same for IPv6.
pub(crate) const FIRST_V6: &str = "fd00:77::200";
const SECOND_V6: &str = "fd00:77::201";

/// A pool of two addresses of each family, gone when dropped.
pub(crate) struct Pool<'a>(&'a World);

impl<'a> Pool<'a> {
    pub(crate) fn create(world: &'a World) -> Result<Self> {
        let object = format!(
            "apiVersion: naru.dev/v1alpha1
kind: AddressPool
metadata: {{name: e2e}}
spec:
  addresses: [{FIRST}-{SECOND}, '{FIRST_V6}-{SECOND_V6}']
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

pub(crate) const ADDRESS: &str = ".status.loadBalancer.ingress[0].ip";
const ADDRESSES: &str = ".status.loadBalancer.ingress[*].ip";

/// The page at an address of either family.
fn page_of(address: &str) -> String {
    if address.contains(':') {
        format!("http://[{address}]/")
    } else {
        format!("http://{address}/")
    }
}

fn balance(space: &Space<'_>, service: &str) -> Result<()> {
    let patch = r#"{"spec":{"type":"LoadBalancer"}}"#;
    space
        .run(&["patch", "service", service, "-p", patch])
        .map(drop)
}

/// Waits for an answer of `address` to somebody outside.
pub(crate) fn answers(world: &World, address: &str) -> Result<String> {
    let url = page_of(address);
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
pub(crate) fn announcer(world: &World, address: &str) -> Result<u8> {
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

/// Whether a node is a member of the group that questions about the first IPv6 address go to.
fn listens(world: &World, k: u8) -> Result<bool> {
    let groups = world.on_node(k, &["ip", "maddr", "show", "dev", "eth0"])?;
    Ok(groups.contains("ff02::1:ff00:200"))
}

fn an_ipv6_address_is_announced_to_those_who_ask(world: &World) -> Result<()> {
    let _pool = Pool::create(world)?;
    let space = world.namespace("balanced6")?;
    space.apply(&server("a", 1))?;
    space.pods_ready(&["a"])?;
    let both = "type: LoadBalancer, ipFamilyPolicy: RequireDualStack";
    space.apply(&service("a", both))?;
    let expected = format!("{FIRST} {FIRST_V6}");
    space.field_becomes("service/a", ADDRESSES, |ips| ips == expected)?;
    for address in [FIRST, FIRST_V6] {
        let page = answers(world, address)?;
        ensure!(page.contains("hostname a\n"), "{page}");
        let at = announcer(world, address)?;
        // A frame that told of the move is not what is wanted here, but an answer.
        for _ in 0..3 {
            world.outside(&["ip", "neigh", "flush", "to", address])?;
            world.get_outside(&page_of(address), None)?;
            ensure!(announcer(world, address)? == at, "it moved from node{at}");
        }
    }
    let at = announcer(world, FIRST_V6)?;
    ensure!(listens(world, at)? && !listens(world, 3 - at)?);
    // Somebody who wants the address for itself hears that it is taken.
    let claim = ["ip", "addr", "add", "fd00:77::200/64", "dev", "eth0"];
    world.outside(&["sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=1"])?;
    let claimed = world.outside(&claim);
    let refused = wait::until("the address to be refused", PATIENCE, || {
        let seen = world.outside(&["ip", "-6", "addr", "show", "dev", "eth0"])?;
        Ok(seen.contains("dadfailed").then_some(()))
    });
    world.outside(&["ip", "addr", "del", "fd00:77::200/64", "dev", "eth0"])?;
    world.outside(&["sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0"])?;
    claimed.and(refused)?;
    // The address alone goes back with the family.
    let patch = r#"{"spec":{"ipFamilyPolicy":"SingleStack"}}"#;
    space.run(&["patch", "service", "a", "-p", patch])?;
    space.field_becomes("service/a", ADDRESSES, |ips| ips == FIRST)?;
    wait::until("silence", PATIENCE, || {
        world.outside(&["ip", "neigh", "flush", "to", FIRST_V6])?;
        let quiet = world.get_outside(&page_of(FIRST_V6), None).is_err();
        Ok((quiet && !listens(world, at)?).then_some(()))
    })?;
    answers(world, FIRST).map(drop)
}

/// How long an address took to move.
pub(crate) struct Moved {
    /// Until the machine outside knew its new place.
    known: Duration,
    /// Until it answered there.
    answered: Duration,
}

impl std::fmt::Display for Moved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [known, answered] = [self.known, self.answered].map(|time| time.as_millis());
        write!(f, "known in {known} ms, answers in {answered} ms")
    }
}

/// Asks until `address` is at another node than `old` and answers.
pub(crate) fn moves(world: &World, address: &str, old: u8) -> Result<Moved> {
    let begin = Instant::now();
    let url = page_of(address);
    let ask = ["curl", "-gsS", "--max-time", "0.2", "-o", "/dev/null", &url];
    let mut known = None;
    wait::until("a takeover", PATIENCE, || {
        let at = announcer(world, address)?;
        ensure!(at != old, "still at node{old}");
        known.get_or_insert_with(|| begin.elapsed());
        world.outside(&ask)?;
        Ok(Some(()))
    })?;
    let answered = begin.elapsed();
    let known = known.unwrap_or(answered);
    Ok(Moved { known, answered })
}

/// A node cut off from the fabric, joined again when dropped.
pub(crate) struct Cut<'a>(&'a World, String);

impl<'a> Cut<'a> {
    pub(crate) fn off(world: &'a World, k: u8) -> Result<Self> {
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
    println!("  the address left a dead daemon: {took}");
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
    println!("  the address left a lost node: {took}");
    world.cluster.wait_ready()
}

/// One node after the other is cut off, the next at the moment that the last one is back: what is
/// back must not count on anybody having heard of it.
fn addresses_of_both_families_move_time_and_again(world: &World) -> Result<()> {
    let _pool = Pool::create(world)?;
    let space = world.namespace("again")?;
    for (pod, k) in [("one", 1), ("two", 2)] {
        space.apply(&server(pod, k))?;
        space.pods_ready(&[pod])?;
        space.run(&["label", "pod", pod, "--overwrite", "app=web"])?;
    }
    let both = "type: LoadBalancer, ipFamilyPolicy: RequireDualStack";
    space.apply(&service("web", both))?;
    let expected = format!("{FIRST} {FIRST_V6}");
    space.field_becomes("service/web", ADDRESSES, |ips| ips == expected)?;
    for address in [FIRST, FIRST_V6] {
        answers(world, address)?;
        let mut at = announcer(world, address)?;
        let mut cut = None;
        for round in 0..4 {
            // The node before is joined again first, so that there is one to take over.
            drop(cut.take());
            cut = Some(Cut::off(world, at)?);
            let took = moves(world, address, at)?;
            println!("  round {round}: {address} left node{at}: {took}");
            at = announcer(world, address)?;
        }
    }
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
