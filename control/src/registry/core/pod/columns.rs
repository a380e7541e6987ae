//! The table row of a Pod.

use serde_json::Value;

use super::status;
use crate::registry::age::age;
use crate::registry::column::{name, or_none};
use crate::registry::value::{list, text};

/// The cells of one Pod.
pub(super) fn cells(pod: &Value, now: i64) -> Vec<Value> {
    let summary = status::summary(pod, now);
    vec![
        name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        summary.restarts.into(),
        age(pod, now),
        or_none(address(pod)),
        or_none(text(pod, "/spec/nodeName")),
        or_none(text(pod, "/status/nominatedNodeName")),
        or_none(gates(pod)),
    ]
}

fn address(pod: &Value) -> &str {
    match text(pod, "/status/podIPs/0/ip") {
        "" => text(pod, "/status/podIP"),
        ip => ip,
    }
}

fn gates(pod: &Value) -> String {
    let gates = list(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return String::new();
    }
    let passed = |gate: &&Value| {
        let mut conditions = list(pod, "/status/conditions").iter();
        let wanted = text(gate, "/conditionType");
        conditions.any(|condition| {
            text(condition, "/type") == wanted && text(condition, "/status") == "True"
        })
    };
    format!("{}/{}", gates.iter().filter(passed).count(), gates.len())
}
