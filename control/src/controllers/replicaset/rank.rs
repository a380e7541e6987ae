//! Which pods go first when there are too many.
//!
//! The order is that of Kubernetes: not bound, then pending, unknown, not ready, lower deletion
//! cost, more siblings on the same node, ready for a shorter time, more restarts, younger.

use crate::controllers::runtime::lean::{DELETION_COST, Phase, Pod};
use crate::controllers::runtime::pod;
use jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

/// Smaller goes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Worth {
    bound: bool,
    phase: u8,
    ready: bool,
    cost: i32,
    alone_on_node: Reverse<usize>,
    ready_since: Reverse<Timestamp>,
    restarts: Reverse<i32>,
    created: Reverse<Timestamp>,
    name: String,
}

/// The `count` pods of `pods` to delete. `siblings` are the running pods of the same workload,
/// these included: crowded nodes lose pods first.
pub fn victims(mut pods: Vec<Arc<Pod>>, siblings: &[Arc<Pod>], count: usize) -> Vec<Arc<Pod>> {
    if count < pods.len() {
        let mut crowd: HashMap<&str, usize> = HashMap::new();
        for sibling in siblings.iter().filter(|pod| pod::is_active(pod)) {
            *crowd.entry(pod::node_name(sibling)).or_default() += 1;
        }
        pods.sort_by_cached_key(|pod| worth(pod, &crowd));
        pods.truncate(count);
    }
    pods
}

fn worth(pod: &Pod, crowd: &HashMap<&str, usize>) -> Worth {
    let node = pod::node_name(pod);
    Worth {
        bound: !node.is_empty(),
        phase: phase_worth(pod.status.phase),
        ready: pod::is_ready(pod),
        cost: deletion_cost(pod),
        alone_on_node: Reverse(crowd.get(node).copied().unwrap_or(0)),
        ready_since: Reverse(pod::ready_since(pod).unwrap_or(Timestamp::MAX)),
        restarts: Reverse(pod.status.restarts),
        created: Reverse(
            pod.metadata
                .creation_timestamp
                .as_ref()
                .map_or(Timestamp::MAX, |at| at.0),
        ),
        name: pod.metadata.name.clone().unwrap_or_default(),
    }
}

fn phase_worth(phase: Phase) -> u8 {
    match phase {
        Phase::Pending => 0,
        Phase::Unknown => 1,
        Phase::Running | Phase::Succeeded | Phase::Failed => 2,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    let cost = pod
        .metadata
        .annotations
        .as_ref()
        .and_then(|notes| notes.get(DELETION_COST));
    cost.and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::pod_named;
    use super::*;

    fn pod(name: &str, node: &str, ready: bool, age: i64) -> Arc<Pod> {
        let mut pod = (*pod_named(name, node, ready)).clone();
        let created = Timestamp::from_second(1_000_000 - age).unwrap();
        pod.metadata.creation_timestamp = Some(crate::controllers::runtime::time(created));
        Arc::new(pod)
    }

    fn order(pods: &[Arc<Pod>]) -> Vec<String> {
        // One less than all, so that the ranking runs.
        let gone = victims(pods.to_vec(), pods, pods.len() - 1);
        gone.iter()
            .map(|pod| pod.metadata.name.clone().unwrap())
            .collect()
    }

    #[test]
    fn unbound_goes_before_not_ready_before_crowded_before_young() {
        let pods = [
            pod("old", "n1", true, 90),
            pod("young", "n1", true, 10),
            pod("crowded", "n2", true, 100),
            pod("crowding-not-ready", "n2", false, 100),
            pod("crowding", "n2", true, 101),
            pod("unbound", "", false, 500),
        ];
        assert_eq!(
            order(&pods),
            [
                "unbound",
                "crowding-not-ready",
                "crowded",
                "crowding",
                "young"
            ]
        );
    }

    #[test]
    fn a_lower_deletion_cost_outweighs_age_and_a_higher_one_protects() {
        let priced = |name: &str, cost: &str| {
            let mut pod = (*pod(name, "n1", true, 50)).clone();
            pod.metadata.annotations = Some([(DELETION_COST.to_owned(), cost.to_owned())].into());
            Arc::new(pod)
        };
        let pods = [
            pod("plain", "n1", true, 1),
            priced("dear", "10"),
            priced("cheap", "-10"),
        ];
        assert_eq!(order(&pods), ["cheap", "plain"]);
    }

    #[test]
    fn many_restarts_go_before_few() {
        let restarted = |name: &str, count: i32| {
            let mut pod = (*pod(name, "n1", true, 5)).clone();
            pod.status.restarts = count;
            Arc::new(pod)
        };
        assert_eq!(
            order(&[restarted("calm", 0), restarted("troubled", 4)]),
            ["troubled"]
        );
    }
}
