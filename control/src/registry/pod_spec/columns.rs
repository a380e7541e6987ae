//! What the kinds with a pod template share: the cells about its pods.

use serde_json::Value;

use crate::registry::selector::selector_text;
use crate::registry::value::{list, text};

/// Containers, images and selector of a workload, for `-o wide`.
pub(in crate::registry) fn wide_cells(workload: &Value) -> [Value; 3] {
    let [containers, images] = container_cells(workload, "/spec/template/spec/containers");
    let selector = selector_text(workload.pointer("/spec/selector"));
    [containers, images, selector.into()]
}

/// Names and images of the containers in a list.
pub(in crate::registry) fn container_cells(object: &Value, pointer: &str) -> [Value; 2] {
    let containers = list(object, pointer);
    let join = |pointer: &str| {
        containers
            .iter()
            .map(|container| text(container, pointer))
            .collect::<Vec<_>>()
            .join(",")
    };
    [join("/name").into(), join("/image").into()]
}
