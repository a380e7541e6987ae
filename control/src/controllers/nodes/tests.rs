//! Tables of silent, tainted and vanished nodes.

use super::eviction::{Verdict, judge};
use super::health;
use crate::controllers::runtime::lean::Pod;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};
use std::time::Duration;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn node(ready: &str, spec: Value) -> Node {
    serde_json::from_value(
        json!({"metadata": {"name": "n"}, "spec": spec, "status": {"conditions": [
        {"type": "Ready", "status": ready, "lastTransitionTime": "1970-01-01T00:00:01Z"},
        {"type": "DiskPressure", "status": "False"}]}}),
    )
    .unwrap()
}

fn with_taints(mut node: Node, now: i64) -> Node {
    let taints = health::taints(&node, at(now));
    node.spec.get_or_insert_default().taints = Some(taints);
    node
}

fn names(node: &Node) -> Vec<String> {
    let taints = node.spec.as_ref().unwrap().taints.iter().flatten();
    taints
        .map(|taint| format!("{}:{}", taint.key.rsplit('/').next().unwrap(), taint.effect))
        .collect()
}

#[test]
fn a_silent_node_becomes_unknown_in_everything_it_vouches_for() {
    let silent = health::silenced(&node("True", json!({})), at(50));
    for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        assert_eq!(health::condition(&silent, kind), Some("Unknown"), "{kind}");
    }
    assert_eq!(
        health::silenced(&silent, at(99)),
        silent,
        "a second look changes nothing"
    );
}

#[test]
fn taints_follow_conditions_and_leave_those_of_others() {
    let foreign = json!({"taints": [{"key": "gpu", "effect": "NoSchedule"}]});
    let unknown = with_taints(node("Unknown", foreign), 10);
    assert_eq!(
        names(&unknown),
        [
            "gpu:NoSchedule",
            "unreachable:NoSchedule",
            "unreachable:NoExecute"
        ]
    );
    let mut failed = unknown.clone();
    failed.status = node("False", json!({})).status;
    assert_eq!(
        names(&with_taints(failed, 11)),
        [
            "gpu:NoSchedule",
            "not-ready:NoSchedule",
            "not-ready:NoExecute"
        ]
    );
    let mut recovered = unknown;
    recovered.status = node("True", json!({})).status;
    assert_eq!(names(&with_taints(recovered, 12)), ["gpu:NoSchedule"]);
}

#[test]
fn a_closed_node_and_a_full_disk_are_tainted_too() {
    let mut closed = node("True", json!({"unschedulable": true}));
    closed.status.as_mut().unwrap().conditions.as_mut().unwrap()[1].status = "True".into();
    assert_eq!(
        names(&with_taints(closed, 1)),
        ["disk-pressure:NoSchedule", "unschedulable:NoSchedule"]
    );
}

#[test]
fn a_taint_keeps_the_time_it_was_added() {
    let first = with_taints(node("Unknown", json!({})), 10);
    assert_eq!(with_taints(first.clone(), 99), first);
}

fn pod(tolerations: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p"},
        "spec": {"nodeName": "n", "containers": [], "tolerations": tolerations}}))
    .unwrap()
}

fn tolerating(seconds: Value) -> Pod {
    pod(
        json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
        "tolerationSeconds": seconds}]),
    )
}

#[test]
fn a_pod_leaves_a_lost_node_when_its_toleration_ends() {
    let lost = with_taints(node("Unknown", json!({})), 100);
    let verdict = |pod: &Pod, now| judge(pod, Some(&lost), || true, at(now));
    assert_eq!(verdict(&pod(json!([])), 100), Verdict::Evict);
    assert_eq!(
        verdict(&tolerating(json!(30)), 110),
        Verdict::Wait(Duration::from_secs(20))
    );
    assert_eq!(verdict(&tolerating(json!(30)), 130), Verdict::Evict);
    assert_eq!(verdict(&tolerating(json!(null)), 9999), Verdict::Stay);
    assert_eq!(
        verdict(&pod(json!([{"operator": "Exists"}])), 9999),
        Verdict::Stay
    );
}

#[test]
fn nobody_is_evicted_while_no_node_is_ready() {
    let lost = with_taints(node("Unknown", json!({})), 100);
    assert!(matches!(
        judge(&tolerating(json!(1)), Some(&lost), || false, at(500)),
        Verdict::Wait(_)
    ));
    let forbidden = node(
        "True",
        json!({"taints": [{"key": "mine", "effect": "NoExecute"}]}),
    );
    assert_eq!(
        judge(&pod(json!([])), Some(&forbidden), || false, at(500)),
        Verdict::Evict
    );
}

#[test]
fn pods_of_a_vanished_node_are_removed_even_while_terminating() {
    let mut ending = pod(json!([]));
    ending.metadata.deletion_timestamp = Some(crate::controllers::runtime::time(at(1)));
    assert_eq!(judge(&ending, None, || true, at(2)), Verdict::Remove);
    assert_eq!(
        judge(&ending, Some(&node("Unknown", json!({}))), || true, at(2)),
        Verdict::Stay
    );
    assert_eq!(judge(&Pod::default(), None, || true, at(2)), Verdict::Stay);
}
