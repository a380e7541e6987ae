//! Why a node cannot take a pod. Each filter answers the reason in Kubernetes' words.

use super::affinity;
use super::snapshot::{Host, Placed};
use crate::controllers::runtime::lean::{HostPort, Pod};
use crate::controllers::runtime::{pod, taints};
use k8s_openapi::api::core::v1::{Node, Taint};
use naru_core::names::taints::UNSCHEDULABLE;

/// The reasons of the first filter that refuses, none if the node fits.
pub fn refusals(pod: &Pod, placed: &Placed, name: &str, node: &Node, host: &Host) -> Vec<String> {
    let first = unschedulable(pod, node)
        .or_else(|| other_node(pod, name))
        .or_else(|| tainted(pod, node))
        .or_else(|| unselected(pod, node))
        .or_else(|| ports(placed, host));
    match first {
        Some(reason) => vec![reason],
        None => shortages(placed, host),
    }
}

fn unschedulable(pod: &Pod, node: &Node) -> Option<String> {
    let closed = node
        .spec
        .as_ref()
        .is_some_and(|spec| spec.unschedulable == Some(true));
    let taint = Taint {
        key: UNSCHEDULABLE.into(),
        effect: taints::NO_SCHEDULE.into(),
        ..Taint::default()
    };
    let tolerated = taints::tolerations(pod)
        .iter()
        .any(|toleration| taints::tolerates(toleration, &taint));
    (closed && !tolerated).then(|| "node(s) were unschedulable".into())
}

fn other_node(pod: &Pod, name: &str) -> Option<String> {
    let wanted = pod::node_name(pod);
    (!wanted.is_empty() && wanted != name)
        .then(|| "node(s) didn't match the requested node name".into())
}

fn tainted(pod: &Pod, node: &Node) -> Option<String> {
    let effects = [taints::NO_SCHEDULE, taints::NO_EXECUTE];
    let taint = taints::untolerated(taints::of(node), taints::tolerations(pod), &effects)?;
    let value = taint.value.as_deref().unwrap_or_default();
    Some(format!(
        "node(s) had untolerated taint {{{}: {value}}}",
        taint.key
    ))
}

fn unselected(pod: &Pod, node: &Node) -> Option<String> {
    (!affinity::matches(pod, node))
        .then(|| "node(s) didn't match Pod's node affinity/selector".into())
}

fn ports(placed: &Placed, host: &Host) -> Option<String> {
    let mut taken = host.pods.values().flat_map(|other| &other.ports);
    let conflict = taken.any(|taken| placed.ports.iter().any(|wanted| collide(wanted, taken)));
    conflict.then(|| "node(s) didn't have free ports for the requested pod ports".into())
}

fn collide(one: &HostPort, other: &HostPort) -> bool {
    let everywhere = |port: &HostPort| ["0.0.0.0", "::"].contains(&port.address.as_ref());
    one.protocol == other.protocol
        && one.number == other.number
        && (one.address == other.address || everywhere(one) || everywhere(other))
}

fn shortages(placed: &Placed, host: &Host) -> Vec<String> {
    let mut reasons = Vec::new();
    let limit = host.allocatable.get("pods");
    if i64::try_from(host.pods.len()).unwrap_or(i64::MAX) >= limit {
        reasons.push("Too many pods".to_owned());
    }
    for (name, wanted) in placed.requests.iter().filter(|(_, wanted)| *wanted > 0) {
        if wanted > host.allocatable.get(name) - host.requested.get(name) {
            reasons.push(format!("Insufficient {name}"));
        }
    }
    reasons
}
