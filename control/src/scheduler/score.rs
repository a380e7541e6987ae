//! How good a node is for a pod, among those that can take it.
//!
//! Each score is 0 to 100. Weights are those of Kubernetes' defaults: spreading and node affinity
//! count twice, free resources once, taints that are merely to be avoided three times.

use super::affinity;
use super::snapshot::{Host, Placed};
use crate::controllers::runtime::lean::Pod;
use crate::controllers::runtime::taints;
use k8s_openapi::api::core::v1::Node;

/// A node that can take the pod.
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a str,
    /// The object.
    pub node: &'a Node,
    /// What runs there.
    pub host: &'a Host,
}

/// The name of the best candidate; of equals the one with fewer pods, then the first by name.
pub fn best<'a>(pod: &Pod, placed: &Placed, candidates: &[Candidate<'a>]) -> Option<&'a str> {
    let crowds: Vec<i64> = candidates
        .iter()
        .map(|candidate| crowd(placed, candidate.host))
        .collect();
    let avoided: Vec<i64> = candidates
        .iter()
        .map(|candidate| avoidance(pod, candidate.node))
        .collect();
    let wished: Vec<i64> = candidates
        .iter()
        .map(|candidate| affinity::preference(pod, candidate.node))
        .collect();
    let (crowded, shunned, loved) = (most(&crowds), most(&avoided), most(&wished));
    let score = |index: usize| {
        least_allocated(placed, candidates[index].host)
            + 2 * (100 - share(crowds[index], crowded))
            + 3 * (100 - share(avoided[index], shunned))
            + 2 * share(wished[index], loved)
    };
    let rank = |index: &usize| (score(*index), -(candidates[*index].host.pods.len() as i64));
    // The last of equal maxima wins: walk backwards so that it is the first by name.
    (0..candidates.len())
        .rev()
        .max_by_key(rank)
        .map(|index| candidates[index].name)
}

fn most(values: &[i64]) -> i64 {
    values.iter().copied().max().unwrap_or(0)
}

fn share(value: i64, most: i64) -> i64 {
    if most == 0 { 0 } else { value * 100 / most }
}

/// Pods of the same group that are here already.
fn crowd(placed: &Placed, host: &Host) -> i64 {
    let Some(group) = placed.group.as_ref() else {
        return 0;
    };
    host.pods
        .values()
        .filter(|other| other.group.as_ref() == Some(group))
        .count() as i64
}

fn avoidance(pod: &Pod, node: &Node) -> i64 {
    let covered = |taint| {
        taints::tolerations(pod)
            .iter()
            .any(|toleration| taints::tolerates(toleration, taint))
    };
    let soft = taints::of(node)
        .iter()
        .filter(|taint| taint.effect == taints::PREFER_NO_SCHEDULE);
    soft.filter(|taint| !covered(taint)).count() as i64
}

/// The part of CPU and memory that is expected to stay free with the pod in place, averaged.
fn least_allocated(placed: &Placed, host: &Host) -> i64 {
    let free = |name: &str| {
        let capacity = host.allocatable.get(name);
        let used = host.estimated.get(name) + placed.estimate.get(name);
        if capacity <= 0 {
            0
        } else {
            (capacity - used).max(0) * 100 / capacity
        }
    };
    (free("cpu") + free("memory")) / 2
}
