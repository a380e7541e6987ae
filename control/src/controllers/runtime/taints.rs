//! Taints and tolerations.

use super::lean::Pod;
use k8s_openapi::api::core::v1::{Node, Taint, Toleration};

/// Effect: nothing new is scheduled here.
pub const NO_SCHEDULE: &str = "NoSchedule";
/// Effect: what runs here must leave.
pub const NO_EXECUTE: &str = "NoExecute";
/// Effect: other nodes are preferred.
pub const PREFER_NO_SCHEDULE: &str = "PreferNoSchedule";

/// The taints of `node`.
pub fn of(node: &Node) -> &[Taint] {
    node.spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default()
}

/// The tolerations of `pod`.
pub fn tolerations(pod: &Pod) -> &[Toleration] {
    &pod.spec.tolerations
}

/// Whether `toleration` covers `taint`.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let empty_or = |have: &Option<String>, want: &str| {
        have.as_deref()
            .is_none_or(|have| have.is_empty() || have == want)
    };
    let value = toleration.value.as_deref().unwrap_or_default();
    empty_or(&toleration.effect, &taint.effect)
        && empty_or(&toleration.key, &taint.key)
        && match toleration.operator.as_deref().unwrap_or("Equal") {
            "Exists" => true,
            "Equal" | "" => value == taint.value.as_deref().unwrap_or_default(),
            _ => false,
        }
}

/// The first taint with one of `effects` that no toleration covers.
pub fn untolerated<'a>(
    taints: &'a [Taint],
    tolerations: &[Toleration],
    effects: &[&str],
) -> Option<&'a Taint> {
    let mut binding = taints
        .iter()
        .filter(|taint| effects.contains(&taint.effect.as_str()));
    binding.find(|taint| {
        !tolerations
            .iter()
            .any(|toleration| tolerates(toleration, taint))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn covers(toleration: Value) -> bool {
        let taint = Taint {
            key: "k".into(),
            value: Some("v".into()),
            effect: NO_EXECUTE.into(),
            time_added: None,
        };
        tolerates(&serde_json::from_value(toleration).unwrap(), &taint)
    }

    #[test]
    fn a_toleration_covers_by_key_value_and_effect_and_absence_covers_all() {
        assert!(covers(json!({"operator": "Exists"})));
        assert!(covers(json!({"key": "k", "operator": "Exists"})));
        assert!(covers(
            json!({"key": "k", "value": "v", "effect": "NoExecute"})
        ));
        assert!(!covers(json!({"key": "k"})));
        assert!(!covers(
            json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"})
        ));
        assert!(!covers(json!({"key": "other", "operator": "Exists"})));
        assert!(!covers(json!({"key": "k", "operator": "Gt", "value": "1"})));
    }
}
