//! HorizontalPodAutoscaler: as many replicas as the load asks for.

use serde_json::{Value, json};

use super::metrics;
use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, integer, name, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, one_of, range, required};
use crate::registry::value::{child, default, default_text, int, put, text};

/// HorizontalPodAutoscaler of autoscaling/v2.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "autoscaling",
    version: "v2",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    status: true,
    inert: true,
    columns: &[
        NAME,
        string("Reference"),
        string("Targets"),
        string("MinPods"),
        string("MaxPods"),
        integer("Replicas"),
        AGE,
    ],
    cells,
    default: set_defaults,
    prepare: |new, old| {
        prepare::status(new, old);
        if old.is_none() {
            put(new, "status", Some(json!({"desiredReplicas": 0})));
        }
    },
    validate,
    ..Kind::PLAIN
};

pub(super) fn cells(scaler: &Value, now: i64) -> Vec<Value> {
    let target = |key: &str| text(scaler, &format!("/spec/scaleTargetRef/{key}"));
    let least = int(scaler, "/spec/minReplicas");
    let least = least.map_or("<unset>".to_owned(), |least| least.to_string());
    vec![
        name(scaler),
        format!("{}/{}", target("kind"), target("name")).into(),
        metrics::targets(scaler).into(),
        least.into(),
        int(scaler, "/spec/maxReplicas")
            .unwrap_or(0)
            .to_string()
            .into(),
        int(scaler, "/status/currentReplicas").unwrap_or(0).into(),
        age(scaler, now),
    ]
}

fn set_defaults(scaler: &mut Value) {
    let Some(spec) = child(scaler, "spec") else {
        return;
    };
    default(spec, "minReplicas", 1);
    let none = |spec: &Value| spec.get("metrics").is_none_or(|list| list == &json!([]));
    if none(spec) {
        let cpu = json!([{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 80}}}]);
        put(spec, "metrics", Some(cpu));
    }
    if let Some(behavior) = spec.get_mut("behavior").filter(|it| it.is_object()) {
        behavior_defaults(behavior);
    }
}

/// What scaling up and down does unless told otherwise.
fn behavior_defaults(behavior: &mut Value) {
    let percent = |value: i64| json!({"type": "Percent", "value": value, "periodSeconds": 15});
    let up = json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, percent(100)]);
    for (direction, policies) in [("scaleUp", up), ("scaleDown", json!([percent(100)]))] {
        if let Some(rules) = child(behavior, direction) {
            default_text(rules, "selectPolicy", "Max");
            default(rules, "policies", policies);
            if direction == "scaleUp" {
                default(rules, "stabilizationWindowSeconds", 0);
            }
        }
    }
}

pub(super) fn validate(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    let target = spec.get("scaleTargetRef");
    required(&target.get("kind"), &mut faults);
    required(&target.get("name"), &mut faults);
    let (least, most) = (spec.get("minReplicas"), spec.get("maxReplicas"));
    range(&least, 1..=i64::from(i32::MAX), &mut faults);
    match (least.int(), most.int().unwrap_or(0)) {
        (_, ..1) => faults.invalid(&most, "must be greater than 0"),
        (Some(least), most_count) if most_count < least => {
            faults.invalid(&most, "must be greater than or equal to `minReplicas`");
        }
        _ => {}
    }
    metrics::validate(&spec.get("metrics"), &mut faults);
    for direction in ["scaleUp", "scaleDown"] {
        let rules = spec.dig(&["behavior", direction]);
        let window = rules.get("stabilizationWindowSeconds");
        range(&window, 0..=3600, &mut faults);
        one_of(
            &rules.get("selectPolicy"),
            &["Disabled", "Max", "Min"],
            &mut faults,
        );
        for policy in rules.get("policies").each() {
            one_of(&policy.get("type"), &["Percent", "Pods"], &mut faults);
            range(&policy.get("value"), 1..=i64::from(i32::MAX), &mut faults);
            range(&policy.get("periodSeconds"), 1..=1800, &mut faults);
        }
    }
    faults.into_list()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_use_is_the_measure_unless_told_otherwise() {
        let mut scaler = json!({"spec": {"maxReplicas": 3,
            "scaleTargetRef": {"kind": "Deployment", "name": "web"}}});
        set_defaults(&mut scaler);
        assert_eq!(validate(&scaler, None), []);
        assert_eq!(metrics::targets(&scaler), "cpu: <unknown>/80%");
        scaler["spec"]["minReplicas"] = 5.into();
        assert_eq!(
            Faults::paths(&validate(&scaler, None)),
            ["spec.maxReplicas"]
        );
    }
}
