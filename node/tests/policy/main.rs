//! NetworkPolicies as a truth table: generated policies, every pair of pods, every port and protocol,
//! measured on live pods of two nodes and compared with what a plain reading of the specification
//! says.
//!
//! The evaluator (`verdict`) reads the JSON of the policies and shares no code with the daemon. A
//! case that fails prints its policies and the rows that differ; its number is its seed.

mod generate;
mod probe;
#[path = "../support/mod.rs"]
mod support;
mod verdict;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::pod::Pod;
use support::{Fixture, missing, plugin, wait_for};
use verdict::{NAMESPACES, PORTS, Target, World};

/// Generated sets of policies, beside the special cases.
const CASES: u64 = 200;
/// How long a row may differ, for a probe that a busy machine has starved.
const PATIENCE: Duration = Duration::from_secs(10);
/// The port of a canary in the first case.
const CANARY: u16 = 2000;

/// Where a pod lives, and what it calls its ports.
fn specs() -> Vec<(String, &'static str, u8, Value)> {
    let mut specs = Vec::new();
    for (index, namespace) in NAMESPACES.iter().enumerate() {
        for (place, name) in ["a", "b", "c"].iter().enumerate() {
            let node = u8::try_from((index + place) % 2 + 1).expect("1 or 2");
            let ports = match *name {
                "a" => json!([{"name": "http", "containerPort": 80},
                    {"name": "dns", "containerPort": 81, "protocol": "UDP"}]),
                "b" => json!([{"name": "http", "containerPort": 81}]),
                _ => json!([]),
            };
            specs.push((format!("{namespace}-{name}"), *namespace, node, ports));
        }
    }
    specs
}

fn object(name: &str, namespace: &str, node: u8, ports: &Value, address: Option<&str>) -> Value {
    let letter = name.rsplit('-').next().unwrap_or_default();
    json!({
        "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}"),
            "labels": {"pod": letter, "all": "yes"}},
        "spec": {"nodeName": format!("node{node}"),
            "containers": [{"name": "main", "image": "none", "ports": ports}]},
        "status": {"phase": "Running", "podIPs": address.map(|ip| json!([{"ip": ip}]))},
    })
}

struct Table {
    fixture: Fixture,
    pods: Vec<Pod>,
    world: World,
    /// One on each node; its policy comes last in every case and tells when the case is in force.
    canaries: Vec<Pod>,
    present: BTreeSet<(String, String)>,
}

impl Table {
    fn new(name: &str) -> Option<Self> {
        if let Some(missing) = missing() {
            eprintln!("SKIPPED: this test needs {missing}");
            return None;
        }
        let plugin = plugin();
        let mut fixture = Fixture::new(name);
        let node = |k: u8| {
            json!({"metadata": {"name": format!("node{k}")},
            "spec": {"podCIDR": format!("10.244.{}.0/24", k - 1)},
            "status": {"addresses": [{"type": "InternalIP", "address": format!("192.168.77.10{k}")}]}})
        };
        fixture.objects.put("nodes", [node(1), node(2)]);
        let namespace = |name: &str| json!({"metadata": {"name": name, "labels": {"ns": name, "kubernetes.io/metadata.name": name}}});
        let namespaces = NAMESPACES.iter().map(|name| namespace(name));
        fixture
            .objects
            .put("namespaces", namespaces.chain([namespace("zz")]));
        let canaries = [("zz-1", "zz", 1_u8), ("zz-2", "zz", 2)];
        let none = json!([]);
        for (name, namespace, node, ports) in &specs() {
            fixture
                .objects
                .put("pods", [object(name, namespace, *node, ports, None)]);
        }
        for (name, namespace, node) in canaries {
            fixture
                .objects
                .put("pods", [object(name, namespace, node, &none, None)]);
        }
        fixture
            .nodes
            .iter_mut()
            .for_each(|node| node.start(&plugin));
        let attach = |pod: &str, namespace: &str, node: u8| {
            let node = &fixture.nodes[usize::from(node) - 1];
            Pod::add_in(&plugin, node, name, namespace, pod)
        };
        let mut pods = Vec::new();
        let mut world = World::default();
        for (pod, namespace, node, ports) in &specs() {
            let attached = attach(pod, namespace, *node);
            let running = object(pod, namespace, *node, ports, Some(&attached.address));
            world.pods.push(Target::read(&running));
            fixture.objects.put("pods", [running]);
            probe::serve(&attached.netns, pod, PORTS);
            pods.push(attached);
        }
        let canaries = canaries.map(|(pod, namespace, node)| {
            let attached = attach(pod, namespace, node);
            let running = object(pod, namespace, node, &none, Some(&attached.address));
            fixture.objects.put("pods", [running]);
            attached
        });
        let canaries = canaries.into_iter().collect();
        let present = BTreeSet::new();
        Some(Self {
            fixture,
            pods,
            world,
            canaries,
            present,
        })
    }

    /// Puts the policies of a case in the place of the last one's, and waits until both nodes have
    /// them in force.
    fn apply(&mut self, case: u64, policies: &[Value]) {
        let key = |policy: &Value| {
            let text = |field: &str| {
                policy["metadata"][field]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            };
            (text("namespace"), text("name"))
        };
        let wanted: BTreeSet<_> = policies.iter().map(key).collect();
        for (namespace, name) in self.present.difference(&wanted) {
            self.fixture
                .objects
                .remove("networkpolicies", namespace, name);
        }
        self.fixture
            .objects
            .put("networkpolicies", policies.iter().cloned());
        self.present = wanted;
        let port = CANARY + u16::try_from(case).expect("few cases");
        let canary = json!({"metadata": {"name": "canary", "namespace": "zz"},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"port": port, "protocol": "TCP"}]}]}});
        self.fixture.objects.put("networkpolicies", [canary]);
        for (canary, other) in self.canaries.iter().zip(self.canaries.iter().rev()) {
            wait_for("the canary's port", PATIENCE, || {
                probe::is_refused(&other.netns, &canary.address, port)
            });
        }
    }

    /// Measures the whole table; returns the rows that stay different from what is expected.
    fn judge(&self, policies: &[Value]) -> Vec<String> {
        let expected = self.world.table(policies);
        let mut open: Vec<_> = expected.keys().copied().collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = probe::measure(&self.pods, &self.world, &open);
            open.retain(|row| seen[row] != expected[row]);
            if open.is_empty() || Instant::now() > deadline {
                break;
            }
        }
        let row = |row: &verdict::Row| {
            let (from, to) = (&self.world.pods[row.from], &self.world.pods[row.to]);
            let word = if expected[row] { "allowed" } else { "denied" };
            format!(
                "{} -> {} {}/{}: should be {word}",
                from.name,
                to.name,
                row.port,
                row.protocol()
            )
        };
        open.iter().map(row).collect()
    }

    fn case(&mut self, case: u64, policies: &[Value]) {
        self.apply(case, policies);
        let wrong = self.judge(policies);
        let text: Vec<_> = policies
            .iter()
            .map(|policy| format!("{policy:#}"))
            .collect();
        assert!(
            wrong.is_empty(),
            "case {case}\n{}\n{wrong:#?}",
            text.join("\n")
        );
    }
}

#[test]
fn live_pods_agree_with_the_specification_in_every_generated_case() {
    let Some(mut table) = Table::new("tab") else {
        return;
    };
    let addresses: Vec<_> = table.pods.iter().map(|pod| pod.address.clone()).collect();
    let special = generate::special(&addresses);
    let begin = Instant::now();
    for (case, policies) in (0..).zip(&special) {
        table.case(case, policies);
    }
    let mut denied = 0;
    for seed in 0..CASES {
        let policies = generate::case(seed, &addresses);
        denied += table
            .world
            .table(&policies)
            .values()
            .filter(|allowed| !**allowed)
            .count();
        table.case(seed + special.len() as u64, &policies);
    }
    let rows = table.world.table(&[]).len();
    let total = rows * usize::try_from(CASES).expect("few");
    println!(
        "{CASES} cases of {rows} rows in {:?}, {denied} of {total} denied",
        begin.elapsed()
    );
    // A generator that denies nothing, or everything, proves nothing.
    assert!(
        denied * 10 > total && denied * 10 < total * 9,
        "{denied} of {total}"
    );
}

#[test]
fn an_established_flow_ends_when_its_policy_stops_allowing_it() {
    let Some(mut table) = Table::new("est") else {
        return;
    };
    let allow = |port: u16| {
        vec![json!({"metadata": {"name": "p", "namespace": "x"},
            "spec": {"podSelector": {"matchLabels": {"pod": "a"}}, "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"port": port, "protocol": "TCP"}]}]}})]
    };
    table.pods[0].serve(90);
    table.apply(0, &allow(90));
    let mut streams: Vec<_> = [1, 4]
        .iter()
        .map(|from| stream(&table, *from, 90))
        .collect();
    streams
        .iter_mut()
        .for_each(|stream| assert!(echoes(stream), "allowed"));
    table.apply(1, &allow(91));
    for stream in &mut streams {
        wait_for("the flow to be cut", PATIENCE, || !echoes(stream));
    }
    // Allowed again, it goes on: what was lost is sent again.
    table.apply(2, &allow(90));
    for stream in &mut streams {
        let mut byte = [0];
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a timeout");
        assert!(stream.read_exact(&mut byte).is_ok(), "the flow goes on");
    }
}

/// A connection of one pod to the echo server of the first; its greeting is read.
fn stream(table: &Table, from: usize, port: u16) -> TcpStream {
    let to = format!("{}:{port}", table.pods[0].address);
    let connect = move || TcpStream::connect(to);
    let mut stream = table.pods[from]
        .netns
        .spawn(connect)
        .join()
        .expect("a thread")
        .expect("allowed");
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .expect("a timeout");
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting).expect("a greeting");
    stream
}

fn echoes(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    stream.write_all(b"x").is_ok() && stream.read_exact(&mut byte).is_ok()
}
