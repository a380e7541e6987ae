//! The decision: filters, then scores. Pure, so that a table of clusters tests it.

use super::filter;
use super::score::{self, Candidate};
use super::snapshot::{Placed, Snapshot};
use crate::controllers::runtime::lean::Pod;
use std::collections::BTreeMap;

/// What is to happen with a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Bind it to this node.
    Bind(String),
    /// No node can take it; the sentence says how many refuse why.
    Unschedulable(String),
}

/// Finds the best node for `pod`.
pub fn decide(snapshot: &Snapshot, pod: &Pod) -> Decision {
    let placed = Placed::read(pod);
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    let mut candidates = Vec::new();
    let mut nodes = 0;
    for (name, node, host) in snapshot.hosts() {
        nodes += 1;
        let reasons = filter::refusals(pod, &placed, name, node, host);
        if reasons.is_empty() {
            candidates.push(Candidate { name, node, host });
        }
        reasons
            .into_iter()
            .for_each(|reason| *refused.entry(reason).or_default() += 1);
    }
    match score::best(pod, &placed, &candidates) {
        Some(name) => Decision::Bind(name.to_owned()),
        None => Decision::Unschedulable(sentence(nodes, &refused)),
    }
}

fn sentence(nodes: usize, refused: &BTreeMap<String, usize>) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".into();
    }
    let mut reasons: Vec<String> = refused
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    reasons.sort();
    format!("0/{nodes} nodes are available: {}.", reasons.join(", "))
}
