//! Much changes at once for a while, under load: no request fails, and nothing is left behind.
//!
//! `NARU_SOAK_SECONDS` says how long; without it as long as one round of every change takes.
//!
//! A pod leaves a Service only while every node's daemon runs: the one that is dead at that moment
//! learns of it after the pod has stopped, and its clients are refused until then.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use naru_tests::support::daemons::{CONTROL_PROCESS, node_process};
use naru_tests::support::{addresses, wait};

use crate::faults::{UNTIL, within};
use crate::harness::{Case, cases};
use crate::policy::policy;
use crate::runtime::network_of;
use crate::workloads::load_from_outside;
use crate::world::{Background, PATIENCE, Space, World};

pub(crate) const CASES: &[Case] = cases![churn_fails_no_request_and_leaves_nothing_behind];

fn churn_fails_no_request_and_leaves_nothing_behind(world: &World) -> Result<()> {
    let space = world.namespace("soak")?;
    let held = Held::start(world, &space)?;
    let (begin, length) = (Instant::now(), length()?);
    let mut round = 0;
    while round == 0 || begin.elapsed() < length {
        churn(world, &space, round).with_context(|| format!("round {round}"))?;
        round += 1;
    }
    held.finish()?;
    println!("{round} rounds in {:?}", begin.elapsed());
    let name = space.name.clone();
    drop(space);
    world.kubectl.run(&[
        "delete",
        "namespace",
        &name,
        "--timeout=60s",
        "--ignore-not-found",
    ])?;
    for k in world.cluster.nodes() {
        nothing_is_left(world, k).with_context(|| format!("node {k}"))?;
    }
    let fresh = world.namespace("fresh")?;
    // The widest block has a number of its own, which a new daemon has to find again.
    fresh.apply(&policy(
        "world",
        "{podSelector: {matchLabels: {app: nobody}}, policyTypes: [Egress],
          egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}",
    ))?;
    for k in world.cluster.nodes() {
        // What was there before it is programmed when it is.
        fresh.landing_pod(&format!("before{k}"), Some(k))?;
    }
    for k in world.cluster.nodes() {
        a_new_daemon_changes_nothing(world, &fresh, k).with_context(|| format!("node {k}"))?;
    }
    Ok(())
}

fn length() -> Result<Duration> {
    let seconds = std::env::var("NARU_SOAK_SECONDS").unwrap_or_else(|_| "0".to_owned());
    let seconds = seconds.parse().context("NARU_SOAK_SECONDS")?;
    Ok(Duration::from_secs(seconds))
}

/// Loads through the Service that everything happens to.
struct Held(Vec<(String, Background)>);

impl Held {
    fn start(world: &World, space: &Space<'_>) -> Result<Self> {
        space.landing_service("web", 3)?;
        let node_port = r#"{"spec":{"type":"NodePort"}}"#;
        space.run(&["patch", "service", "web", "-p", node_port])?;
        let port =
            space.field_becomes("service/web", ".spec.ports[0].nodePort", |v| !v.is_empty())?;
        let service = format!("{}:80", space.field("service/web", ".spec.clusterIP")?);
        let mut loads = Vec::new();
        for k in world.cluster.nodes() {
            let client = format!("client{k}");
            space.landing_pod(&client, Some(k))?;
            let pod = network_of(world, space, &client)?;
            let load = within(world, k, &pod, "load", &service, UNTIL)?;
            loads.push((client, Background::start(load)?));
            let entry = format!("{}:{port}", addresses::node(k));
            wait::until("the node port", PATIENCE, || {
                world
                    .get_outside(&format!("http://{entry}/"), None)
                    .map(Some)
            })?;
            let load = load_from_outside(world, &entry)?;
            loads.push((format!("outside, by {entry}"), load));
        }
        Ok(Self(loads))
    }

    fn finish(self) -> Result<()> {
        for (who, load) in self.0 {
            load.finish()?.flawless(100).context(who)?;
        }
        Ok(())
    }
}

/// Every kind of change once.
fn churn(world: &World, space: &Space<'_>, round: u32) -> Result<()> {
    let cluster = &world.cluster;
    let victim = 1 + (round % 2) as u8;
    // Pods start while a daemon is away.
    scale(space, 6)?;
    cluster.kill(&node_process(victim))?;
    space.apply(&policy(
        "open",
        "{podSelector: {}, policyTypes: [Ingress], ingress: [{}]}",
    ))?;
    cluster.start_node(victim)?;
    cluster.wait_ready()?;
    settled(space, 6)?;
    for number in 0..5 {
        let name = format!("web{number}");
        space.run(&[
            "expose",
            "deployment",
            "web",
            "--port=80",
            "--target-port=8080",
            "--name",
            &name,
        ])?;
    }
    let by_port = "{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: 8080}]}]}";
    space.apply(&policy("open", by_port))?;
    scale(space, 2)?;
    settled(space, 2)?;
    cluster.kill(CONTROL_PROCESS)?;
    cluster.start_control()?;
    cluster.wait_ready()?;
    let images = ["naru.dev/landing:v2", "naru.dev/landing:v1"];
    let image = images[(round % 2) as usize];
    space.run(&["set", "image", "deployment/web", &format!("main={image}")])?;
    settled(space, 2)?;
    cluster.kill(&format!("containerd@node{victim}"))?;
    space.run(&["delete", "networkpolicy", "open"])?;
    cluster.start_containerd(victim)?;
    scale(space, 3)?;
    settled(space, 3)?;
    for number in 0..5 {
        space.run(&["delete", "service", &format!("web{number}")])?;
    }
    Ok(())
}

fn scale(space: &Space<'_>, replicas: u8) -> Result<()> {
    let replicas = format!("--replicas={replicas}");
    space.run(&["scale", "deployment/web", &replicas]).map(drop)
}

/// Waits until all that shall be there is Ready, and nothing else is there.
fn settled(space: &Space<'_>, replicas: usize) -> Result<()> {
    space.rolled_out("web")?;
    wait::until("pods that go to be gone", PATIENCE, || {
        let pods = space.run(&["get", "pods", "-l", "app=web", "-o", "name"])?;
        ensure!(pods.lines().count() == replicas, "there are {pods}");
        Ok(Some(()))
    })
}

/// A node holds addresses, links, network namespaces and entries of maps for its pods and no others.
fn nothing_is_left(world: &World, k: u8) -> Result<()> {
    let node = format!("--field-selector=spec.nodeName=node{k}");
    let addresses = "jsonpath={range .items[*]}{.status.podIPs[*].ip} {end}";
    let get = ["get", "pods", "-A", node.as_str(), "-o", addresses];
    let network = format!("{}", addresses::node(k));
    wait::until("what is of pods alone", PATIENCE, || {
        let pods = world.kubectl.run(&get)?;
        // Those of the host's network have the node's addresses.
        let pods = pods
            .split_whitespace()
            .filter(|ip| ip.contains('.') && *ip != network);
        let pods = pods.count();
        let (leases, links) = (leases(world, k)?, links(world, k)?);
        ensure!(
            leases.len() == pods && links == pods,
            "{pods} pods, {links} links, leases {leases:?}"
        );
        let namespaces = namespaces(world, k)?;
        ensure!(
            namespaces.len() == pods,
            "{pods} pods, namespaces {namespaces:?}"
        );
        let maps = Maps::of(world, k)?;
        let entries = ["ENDPOINTS", "NAMESPACES", "BANDWIDTH", "RANGES"];
        let entries = entries.map(|map| maps.entries(map));
        let expected = [ADDRESSES_OF_A_POD * pods as u64, pods as u64, 0, 0].map(Some);
        ensure!(entries == expected, "{pods} pods, maps hold {entries:?}");
        Ok(Some(()))
    })
}

/// How many entries the maps of a node have, by the daemon's metrics.
struct Maps(String);

impl Maps {
    fn of(world: &World, k: u8) -> Result<Self> {
        let path = format!("/api/v1/nodes/node{k}/proxy/metrics");
        world.kubectl.run(&["get", "--raw", &path]).map(Self)
    }

    fn entries(&self, map: &str) -> Option<u64> {
        let name = format!("naru_map_entries{{map=\"{map}\"}} ");
        let mut lines = self.0.lines();
        lines.find_map(|line| line.strip_prefix(&name)?.parse().ok())
    }
}

/// The network namespaces that the node's containerd keeps for pods.
fn namespaces(world: &World, k: u8) -> Result<Vec<PathBuf>> {
    let node = world.cluster.layout.member(&format!("node{k}"));
    let dir = node.join("containerd/state/io.containerd.grpc.v1.cri/netns");
    let entries = std::fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    Ok(entries.iter().map(std::fs::DirEntry::path).collect())
}

fn leases(world: &World, k: u8) -> Result<Vec<PathBuf>> {
    let dir = world
        .cluster
        .layout
        .member(&format!("node{k}"))
        .join("state/leases");
    let entries = std::fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    Ok(entries.iter().map(std::fs::DirEntry::path).collect())
}

/// The host ends of a node's pods.
fn links(world: &World, k: u8) -> Result<usize> {
    let list = world.on_node(k, &["ip", "-o", "link", "show", "type", "veth"])?;
    Ok(list.lines().filter(|l| l.contains(": naru")).count())
}

/// One of each family.
const ADDRESSES_OF_A_POD: u64 = 2;

/// A daemon that starts reads the maps and plans afresh what they shall hold. It finds nothing to
/// write and nothing to remove, but what is made for the purpose of seeing when it has looked.
fn a_new_daemon_changes_nothing(world: &World, space: &Space<'_>, k: u8) -> Result<()> {
    let log = Log::of(world, k)?;
    world.cluster.kill(&node_process(k))?;
    world.cluster.start_node(k)?;
    log.says("node ready=true")?;
    let name = format!("marker{k}");
    // A Service of no pod: what it writes is known.
    let service = format!("nobody{k}");
    space.run(&["create", "service", "clusterip", &service, "--tcp=80"])?;
    log.says("services programmed")?;
    space.landing_pod(&name, Some(k))?;
    let lines = log.lines();
    let programmed = |what: &str| -> Vec<&String> {
        let before = lines
            .iter()
            .take_while(|line| !line.contains("command=Add"));
        before.filter(|line| line.contains(what)).collect()
    };
    ensure!(
        !lines[0].contains("Made"),
        "a link is missing: {}",
        lines[0]
    );
    let freed = lines.iter().find(|line| line.contains("addresses freed"));
    ensure!(freed.is_none(), "{freed:?}");
    let services = programmed("services programmed");
    ensure!(
        services.len() == 1 && counts(services[0], &["written", "removed", "slots"]) == [1, 0, 0],
        "besides the marker: {services:#?}"
    );
    let policies = programmed("policy programmed");
    let of_policy = ["policy_written", "policy_removed", "addresses_removed"];
    let addresses = policies
        .iter()
        .map(|line| counts(line, &["addresses_written"])[0]);
    ensure!(
        addresses.sum::<u64>() == ADDRESSES_OF_A_POD
            && policies
                .iter()
                .all(|line| counts(line, &of_policy) == [0, 0, 0]),
        "besides the marker: {policies:#?}"
    );
    Ok(())
}

/// What a node's daemon says from now on, from the opening of its data path.
struct Log {
    process: String,
    file: PathBuf,
    from: usize,
}

impl Log {
    fn of(world: &World, k: u8) -> Result<Self> {
        let process = node_process(k);
        let file = world.cluster.layout.log(&process);
        let from = std::fs::read(&file)?.len();
        Ok(Self {
            process,
            file,
            from,
        })
    }

    fn lines(&self) -> Vec<String> {
        let bytes = std::fs::read(&self.file).unwrap_or_default();
        let text = String::from_utf8_lossy(bytes.get(self.from..).unwrap_or_default());
        let lines = text.lines().map(str::to_owned);
        lines
            .skip_while(|line| !line.contains("data path open"))
            .collect()
    }

    fn says(&self, what: &str) -> Result<()> {
        wait::holds(
            &format!("{} to say {what:?}", self.process),
            PATIENCE,
            || self.lines().iter().any(|line| line.contains(what)),
        )
    }
}

/// Numbers of a line by their names.
fn counts(line: &str, names: &[&str]) -> Vec<u64> {
    let number = |name: &str| {
        let words = line.split(' ');
        let mut found = words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found
            .next_back()
            .and_then(|text| text.parse().ok())
            .unwrap_or(u64::from(u32::MAX))
    };
    names.iter().map(|name| number(name)).collect()
}
