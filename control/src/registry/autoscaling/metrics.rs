//! The measures of an autoscaler: their rules, and their text in tables.

use serde_json::{Value, json};

use crate::registry::rules::{At, Faults, one_of, required, required_one_of};
use crate::registry::value::{int, list, text};

/// Where the parts of each type of metric are.
const TYPES: &[(&str, &str)] = &[
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];
/// Metrics that the table shows.
const SHOWN: usize = 2;

/// `cpu: 10%/80%, …` for the first metrics.
pub(super) fn targets(scaler: &Value) -> String {
    let metrics = list(scaler, "/spec/metrics");
    let current = list(scaler, "/status/currentMetrics");
    let texts = metrics
        .iter()
        .enumerate()
        .take(SHOWN)
        .map(|(index, metric)| target(metric, current.get(index)));
    let shown = texts.collect::<Vec<_>>().join(", ");
    match metrics.len() {
        0 => "<none>".to_owned(),
        all if all > SHOWN => format!("{shown} + {} more...", all - SHOWN),
        _ => shown,
    }
}

fn target(metric: &Value, current: Option<&Value>) -> String {
    let kind = text(metric, "/type");
    let part = TYPES.iter().find(|(name, _)| *name == kind);
    let Some((_, part)) = part else {
        return "<unknown type>".to_owned();
    };
    let wanted = metric.get(part).unwrap_or(&Value::Null);
    let now = current
        .and_then(|current| current.get(part))
        .map(|it| &it["current"]);
    let name = match text(wanted, "/name") {
        "" => String::new(),
        name => format!("{name}: "),
    };
    let utilization = int(wanted, "/target/averageUtilization");
    if let Some(wanted) = utilization {
        let now = now.and_then(|now| int(now, "/averageUtilization"));
        let now = now.map_or("<unknown>".to_owned(), |now| format!("{now}%"));
        return format!("{name}{now}/{wanted}%");
    }
    let (key, suffix) = match text(wanted, "/target/averageValue") {
        "" => ("value", ""),
        _ if kind == "Pods" || kind.ends_with("Resource") => ("averageValue", ""),
        _ => ("averageValue", " (avg)"),
    };
    let now = now.map_or("", |now| text(now, &format!("/{key}")));
    let now = if now.is_empty() { "<unknown>" } else { now };
    let wanted = text(wanted, &format!("/target/{key}"));
    format!("{name}{now}/{wanted}{suffix}")
}

/// The rules of the list of metrics.
pub(super) fn validate(metrics: &At<'_>, faults: &mut Faults) {
    let names: Vec<_> = TYPES.iter().map(|(name, _)| *name).collect();
    for metric in metrics.each() {
        required_one_of(&metric.get("type"), &names, faults);
        let kind = metric.get("type");
        let Some((_, part)) = TYPES.iter().find(|(name, _)| *name == kind.text()) else {
            continue;
        };
        let source = metric.get(part);
        if !source.is_set() {
            faults.required(
                &source,
                "must populate information for the given metric source",
            );
            continue;
        }
        if kind.text().ends_with("Resource") {
            required(&source.get("name"), faults);
        } else {
            required(&source.dig(&["metric", "name"]), faults);
        }
        let target = source.get("target");
        let types = &["AverageValue", "Utilization", "Value"];
        one_of(&target.get("type"), types, faults);
        let values = ["averageUtilization", "averageValue", "value"];
        if values.iter().all(|value| !target.get(value).is_set()) {
            faults.required(&target, "must specify a target value");
        }
    }
}

/// The target of processor use that version 1 has a field for.
pub(super) fn cpu_utilization(percent: &Value) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": percent}}})
}

/// Whether the metric is such a target.
pub(super) fn is_cpu_utilization(metric: &Value) -> bool {
    text(metric, "/resource/name") == "cpu"
        && int(metric, "/resource/target/averageUtilization").is_some()
}
