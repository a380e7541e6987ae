//! Node selectors and node affinity.

use crate::controllers::runtime::lean::Pod;
use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm};
use kube::ResourceExt;

/// Whether `node` satisfies `nodeSelector` and the required node affinity of `pod`.
pub fn matches(pod: &Pod, node: &Node) -> bool {
    let labels = node.labels();
    let mut selector = pod.spec.node_selector.iter().flatten();
    if !selector.all(|(key, value)| labels.get(key) == Some(value)) {
        return false;
    }
    let required = pod.spec.node_affinity.as_ref().and_then(|a| {
        a.required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    required.is_none_or(|required| {
        required
            .node_selector_terms
            .iter()
            .any(|term| term_matches(term, node))
    })
}

/// The weights of the preferred terms that `node` satisfies.
pub fn preference(pod: &Pod, node: &Node) -> i64 {
    let preferred = pod.spec.node_affinity.as_ref().and_then(|a| {
        a.preferred_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let met = preferred
        .into_iter()
        .flatten()
        .filter(|term| term_matches(&term.preference, node));
    met.map(|term| i64::from(term.weight)).sum()
}

/// A term without any requirement matches nothing.
fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let by_label = |rule: &NodeSelectorRequirement| {
        holds(rule, node.labels().get(&rule.key).map(String::as_str))
    };
    let name = node.name_any();
    let by_field =
        |rule: &NodeSelectorRequirement| rule.key == "metadata.name" && holds(rule, Some(&name));
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(by_label)
        && fields.iter().all(by_field)
}

fn holds(rule: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = rule.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|one| one == value));
    match rule.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(value, values).is_some_and(|(have, want)| have > want),
        "Lt" => compare(value, values).is_some_and(|(have, want)| have < want),
        _ => false,
    }
}

fn compare(value: Option<&str>, values: &[String]) -> Option<(i64, i64)> {
    Some((value?.parse().ok()?, values.first()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn fits(spec: Value) -> bool {
        let node = json!({"metadata": {"name": "n1", "labels": {"disk": "ssd", "cores": "8"}}});
        let pod = json!({"metadata": {}, "spec": spec});
        matches(
            &serde_json::from_value(pod).unwrap(),
            &serde_json::from_value(node).unwrap(),
        )
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> Value {
        let terms =
            json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]);
        json!({"containers": [], "affinity": {"nodeAffinity":
            {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
    }

    #[test]
    fn selectors_and_every_operator_are_understood() {
        assert!(fits(
            json!({"containers": [], "nodeSelector": {"disk": "ssd"}})
        ));
        assert!(!fits(
            json!({"containers": [], "nodeSelector": {"disk": "hdd"}})
        ));
        let cases = [
            ("disk", "In", &["ssd"][..], true),
            ("disk", "NotIn", &["ssd"], false),
            ("gpu", "NotIn", &["any"], true),
            ("disk", "Exists", &[], true),
            ("gpu", "Exists", &[], false),
            ("gpu", "DoesNotExist", &[], true),
            ("cores", "Gt", &["4"], true),
            ("cores", "Lt", &["4"], false),
        ];
        for (key, operator, values, wanted) in cases {
            assert_eq!(
                fits(expression(key, operator, values)),
                wanted,
                "{key} {operator} {values:?}"
            );
        }
    }

    #[test]
    fn a_field_term_names_a_node_and_an_empty_term_matches_nothing() {
        let terms = |terms: Value| {
            json!({"containers": [], "affinity": {"nodeAffinity":
            {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
        };
        let field = |name: &str| json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]);
        assert!(fits(terms(field("n1"))));
        assert!(!fits(terms(field("n2"))));
        assert!(!fits(terms(json!([{}]))));
    }
}
