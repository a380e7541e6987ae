//! HorizontalPodAutoscaler in the form of version 1: processor use has a field, and what version 2
//! knows beyond it stands in annotations, so that it survives a client of version 1.

use serde_json::{Value, json};

use super::metrics::{cpu_utilization, is_cpu_utilization};
use super::v2;
use crate::registry::column::{AGE, NAME, integer, string};
use crate::registry::kind::{Conversion, Kind};
use crate::registry::value::{child, default, int, put, text};

/// HorizontalPodAutoscaler of autoscaling/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "autoscaling",
    version: "v1",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    status: true,
    inert: true,
    stored_as: Some(Conversion {
        kind: &v2::KIND,
        to_stored,
        from_stored,
    }),
    columns: &[
        NAME,
        string("Reference"),
        string("Targets"),
        string("MinPods"),
        string("MaxPods"),
        integer("Replicas"),
        AGE,
    ],
    cells: |object, now| {
        let mut stored = object.clone();
        to_stored(&mut stored);
        v2::cells(&stored, now)
    },
    default: |object| {
        if let Some(spec) = child(object, "spec") {
            default(spec, "minReplicas", 1);
        }
    },
    ..Kind::PLAIN
};

/// What has no field in version 1: the annotation that holds it, and where version 2 has it.
const KEPT: [(&str, &str, &str); 4] = [
    ("autoscaling.alpha.kubernetes.io/metrics", "spec", "metrics"),
    (
        "autoscaling.alpha.kubernetes.io/behavior",
        "spec",
        "behavior",
    ),
    (
        "autoscaling.alpha.kubernetes.io/current-metrics",
        "status",
        "currentMetrics",
    ),
    (
        "autoscaling.alpha.kubernetes.io/conditions",
        "status",
        "conditions",
    ),
];

fn to_stored(object: &mut Value) {
    put(object, "apiVersion", Some("autoscaling/v2".into()));
    for (annotation, part, field) in KEPT {
        let Some(kept) = take_annotation(object, annotation) else {
            continue;
        };
        if let (Ok(kept), Some(part)) = (serde_json::from_str(&kept), child(object, part)) {
            put(part, field, Some(kept));
        }
    }
    if let Some(spec) = child(object, "spec") {
        let percent = spec.get("targetCPUUtilizationPercentage").cloned();
        put(spec, "targetCPUUtilizationPercentage", None);
        if let Some(percent) = percent.filter(|percent| !percent.is_null()) {
            let others = spec.get("metrics").and_then(Value::as_array).cloned();
            let mut all = vec![cpu_utilization(&percent)];
            all.extend(others.into_iter().flatten());
            put(spec, "metrics", Some(all.into()));
        }
    }
    if let Some(status) = object.get_mut("status") {
        let percent = status.get("currentCPUUtilizationPercentage").cloned();
        put(status, "currentCPUUtilizationPercentage", None);
        if let Some(percent) = percent {
            let cpu = json!({"type": "Resource", "resource": {"name": "cpu",
                "current": {"averageUtilization": percent, "averageValue": "0"}}});
            default(status, "currentMetrics", json!([cpu]));
        }
    }
}

fn from_stored(object: &mut Value) {
    put(object, "apiVersion", Some("autoscaling/v1".into()));
    split_metrics(object);
    let current = object
        .pointer("/status/currentMetrics")
        .and_then(Value::as_array);
    let mut current = current.into_iter().flatten();
    let cpu = current.find(|metric| text(metric, "/resource/name") == "cpu");
    let percent = cpu.and_then(|metric| int(metric, "/resource/current/averageUtilization"));
    if let (Some(percent), Some(status)) = (percent, object.get_mut("status")) {
        put(
            status,
            "currentCPUUtilizationPercentage",
            Some(percent.into()),
        );
    }
    for (annotation, part, field) in KEPT {
        let taken = object.get_mut(part).and_then(Value::as_object_mut);
        let Some(kept) = taken.and_then(|part| part.remove(field)) else {
            continue;
        };
        if kept.as_array().is_none_or(|list| !list.is_empty())
            && let Some(metadata) = child(object, "metadata")
            && let Some(annotations) = child(metadata, "annotations")
        {
            put(annotations, annotation, Some(kept.to_string().into()));
        }
    }
}

/// The first target of processor use becomes the field of version 1.
fn split_metrics(object: &mut Value) {
    let Some(spec) = object.get_mut("spec") else {
        return;
    };
    let Some(metrics) = spec.get_mut("metrics").and_then(Value::as_array_mut) else {
        return;
    };
    if let Some(index) = metrics.iter().position(is_cpu_utilization) {
        let metric = metrics.remove(index);
        let percent = metric
            .pointer("/resource/target/averageUtilization")
            .cloned();
        put(spec, "targetCPUUtilizationPercentage", percent);
    }
}

fn take_annotation(object: &mut Value, annotation: &str) -> Option<String> {
    let annotations = object.pointer_mut("/metadata/annotations")?;
    let taken = annotations.as_object_mut()?.remove(annotation)?;
    taken.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_of_version_1_loses_nothing() {
        let stored = json!({"apiVersion": "autoscaling/v2", "metadata": {"annotations": {}},
            "spec": {"maxReplicas": 3, "metrics": [cpu_utilization(&json!(50)),
                {"type": "Pods", "pods": {"metric": {"name": "hits"},
                    "target": {"type": "AverageValue", "averageValue": "1k"}}}],
                "behavior": {"scaleUp": {"selectPolicy": "Min"}}},
            "status": {"desiredReplicas": 0}});
        let mut object = stored.clone();
        from_stored(&mut object);
        assert_eq!(object["spec"]["targetCPUUtilizationPercentage"], 50);
        assert_eq!(object["spec"].get("metrics"), None);
        to_stored(&mut object);
        assert_eq!(object, stored);
    }
}
