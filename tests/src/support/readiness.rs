//! What the nodes say of themselves: how many are Ready, and what keeps pods off them meanwhile.

use anyhow::{Result, bail};
use serde_json::Value;

/// Conditions of a Ready node under which it takes no pods.
const PRESSURES: [(&str, &str); 3] = [
    ("DiskPressure", "free some of its disk"),
    ("MemoryPressure", "free some of its memory"),
    ("PIDPressure", "end some of its processes"),
];

/// How many nodes of a list are Ready.
///
/// # Errors
/// When a node is Ready and takes no pods all the same: waiting for pods would be in vain.
pub fn ready(nodes: &Value) -> Result<usize> {
    let nodes = nodes["items"].as_array().into_iter().flatten();
    let ready: Vec<_> = nodes.filter(|node| holds(node, "Ready")).collect();
    for node in &ready {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        if let Some((pressure, remedy)) = PRESSURES.iter().find(|(kind, _)| holds(node, kind)) {
            bail!("{name} reports {pressure} and takes no pods: {remedy}");
        }
    }
    Ok(ready.len())
}

fn holds(node: &Value, kind: &str) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition["type"] == kind && condition["status"] == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_that_is_ready_and_full_is_an_error_and_not_a_wait() {
        let node = |ready: &str, full: &str| {
            json!({"metadata": {"name": "node1"}, "status": {"conditions": [
                {"type": "Ready", "status": ready}, {"type": "DiskPressure", "status": full}]}})
        };
        let list = |nodes: &[Value]| ready(&json!({ "items": nodes }));
        assert_eq!(
            list(&[node("True", "False"), node("False", "True")]).unwrap(),
            1
        );
        let error = list(&[node("True", "True")]).unwrap_err().to_string();
        assert!(error.starts_with("node1 reports DiskPressure"), "{error}");
    }
}
