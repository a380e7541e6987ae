//! The form of a Scale, whatever the kind.

use serde_json::{Value, json};

use crate::api::value::{integer, items, text};
use crate::registry::kind::ScalePaths;

/// The object's `autoscaling/v1 Scale`.
pub(super) fn scale_of(paths: &ScalePaths, object: &Value) -> Value {
    let replicas = |pointer| integer(object, pointer).unwrap_or(0);
    let metadata: Value = [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ]
    .iter()
    .filter_map(|key| Some(((*key).to_owned(), object["metadata"].get(key)?.clone())))
    .collect::<serde_json::Map<_, _>>()
    .into();
    let selector = object
        .pointer(paths.selector)
        .map(selector_text)
        .unwrap_or_default();
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": replicas(paths.spec_replicas)},
        "status": {"replicas": replicas(paths.status_replicas), "selector": selector}})
}

/// A LabelSelector or a map of labels as text; text is one already.
fn selector_text(selector: &Value) -> String {
    if let Some(text) = selector.as_str() {
        return text.to_owned();
    }
    let parts = ["matchLabels", "matchExpressions"];
    let plain = parts.iter().all(|part| selector.get(part).is_none());
    let labels = if plain {
        Some(selector)
    } else {
        selector.get("matchLabels")
    };
    let labels = labels.and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    let labels = labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    let expressions = items(selector, "/matchExpressions")
        .iter()
        .map(expression_text);
    labels.chain(expressions).collect::<Vec<_>>().join(",")
}

fn expression_text(expression: &Value) -> String {
    let key = text(expression, "/key");
    let values = items(expression, "/values")
        .iter()
        .filter_map(Value::as_str);
    let values = values.collect::<Vec<_>>().join(",");
    match text(expression, "/operator") {
        "In" => format!("{key} in ({values})"),
        "NotIn" => format!("{key} notin ({values})"),
        "DoesNotExist" => format!("!{key}"),
        _ => key.to_owned(),
    }
}
