//! Tables for the plan.

use super::plan::{self, Failure, Scale};
use crate::controllers::runtime::lean::Pod;
use crate::controllers::runtime::{claim, meta, time};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::core::Selector;
use serde_json::json;
use std::sync::Arc;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn pod_named(name: &str, node: &str, ready: bool) -> Arc<Pod> {
    let condition = json!([{"type": "Ready", "status": if ready { "True" } else { "False" },
        "lastTransitionTime": "1970-01-01T00:01:40Z"}]);
    let pod = json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {"app": "web"}},
        "spec": {"containers": [], "nodeName": if node.is_empty() { json!(null) } else { json!(node) }},
        "status": {"phase": if node.is_empty() { "Pending" } else { "Running" }, "conditions": condition},
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn replicaset(replicas: i32) -> ReplicaSet {
    let rs = json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "rs", "generation": 4},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}, "annotations": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}},
    });
    serde_json::from_value(rs).unwrap()
}

fn selector(rs: &ReplicaSet) -> Selector {
    meta::workload_selector(&rs.spec.selector).unwrap()
}

fn change(pod: Arc<Pod>, edit: impl FnOnce(&mut Pod)) -> Arc<Pod> {
    let mut pod = (*pod).clone();
    edit(&mut pod);
    Arc::new(pod)
}

fn owned(name: &str, ready: bool) -> Arc<Pod> {
    change(pod_named(name, "n1", ready), |pod| {
        pod.metadata.owner_references = Some(vec![meta::controller_ref(&replicaset(1))]);
    })
}

fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
    pods.iter()
        .map(|pod| pod.metadata.name.as_deref().unwrap())
        .collect()
}

#[test]
fn pods_are_owned_adopted_or_released_by_selector_and_controller() {
    let rs = replicaset(1);
    let relabelled = change(owned("relabelled", true), |pod| pod.metadata.labels = None);
    let foreign = change(owned("foreign", true), |pod| {
        pod.metadata.owner_references.as_mut().unwrap()[0].uid = "other".into();
    });
    let ending = change(pod_named("ending", "n1", true), |pod| {
        pod.metadata.deletion_timestamp = Some(time(at(1)))
    });
    let pods = vec![
        owned("mine", true),
        pod_named("orphan", "n1", true),
        relabelled,
        foreign,
        ending,
    ];
    let claim = claim::sort(&rs, &selector(&rs), pods);
    assert_eq!(names(&claim.owned), ["mine"]);
    assert_eq!(names(&claim.adopt), ["orphan"]);
    assert_eq!(names(&claim.release), ["relabelled"]);
}

#[test]
fn a_replicaset_being_deleted_adopts_nothing_and_creates_nothing() {
    let mut rs = replicaset(3);
    rs.metadata.deletion_timestamp = Some(time(at(1)));
    let claim = claim::sort(&rs, &selector(&rs), vec![pod_named("orphan", "n1", true)]);
    assert!(claim.adopt.is_empty());
    assert_eq!(plan::scale(&rs, &[], &[]), Scale::Keep);
}

#[test]
fn the_difference_to_the_wanted_number_is_created_or_deleted() {
    let pods = [owned("a", true), owned("b", false)];
    assert_eq!(plan::scale(&replicaset(2), &pods, &pods), Scale::Keep);
    assert_eq!(plan::scale(&replicaset(5), &pods, &pods), Scale::Create(3));
    assert_eq!(
        plan::scale(&replicaset(9999), &pods, &pods),
        Scale::Create(plan::BURST)
    );
    assert_eq!(
        plan::scale(&replicaset(1), &pods, &pods),
        Scale::Delete(vec![pods[1].clone()])
    );
}

#[test]
fn status_counts_ready_available_and_labelled_pods() {
    let mut rs = replicaset(2);
    rs.spec.min_ready_seconds = Some(10);
    let pods = [owned("a", true), owned("b", false)];
    let early = plan::status(&rs, &pods, None, at(105));
    assert_eq!(
        (
            early.replicas,
            early.ready_replicas,
            early.available_replicas
        ),
        (2, Some(1), None)
    );
    assert_eq!(
        plan::next_available(&rs, &pods, at(105)).unwrap().as_secs(),
        5
    );
    let late = plan::status(&rs, &pods, None, at(110));
    assert_eq!(
        (late.available_replicas, late.fully_labeled_replicas),
        (Some(1), Some(2))
    );
    assert_eq!(late.observed_generation, Some(4));
    assert_eq!(plan::next_available(&rs, &pods, at(110)), None);
}

#[test]
fn a_failure_is_a_condition_that_keeps_its_first_time_and_goes_with_success() {
    let mut rs = replicaset(2);
    let failure = Failure {
        reason: "FailedCreate",
        message: "quota".into(),
    };
    rs.status = Some(plan::status(&rs, &[], Some(&failure), at(7)));
    let again = plan::status(&rs, &[], Some(&failure), at(9));
    assert_eq!(
        again.conditions.as_ref().unwrap()[0].last_transition_time,
        Some(time(at(7)))
    );
    // Refusals that differ in a made-up name are one failure: the status must not change with each.
    let other = Failure {
        reason: "FailedCreate",
        message: "quota, again".into(),
    };
    assert_eq!(plan::status(&rs, &[], Some(&other), at(9)), again);
    assert_eq!(plan::status(&rs, &[], None, at(9)).conditions, None);
}

#[test]
fn a_new_pod_carries_template_owner_and_a_generated_name() {
    let mut rs = replicaset(1);
    let pod = plan::new_pod(&rs);
    assert_eq!(pod.metadata.generate_name.as_deref(), Some("web-"));
    assert_eq!(pod.metadata.annotations.unwrap()["a"], "b");
    assert_eq!(
        meta::controller_of(&plan::new_pod(&rs).metadata)
            .unwrap()
            .uid,
        "rs"
    );
    rs.metadata.name = Some("x".repeat(80));
    assert_eq!(plan::new_pod(&rs).metadata.generate_name.unwrap().len(), 58);
}
