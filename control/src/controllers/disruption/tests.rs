use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::{Value, json};

use super::plan::{self, Basis};
use super::stale;
use crate::controllers::runtime::lean::Pod;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn budget(spec: Value, status: Value) -> PodDisruptionBudget {
    let metadata = json!({"name": "b", "namespace": "n", "generation": 3});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
}

fn pod(name: &str, ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    json!({"metadata": {"name": name, "namespace": "n", "labels": {"app": "web"}},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}})
}

fn pods(all: Vec<Value>) -> Vec<Arc<Pod>> {
    let all = all.into_iter();
    all.map(|pod| Arc::new(serde_json::from_value(pod).unwrap()))
        .collect()
}

/// So many pods, of which the first ones are ready.
fn of(count: usize, ready: usize) -> Vec<Arc<Pod>> {
    let all = (0..count).map(|index| pod(&format!("p{index}"), index < ready));
    pods(all.collect())
}

/// Healthy, desired and allowed.
fn counted(spec: Value, pods: &[Arc<Pod>], expected: i32) -> (i32, i32, i32) {
    let budget = budget(spec, json!({}));
    let status = plan::plan(&budget, pods, expected, at(0)).status;
    let counts = [
        status.current_healthy,
        status.desired_healthy,
        status.disruptions_allowed,
    ];
    let [healthy, desired, allowed] = counts.map(Option::unwrap);
    (healthy, desired, allowed)
}

#[test]
fn bounds_are_counts_or_parts_of_what_there_should_be() {
    let web = of(10, 8);
    for (spec, expected, desired, allowed) in [
        (json!({"minAvailable": 3}), 10, 3, 5),
        (json!({"minAvailable": 8}), 10, 8, 0),
        (json!({"minAvailable": 20}), 10, 20, 0),
        (json!({"minAvailable": "50%"}), 10, 5, 3),
        (json!({"minAvailable": "51%"}), 10, 6, 2),
        (json!({"minAvailable": "0%"}), 10, 0, 8),
        (json!({"maxUnavailable": 3}), 10, 7, 1),
        (json!({"maxUnavailable": 0}), 10, 10, 0),
        (json!({"maxUnavailable": 30}), 10, 0, 8),
        (json!({"maxUnavailable": "25%"}), 10, 7, 1),
        (json!({"maxUnavailable": "100%"}), 10, 0, 8),
        (json!({"maxUnavailable": 1}), 20, 19, 0),
        (json!({"minAvailable": 1}), 0, 1, 0),
        (json!({}), 0, 0, 0),
    ] {
        let got = counted(spec.clone(), &web, expected);
        assert_eq!(got, (8, desired, allowed), "{spec} of {expected}");
    }
}

#[test]
fn a_bound_says_what_it_is_measured_by() {
    for (spec, basis) in [
        (json!({"minAvailable": 1}), Basis::Pods),
        (json!({"minAvailable": "1%"}), Basis::Scale),
        (json!({"maxUnavailable": 1}), Basis::Scale),
        (json!({"maxUnavailable": "1%"}), Basis::Scale),
        (json!({}), Basis::None),
    ] {
        assert_eq!(Basis::of(&budget(spec.clone(), json!({}))), basis, "{spec}");
    }
}

#[test]
fn an_empty_selector_selects_everybody_and_an_absent_one_nobody() {
    let all = pods(vec![pod("p", true)]);
    let selects = |spec| plan::selects(&budget(spec, json!({})), &all[0]);
    assert!(selects(json!({"selector": {}})));
    assert!(selects(
        json!({"selector": {"matchLabels": {"app": "web"}}})
    ));
    assert!(!selects(
        json!({"selector": {"matchLabels": {"app": "shop"}}})
    ));
    assert!(!selects(json!({})));
}

#[test]
fn who_goes_is_not_healthy_and_noted_only_until_that_is_seen() {
    let mut going = pod("going", true);
    going["metadata"]["deletionTimestamp"] = "1970-01-01T00:00:00Z".into();
    let all = pods(vec![
        going,
        pod("next", true),
        pod("late", true),
        pod("stays", true),
    ]);
    let noted = json!({"going": "1970-01-01T00:01:00Z", "gone": "1970-01-01T00:01:00Z",
        "next": "1970-01-01T00:01:00Z", "late": "1970-01-01T00:00:00Z"});
    let budget = budget(json!({"minAvailable": 1}), json!({"disruptedPods": noted}));
    let plan = plan::plan(&budget, &all, 4, at(120));
    let kept = plan.status.disrupted_pods.unwrap();
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["next"]);
    assert_eq!(plan.status.current_healthy, Some(2), "late and stays");
    let overdue = plan.overdue.iter().map(|pod| pod.metadata.name.as_deref());
    assert_eq!(overdue.collect::<Vec<_>>(), [Some("late")]);
    assert_eq!(plan.again, Some(Duration::from_secs(60)));
    let plan = plan::plan(&budget, &all, 4, at(180));
    assert_eq!(plan.status.disrupted_pods, None);
    assert_eq!((plan.status.current_healthy, plan.again), (Some(3), None));
}

#[test]
fn the_condition_keeps_its_time_and_follows_the_generation() {
    let spec = json!({"minAvailable": 1});
    let first = plan::plan(&budget(spec.clone(), json!({})), &of(2, 2), 2, at(5)).status;
    let condition = &first.conditions.as_ref().unwrap()[0];
    let said = |it: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        let since = it.last_transition_time.0.as_second();
        (
            it.status.clone(),
            it.reason.clone(),
            it.observed_generation,
            since,
        )
    };
    let ok = |since| ("True".into(), "SufficientPods".into(), Some(3), since);
    assert_eq!(said(condition), ok(5));
    assert_eq!(first.observed_generation, Some(3));
    let status = serde_json::to_value(&first).unwrap();
    let known = budget(spec, status);
    let again = plan::plan(&known, &of(2, 2), 2, at(9)).status;
    assert_eq!(again, first, "nothing is written");
    let fewer = plan::plan(&known, &of(2, 1), 2, at(9)).status;
    let no = |reason: &str, since| ("False".into(), reason.into(), Some(3), since);
    assert_eq!(
        said(&fewer.conditions.unwrap()[0]),
        no("InsufficientPods", 9)
    );
    let failed = plan::failed(&known, "no controllers", at(7));
    assert_eq!(failed.disruptions_allowed, Some(0));
    assert_eq!(failed.current_healthy, first.current_healthy);
    let condition = &failed.conditions.unwrap()[0];
    assert_eq!(said(condition), no("SyncFailed", 7));
    assert_eq!(condition.message, "no controllers");
}

#[test]
fn the_word_of_a_deletion_stands_for_two_minutes() {
    let told = |reason: &str, phase: &str| {
        let mut pod = pod("p", true);
        pod["status"]["phase"] = phase.into();
        pod["status"]["conditions"] = json!([{"type": "DisruptionTarget", "status": "True",
            "reason": reason, "lastTransitionTime": "1970-01-01T00:00:10Z"}]);
        pod
    };
    let left = |pod: Value, now| stale::left(&serde_json::from_value(pod).unwrap(), at(now));
    let eviction = "EvictionByEvictionAPI";
    let seconds = |count| Some(Duration::from_secs(count));
    assert_eq!(left(told(eviction, "Running"), 10), seconds(120));
    assert_eq!(left(told(eviction, "Running"), 129), seconds(1));
    assert_eq!(left(told(eviction, "Running"), 900), seconds(0));
    assert_eq!(left(told("TerminationByKubelet", "Running"), 900), None);
    assert_eq!(left(told(eviction, "Failed"), 900), None);
    assert_eq!(left(pod("p", true), 900), None);
    let mut going = told(eviction, "Running");
    going["metadata"]["deletionTimestamp"] = "1970-01-01T00:00:00Z".into();
    assert_eq!(left(going, 900), None);
}
