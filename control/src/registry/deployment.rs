//! Deployment: replicas of a pod, replaced step by step when the template changes.

use serde_json::{Value, json};

use super::age::age;
use super::column::{AGE, NAME, integer, name, string, wide};
use super::kind::{Kind, ScalePaths};
use super::pod_spec::{template_defaults, wide_cells};
use super::prepare;
use super::value::{child, default, default_text, int, text};

/// Deployment of apps/v1.
pub(super) static KIND: Kind = Kind {
    group: "apps",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    status: true,
    scale: Some(ScalePaths {
        spec_replicas: "/spec/replicas",
        status_replicas: "/status/replicas",
        selector: "/spec/selector",
    }),
    columns: &[
        NAME,
        string("Ready"),
        integer("Up-to-date"),
        integer("Available"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells,
    default: set_defaults,
    prepare: prepare::status_and_generation,
    ..Kind::PLAIN
};

fn cells(deployment: &Value, now: i64) -> Vec<Value> {
    let count = |pointer: &str| int(deployment, pointer).unwrap_or(0);
    let ready = format!(
        "{}/{}",
        count("/status/readyReplicas"),
        count("/spec/replicas")
    );
    let mut cells = vec![
        name(deployment),
        ready.into(),
        count("/status/updatedReplicas").into(),
        count("/status/availableReplicas").into(),
        age(deployment, now),
    ];
    cells.extend(wide_cells(deployment));
    cells
}

fn set_defaults(deployment: &mut Value) {
    let Some(spec) = child(deployment, "spec") else {
        return;
    };
    if let Some(template) = child(spec, "template") {
        template_defaults(template);
    }
    default(spec, "replicas", 1);
    default(spec, "revisionHistoryLimit", 10);
    default(spec, "progressDeadlineSeconds", 600);
    let Some(strategy) = child(spec, "strategy") else {
        return;
    };
    default_text(strategy, "type", "RollingUpdate");
    if text(strategy, "/type") == "RollingUpdate"
        && let Some(rolling) = child(strategy, "rollingUpdate")
    {
        default(rolling, "maxUnavailable", json!("25%"));
        default(rolling, "maxSurge", json!("25%"));
    }
}
