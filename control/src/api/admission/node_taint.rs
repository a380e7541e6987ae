//! TaintNodesByCondition: no pod comes to a new node before it is known to be ready. The taint goes
//! where the node's conditions are read (`controllers/nodes`).

use naru_core::names::taints;
use serde_json::{Value, json};

use crate::api::value::{items, object, text};

/// Taints a new node.
pub(super) fn complete(node: &mut Value) {
    let is_it = |taint: &Value| {
        (text(taint, "/key"), text(taint, "/effect")) == (taints::NOT_READY, "NoSchedule")
    };
    if items(node, "/spec/taints").iter().any(is_it) {
        return;
    }
    let mut all = items(node, "/spec/taints").to_vec();
    all.push(json!({"key": taints::NOT_READY, "effect": "NoSchedule"}));
    object(node, "spec").insert("taints".into(), all.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_taint_is_there_once_beside_others() {
        let mut node = json!({"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}});
        complete(&mut node);
        complete(&mut node);
        let expected = json!([{"key": "a", "effect": "NoExecute"},
            {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]);
        assert_eq!(node["spec"]["taints"], expected);
    }
}
