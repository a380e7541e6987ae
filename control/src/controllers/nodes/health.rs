//! What a silent node's conditions become, and which taints conditions and fields call for.

use crate::controllers::runtime::{taints, time};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use naru_core::names::taints::{
    DISK_PRESSURE, MEMORY_PRESSURE, NOT_READY, UNREACHABLE, UNSCHEDULABLE,
};

const PID_PRESSURE: &str = "node.kubernetes.io/pid-pressure";
const NETWORK_UNAVAILABLE: &str = "node.kubernetes.io/network-unavailable";
/// The conditions that only a node that speaks can vouch for.
const VOUCHED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// The status of condition `kind`.
pub fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a str> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == kind)
        .map(|condition| condition.status.as_str())
}

/// Whether the node says that it is ready.
pub fn is_ready(node: &Node) -> bool {
    condition(node, "Ready") == Some("True")
}

/// When the node last vouched for being ready, by its own clock.
pub fn heartbeat(node: &Node) -> Option<Timestamp> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")?;
    ready.last_heartbeat_time.as_ref().map(|at| at.0)
}

/// The node with every vouched condition unknown.
pub fn silenced(node: &Node, now: Timestamp) -> Node {
    let mut silenced = node.clone();
    let conditions = silenced
        .status
        .get_or_insert_default()
        .conditions
        .get_or_insert_default();
    for kind in VOUCHED {
        match conditions
            .iter_mut()
            .find(|condition| condition.type_ == kind)
        {
            Some(condition) if condition.status == "Unknown" => {}
            Some(condition) => {
                condition.status = "Unknown".into();
                condition.reason = Some("NodeStatusUnknown".into());
                condition.message = Some("The node stopped renewing its lease.".into());
                condition.last_transition_time = Some(time(now));
            }
            None => conditions.push(NodeCondition {
                type_: kind.into(),
                status: "Unknown".into(),
                reason: Some("NodeStatusNeverUpdated".into()),
                message: Some("The node never reported its status.".into()),
                last_heartbeat_time: None,
                last_transition_time: Some(time(now)),
            }),
        }
    }
    silenced
}

/// The taints the node should carry: what conditions call for, and everything of others.
/// A taint that stays keeps the time since when it is there.
pub fn taints(node: &Node, now: Timestamp) -> Vec<Taint> {
    let have = taints::of(node);
    let wanted = called_for(node);
    let mut all: Vec<Taint> = have
        .iter()
        .filter(|taint| !is_managed(taint) || wanted.contains(&sort(taint)))
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if !all.iter().any(|taint| sort(taint) == (key, effect)) {
            let time_added = (effect == taints::NO_EXECUTE).then(|| time(now));
            all.push(Taint {
                key: key.into(),
                effect: effect.into(),
                value: None,
                time_added,
            });
        }
    }
    all
}

type Sort<'a> = (&'a str, &'a str);

fn sort(taint: &Taint) -> Sort<'_> {
    (&taint.key, &taint.effect)
}

fn is_managed(taint: &Taint) -> bool {
    let by_state = [NOT_READY, UNREACHABLE];
    let by_field = [
        MEMORY_PRESSURE,
        DISK_PRESSURE,
        PID_PRESSURE,
        NETWORK_UNAVAILABLE,
        UNSCHEDULABLE,
    ];
    match taint.effect.as_str() {
        taints::NO_SCHEDULE => {
            by_state.contains(&taint.key.as_str()) || by_field.contains(&taint.key.as_str())
        }
        taints::NO_EXECUTE => by_state.contains(&taint.key.as_str()),
        _ => false,
    }
}

fn called_for(node: &Node) -> Vec<Sort<'static>> {
    let state = match condition(node, "Ready") {
        Some("True") => None,
        Some("Unknown") => Some(UNREACHABLE),
        _ => Some(NOT_READY),
    };
    let mut wanted = Vec::new();
    if let Some(key) = state {
        wanted.extend([(key, taints::NO_SCHEDULE), (key, taints::NO_EXECUTE)]);
    }
    let pressures = [
        ("MemoryPressure", MEMORY_PRESSURE),
        ("DiskPressure", DISK_PRESSURE),
        ("PIDPressure", PID_PRESSURE),
        ("NetworkUnavailable", NETWORK_UNAVAILABLE),
    ];
    let pressing = pressures
        .into_iter()
        .filter(|(kind, _)| condition(node, kind) == Some("True"));
    wanted.extend(pressing.map(|(_, key)| (key, taints::NO_SCHEDULE)));
    if node
        .spec
        .as_ref()
        .is_some_and(|spec| spec.unschedulable == Some(true))
    {
        wanted.push((UNSCHEDULABLE, taints::NO_SCHEDULE));
    }
    wanted
}
