//! Label selectors as text, the way tables and the Scale status write them.

use serde_json::Value;

use super::value::{list, members, text};

/// A plain map of labels: `a=b,c=d`, or `<none>`.
pub(crate) fn map_text(labels: Option<&Value>) -> String {
    let pairs = pairs(labels);
    if pairs.is_empty() {
        "<none>".to_owned()
    } else {
        pairs.join(",")
    }
}

/// A LabelSelector: `a=b,c in (d,e),!f`; `<none>` if it selects everything.
pub(crate) fn selector_text(selector: Option<&Value>) -> String {
    let Some(selector) = selector else {
        return "<none>".to_owned();
    };
    let mut terms = pairs(selector.get("matchLabels"));
    terms.extend(
        list(selector, "/matchExpressions")
            .iter()
            .map(expression_text),
    );
    if terms.is_empty() {
        "<none>".to_owned()
    } else {
        terms.join(",")
    }
}

fn pairs(labels: Option<&Value>) -> Vec<String> {
    let Some(labels) = labels else {
        return Vec::new();
    };
    let mut pairs: Vec<_> = members(labels, "")
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    pairs
}

fn expression_text(expression: &Value) -> String {
    let key = text(expression, "/key");
    let mut values: Vec<_> = list(expression, "/values")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    values.sort_unstable();
    match text(expression, "/operator") {
        "In" => format!("{key} in ({})", values.join(",")),
        "NotIn" => format!("{key} notin ({})", values.join(",")),
        "DoesNotExist" => format!("!{key}"),
        _ => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_read_like_kubectl_flags() {
        let selector = json!({
            "matchLabels": {"b": "2", "a": "1"},
            "matchExpressions": [
                {"key": "c", "operator": "In", "values": ["y", "x"]},
                {"key": "d", "operator": "NotIn", "values": ["z"]},
                {"key": "e", "operator": "Exists"},
                {"key": "f", "operator": "DoesNotExist"},
            ],
        });
        assert_eq!(
            selector_text(Some(&selector)),
            "a=1,b=2,c in (x,y),d notin (z),e,!f"
        );
        assert_eq!(selector_text(Some(&json!({}))), "<none>");
        assert_eq!(selector_text(None), "<none>");
        assert_eq!(map_text(None), "<none>");
    }
}
