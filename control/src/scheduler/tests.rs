//! Tables of clusters and pods.

use super::decide::{Decision, decide};
use super::snapshot::{Placed, Snapshot};
use crate::controllers::runtime::lean::Pod;
use serde_json::{Value, json};
use std::sync::Arc;

fn node(snapshot: &mut Snapshot, name: &str, spec: Value) {
    let node = json!({"metadata": {"name": name, "labels": {"name": name}}, "spec": spec,
        "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "3"}}});
    snapshot.set_node(name, Arc::new(serde_json::from_value(node).unwrap()));
}

fn pod(name: &str, cpu: &str, spec: Value) -> Pod {
    let mut pod = json!({"metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}},
            "ports": spec.get("ports").cloned().unwrap_or(json!([]))}]}});
    for (key, value) in spec
        .as_object()
        .unwrap()
        .iter()
        .filter(|(key, _)| *key != "ports")
    {
        pod["spec"][key] = value.clone();
    }
    serde_json::from_value(pod).unwrap()
}

fn place(snapshot: &mut Snapshot, name: &str, node: &str, cpu: &str, spec: Value) {
    snapshot.place(name, node, Placed::read(&pod(name, cpu, spec)));
}

fn two_nodes() -> Snapshot {
    let mut snapshot = Snapshot::default();
    node(&mut snapshot, "n1", json!({}));
    node(&mut snapshot, "n2", json!({}));
    snapshot
}

fn refusal(snapshot: &Snapshot, pod: &Pod) -> String {
    match decide(snapshot, pod) {
        Decision::Unschedulable(message) => message,
        Decision::Bind(node) => panic!("bound to {node}"),
    }
}

fn bound(name: &str) -> Decision {
    Decision::Bind(name.into())
}

#[test]
fn pods_of_one_group_alternate_over_equal_nodes() {
    let mut snapshot = two_nodes();
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for name in ["a", "b", "c", "d"] {
        let Decision::Bind(node) = decide(&snapshot, &pod(name, "10m", json!({}))) else {
            panic!("no room")
        };
        place(&mut snapshot, name, &node, "10m", json!({}));
        *counts.entry(node).or_default() += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [2, 2]);
}

#[test]
fn the_node_with_more_room_wins() {
    let mut snapshot = two_nodes();
    let other = json!({});
    let mut big = pod("big", "1500m", other);
    big.metadata.labels = None;
    snapshot.place("big", "n1", Placed::read(&big));
    assert_eq!(decide(&snapshot, &pod("p", "100m", json!({}))), bound("n2"));
}

#[test]
fn pods_that_ask_for_nothing_do_not_pile_up_on_the_node_that_is_asked_for_least() {
    let mut snapshot = Snapshot::default();
    for name in ["n1", "n2"] {
        let node = json!({"metadata": {"name": name},
            "status": {"allocatable": {"cpu": "2", "memory": "16Gi", "pods": "110"}}});
        snapshot.set_node(name, Arc::new(serde_json::from_value(node).unwrap()));
    }
    place(&mut snapshot, "asks", "n2", "100m", json!({}));
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for index in 0..20 {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": format!("p{index}")},
            "spec": {"containers": [{"name": "c"}]}}))
        .unwrap();
        let Decision::Bind(node) = decide(&snapshot, &pod) else {
            panic!("no room")
        };
        snapshot.place(&format!("p{index}"), &node, Placed::read(&pod));
        *counts.entry(node).or_default() += 1;
    }
    assert!(
        counts.len() == 2 && counts.values().all(|count| *count >= 8),
        "{counts:?}"
    );
}

#[test]
fn a_full_cluster_is_explained_in_kubernetes_words() {
    let mut snapshot = two_nodes();
    assert_eq!(
        refusal(&Snapshot::default(), &pod("p", "1", json!({}))),
        "no nodes available to schedule pods"
    );
    let message = refusal(&snapshot, &pod("p", "3", json!({})));
    assert_eq!(message, "0/2 nodes are available: 2 Insufficient cpu.");
    node(&mut snapshot, "n2", json!({"unschedulable": true}));
    let message = refusal(&snapshot, &pod("p", "3", json!({})));
    assert_eq!(
        message,
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable."
    );
}

#[test]
fn the_number_of_pods_is_a_resource() {
    let mut snapshot = Snapshot::default();
    node(&mut snapshot, "n1", json!({}));
    ["a", "b", "c"]
        .iter()
        .for_each(|name| place(&mut snapshot, name, "n1", "0", json!({})));
    assert_eq!(
        refusal(&snapshot, &pod("p", "0", json!({}))),
        "0/1 nodes are available: 1 Too many pods."
    );
}

#[test]
fn taints_keep_pods_away_unless_tolerated() {
    let mut snapshot = Snapshot::default();
    node(
        &mut snapshot,
        "n1",
        json!({"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}),
    );
    let message = refusal(&snapshot, &pod("p", "0", json!({})));
    assert_eq!(
        message,
        "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: yes}."
    );
    let tolerant = json!({"tolerations": [{"key": "gpu", "operator": "Exists"}]});
    assert_eq!(decide(&snapshot, &pod("p", "0", tolerant)), bound("n1"));
}

#[test]
fn a_soft_taint_only_repels() {
    let mut snapshot = two_nodes();
    node(
        &mut snapshot,
        "n1",
        json!({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}),
    );
    assert_eq!(decide(&snapshot, &pod("p", "0", json!({}))), bound("n2"));
    node(&mut snapshot, "n2", json!({"unschedulable": true}));
    assert_eq!(decide(&snapshot, &pod("p", "0", json!({}))), bound("n1"));
}

#[test]
fn a_host_port_is_given_once_per_node() {
    let mut snapshot = two_nodes();
    let web = json!({"ports": [{"containerPort": 80, "hostPort": 80}]});
    place(&mut snapshot, "a", "n1", "0", web.clone());
    assert_eq!(decide(&snapshot, &pod("b", "0", web.clone())), bound("n2"));
    place(&mut snapshot, "b", "n2", "0", web.clone());
    let message = refusal(&snapshot, &pod("c", "0", web));
    assert_eq!(
        message,
        "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports."
    );
    let udp = json!({"ports": [{"containerPort": 80, "hostPort": 80, "protocol": "UDP"}]});
    assert!(matches!(
        decide(&snapshot, &pod("d", "0", udp)),
        Decision::Bind(_)
    ));
}

#[test]
fn selectors_choose_and_preferences_persuade() {
    let snapshot = two_nodes();
    assert_eq!(
        decide(
            &snapshot,
            &pod("p", "0", json!({"nodeSelector": {"name": "n2"}}))
        ),
        bound("n2")
    );
    let message = refusal(
        &snapshot,
        &pod("p", "0", json!({"nodeSelector": {"name": "n3"}})),
    );
    assert_eq!(
        message,
        "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
    );
    let wish = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 10, "preference": {"matchExpressions": [{"key": "name", "operator": "In", "values": ["n2"]}]}}]}}});
    assert_eq!(decide(&snapshot, &pod("p", "0", wish)), bound("n2"));
}
