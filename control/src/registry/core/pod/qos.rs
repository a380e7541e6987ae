//! Quality of service: who is sacrificed first when a node runs short.

use naru_core::Quantity;
use serde_json::Value;

use crate::registry::value::{list, text};

/// `Guaranteed`, `Burstable` or `BestEffort`, from the CPU and memory of all containers.
pub(super) fn class(pod: &Value) -> &'static str {
    let containers = || {
        ["/spec/initContainers", "/spec/containers"]
            .iter()
            .flat_map(|list_at| list(pod, list_at))
    };
    let asks = |container: &Value| {
        let amounts =
            ["limits", "requests"].map(|kind| RESOURCES.map(|r| amount(container, kind, r)));
        amounts.iter().flatten().any(Option::is_some)
    };
    if !containers().any(asks) {
        "BestEffort"
    } else if containers().all(guaranteed) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

const RESOURCES: [&str; 2] = ["cpu", "memory"];

/// Limits of both resources, and requests that equal them.
fn guaranteed(container: &Value) -> bool {
    RESOURCES.iter().all(|resource| {
        let limit = amount(container, "limits", resource);
        let request = amount(container, "requests", resource).or(limit);
        limit.is_some() && request == limit
    })
}

/// An amount above zero.
fn amount(container: &Value, kind: &str, resource: &str) -> Option<Quantity> {
    let written = text(container, &format!("/resources/{kind}/{resource}"));
    written
        .parse()
        .ok()
        .filter(|quantity: &Quantity| !quantity.is_zero())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_class_follows_from_limits_and_requests() {
        let pod = |resources: Value| json!({"spec": {"containers": [{"resources": resources}]}});
        assert_eq!(class(&pod(json!({}))), "BestEffort");
        assert_eq!(class(&pod(json!({"requests": {"cpu": "1"}}))), "Burstable");
        let both = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(class(&pod(json!({"limits": both}))), "Guaranteed");
        assert_eq!(
            class(&pod(json!({"limits": both, "requests": {"cpu": "500m"}}))),
            "Burstable"
        );
        assert_eq!(class(&pod(json!({"limits": {"cpu": "1"}}))), "Burstable");
    }
}
