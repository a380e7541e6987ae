//! Labels and what selects by them.

use serde_json::Value;

use super::names::{is_label_value, qualified_name};
use super::{At, Faults};
use crate::registry::value::{list, members, text};

const VALUE: &str = "a label's value is empty or consists of at most 63 letters, digits, '-', '_' and '.', and begins and ends with a letter or digit";

/// A map of labels.
pub(crate) fn label_map(at: &At<'_>, faults: &mut Faults) {
    for (key, value) in at.entries() {
        qualified_name(at, key, faults);
        if !is_label_value(value.text()) {
            faults.invalid_value(at, value.value(), VALUE);
        }
    }
}

/// A LabelSelector.
pub(crate) fn selector(at: &At<'_>, faults: &mut Faults) {
    label_map(&at.get("matchLabels"), faults);
    for expression in at.get("matchExpressions").each() {
        let key = expression.get("key");
        qualified_name(&key, key.text(), faults);
        let (operator, values) = (expression.get("operator"), expression.get("values"));
        match operator.text() {
            "In" | "NotIn" if values.is_empty() => {
                faults.required(&values, "must be given when the operator is In or NotIn");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                faults.forbidden(
                    &values,
                    "may not be given when the operator is Exists or DoesNotExist",
                );
            }
            "In" | "NotIn" => each_label_value(&values, faults),
            "Exists" | "DoesNotExist" => {}
            _ => faults.not_supported(&operator, &["In", "NotIn", "Exists", "DoesNotExist"]),
        }
    }
}

fn each_label_value(values: &At<'_>, faults: &mut Faults) {
    let bad = values.each().filter(|value| !is_label_value(value.text()));
    bad.for_each(|value| faults.invalid(&value, VALUE));
}

/// Whether a LabelSelector selects an object with these labels.
pub(crate) fn matches(selector: &Value, labels: &Value) -> bool {
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    let pairs = members(selector, "/matchLabels").all(|(key, value)| label(key) == value.as_str());
    let expression = |expression: &Value| {
        let value = label(text(expression, "/key"));
        let listed = || {
            list(expression, "/values")
                .iter()
                .any(|one| one.as_str() == value)
        };
        match text(expression, "/operator") {
            "In" => value.is_some() && listed(),
            "NotIn" => value.is_none() || !listed(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    };
    pairs && list(selector, "/matchExpressions").iter().all(expression)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn faulty_selectors_are_named() {
        let object = json!({"s": {"matchLabels": {"-a": "x y"}, "matchExpressions": [
            {"key": "a", "operator": "In"},
            {"key": "a", "operator": "Exists", "values": ["x"]},
            {"key": "a", "operator": "Like"},
            {"key": "a", "operator": "NotIn", "values": ["ok", "not ok"]},
        ]}});
        let mut faults = Faults::default();
        selector(&At::root(&object).get("s"), &mut faults);
        let faults = faults.into_list();
        let expected = [
            "s.matchLabels",
            "s.matchLabels",
            "s.matchExpressions[0].values",
            "s.matchExpressions[1].values",
            "s.matchExpressions[2].operator",
            "s.matchExpressions[3].values[1]",
        ];
        assert_eq!(Faults::paths(&faults), expected);
    }

    #[test]
    fn selectors_match_labels() {
        let labels = json!({"a": "1", "b": "2"});
        let expression = |key: &str, operator: &str, values: &[&str]| {
            let one = json!({"key": key, "operator": operator, "values": values});
            matches(&json!({"matchExpressions": [one]}), &labels)
        };
        assert!(matches(&json!({}), &labels));
        assert!(matches(&json!({"matchLabels": {"a": "1"}}), &labels));
        assert!(!matches(&json!({"matchLabels": {"a": "2"}}), &labels));
        assert!(expression("a", "In", &["1"]) && !expression("c", "In", &["1"]));
        assert!(expression("c", "NotIn", &["1"]) && !expression("a", "NotIn", &["1"]));
        assert!(expression("a", "Exists", &[]) && expression("c", "DoesNotExist", &[]));
    }
}
