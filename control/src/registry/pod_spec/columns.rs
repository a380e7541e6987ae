//! What Deployment and ReplicaSet share: the cells about the pods of a template.

use serde_json::Value;

use crate::registry::selector::selector_text;
use crate::registry::value::{list, text};

/// Containers, images and selector of a workload, for `-o wide`.
pub(in crate::registry) fn wide_cells(workload: &Value) -> [Value; 3] {
    let containers = list(workload, "/spec/template/spec/containers");
    let join = |pointer: &str| {
        containers
            .iter()
            .map(|container| text(container, pointer))
            .collect::<Vec<_>>()
            .join(",")
    };
    let selector = selector_text(workload.pointer("/spec/selector"));
    [join("/name").into(), join("/image").into(), selector.into()]
}
