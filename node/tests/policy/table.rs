//! The pods of two nodes, the policies of a case, and what the pods see of them.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::families::Families;
use crate::support::pod::Pod;
use crate::support::{Fixture, missing, plugin, wait_for};
use crate::verdict::{self, NAMESPACES, PORTS, Target, World};
use crate::{PATIENCE, probe};

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
                "b" => json!([{"name": "http", "containerPort": 81},
                    {"name": "sig", "containerPort": 80, "protocol": "SCTP"}]),
                _ => json!([]),
            };
            specs.push((format!("{namespace}-{name}"), *namespace, node, ports));
        }
    }
    specs
}

fn object(name: &str, namespace: &str, node: u8, ports: &Value, addresses: &[String]) -> Value {
    let letter = name.rsplit('-').next().unwrap_or_default();
    json!({
        "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}"),
            "labels": {"pod": letter, "all": "yes"}},
        "spec": {"nodeName": format!("node{node}"),
            "containers": [{"name": "main", "image": "none", "ports": ports}]},
        "status": {"phase": "Running", "podIPs": addresses.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>()},
    })
}

pub(crate) struct Table {
    pub(crate) fixture: Fixture,
    pub(crate) pods: Vec<Pod>,
    pub(crate) world: World,
    /// One on each node; its policies come last in every case and tell when the case is in force.
    canaries: Vec<Pod>,
    /// Resource, namespace and name of each policy.
    present: BTreeSet<(&'static str, String, String)>,
}

/// The resource that a policy is one of.
fn plural(policy: &Value) -> &'static str {
    if verdict::is_cluster(policy) {
        "clusternetworkpolicies"
    } else {
        "networkpolicies"
    }
}

/// What tells that the policies of both kinds have arrived: a port of the canaries that is open only
/// if the newest policy of each kind says so. No other policy has a say about them.
fn canaries(port: u16) -> [Value; 2] {
    let all = json!([{"namespaces": {}}]);
    let pass = json!([{"tcp": {"destinationPort": {"number": port}}}]);
    let cluster = json!({"kind": "ClusterNetworkPolicy", "metadata": {"name": "canary"},
        "spec": {"tier": "Admin", "priority": 0,
            "subject": {"namespaces": {"matchLabels": {"ns": "zz"}}},
            "ingress": [{"action": "Pass", "from": all, "protocols": pass},
                {"action": "Deny", "from": all}],
            "egress": [{"action": "Accept", "to": all}]}});
    let network = json!({"metadata": {"name": "canary", "namespace": "zz"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": port, "protocol": "TCP"}]}]}});
    [cluster, network]
}

impl Table {
    pub(crate) fn new(name: &str) -> Option<Self> {
        if let Some(missing) = missing() {
            eprintln!("SKIPPED: this test needs {missing}");
            return None;
        }
        let plugin = plugin();
        let mut fixture = Fixture::new(name);
        fixture.outside.ip("addr add fd00:77::2/64 dev eth0 nodad");
        let families = Families::Both;
        fixture
            .objects
            .put("nodes", [families.node(1), families.node(2)]);
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
                .put("pods", [object(name, namespace, *node, ports, &[])]);
        }
        for (name, namespace, node) in canaries {
            fixture
                .objects
                .put("pods", [object(name, namespace, node, &none, &[])]);
        }
        for node in &mut fixture.nodes {
            families.prepare(node);
            node.start(&plugin);
        }
        let attach = |pod: &str, namespace: &str, node: u8| {
            let node = &fixture.nodes[usize::from(node) - 1];
            Pod::add_in(&plugin, node, name, namespace, pod)
        };
        let mut pods = Vec::new();
        let mut world = World::default();
        for (pod, namespace, node, ports) in &specs() {
            let attached = attach(pod, namespace, *node);
            let running = object(pod, namespace, *node, ports, &attached.addresses());
            world.pods.push(Target::read(&running));
            fixture.objects.put("pods", [running]);
            probe::serve(&attached.netns, pod, PORTS);
            pods.push(attached);
        }
        let canaries = canaries.map(|(pod, namespace, node)| {
            let attached = attach(pod, namespace, node);
            let running = object(pod, namespace, node, &none, &attached.addresses());
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
    pub(crate) fn apply(&mut self, case: u64, policies: &[Value]) {
        let key = |policy: &Value| {
            let text = |field: &str| {
                policy["metadata"][field]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            };
            (plural(policy), text("namespace"), text("name"))
        };
        let wanted: BTreeSet<_> = policies.iter().map(key).collect();
        let objects = &self.fixture.objects;
        for (plural, namespace, name) in self.present.difference(&wanted) {
            objects.remove(plural, namespace, name);
        }
        let port = CANARY + u16::try_from(case).expect("few cases");
        for policy in policies.iter().chain(&canaries(port)) {
            objects.put(plural(policy), [policy.clone()]);
        }
        self.present = wanted;
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
                "{} -> {} {}/{} over {}: should be {word}",
                from.name,
                to.name,
                row.port,
                row.protocol.name(),
                row.family()
            )
        };
        open.iter().map(row).collect()
    }

    pub(crate) fn case(&mut self, case: u64, policies: &[Value]) {
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
