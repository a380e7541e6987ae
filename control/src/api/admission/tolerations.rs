//! A pod outlives a short absence of its node: five minutes, unless it says otherwise.

use naru_core::names::taints;
use serde_json::{Value, json};

use crate::api::value::{items, object, text};

/// Seconds that a pod stays bound to a node that is not ready or out of reach.
const SECONDS: i64 = 300;

pub(super) fn complete(pod: &mut Value) {
    for taint in [taints::NOT_READY, taints::UNREACHABLE] {
        let covered = items(pod, "/spec/tolerations")
            .iter()
            .any(|have| covers(have, taint));
        if covered {
            continue;
        }
        let toleration = json!({"key": taint, "operator": "Exists", "effect": "NoExecute",
            "tolerationSeconds": SECONDS});
        let list = object(pod, "spec")
            .entry("tolerations")
            .or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(toleration);
        }
    }
}

fn covers(toleration: &Value, taint: &str) -> bool {
    let (key, effect) = (text(toleration, "/key"), text(toleration, "/effect"));
    (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_tolerations_are_added() {
        let mut pod = json!({"spec": {"tolerations": [
            {"key": taints::NOT_READY, "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": 2}]}});
        complete(&mut pod);
        let seconds = |index: usize| pod["spec"]["tolerations"][index]["tolerationSeconds"].clone();
        assert_eq!((seconds(0), seconds(1)), (json!(2), json!(SECONDS)));
        let again = pod.clone();
        complete(&mut pod);
        assert_eq!(pod, again);
        let mut all = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        complete(&mut all);
        assert_eq!(items(&all, "/spec/tolerations").len(), 1);
    }
}
