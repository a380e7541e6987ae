//! Label selectors.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// Whether the selector selects an object with these labels. An empty selector selects everything;
/// an unknown operator selects nothing (the API refuses it).
#[must_use]
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let mut pairs = selector.match_labels.iter().flatten();
    pairs.all(|(key, value)| labels.get(key) == Some(value))
        && selector
            .match_expressions
            .iter()
            .flatten()
            .all(|requirement| holds(requirement, labels))
}

fn holds(requirement: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let listed = |value: &String| requirement.values.iter().flatten().any(|v| v == value);
    match requirement.operator.as_str() {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operators_follow_the_api() {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let check = |selector| matches(&serde_json::from_value(selector).unwrap(), &labels);
        let expression = |key: &str, operator: &str, values: &[&str]| {
            check(
                json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}),
            )
        };
        assert!(check(json!({})));
        assert!(check(json!({"matchLabels": {"app": "web"}})));
        assert!(!check(
            json!({"matchLabels": {"app": "web", "tier": "front"}})
        ));
        assert!(expression("app", "In", &["api", "web"]));
        assert!(!expression("app", "NotIn", &["web"]));
        assert!(expression("tier", "NotIn", &["web"]));
        assert!(expression("app", "Exists", &[]));
        assert!(expression("tier", "DoesNotExist", &[]));
        assert!(!expression("app", "Resembles", &["web"]));
    }
}
