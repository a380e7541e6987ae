//! PodTopologyLabels: a pod says in which zone and region it runs, by the labels of its node. A label
//! that it has already stays; a node that there is not gives none.

use serde_json::{Map, Value, json};

use crate::api::server::Server;
use crate::api::value::{metadata, text};

/// The labels of a node that its pods get.
const LABELS: [&str; 2] = [
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// Labels a new pod that has its node already.
pub(super) fn complete_pod(server: &Server, pod: &mut Value) {
    complete(server, pod, "/spec/nodeName");
}

/// Labels a binding, from which the pod takes them.
pub(in crate::api) fn complete_binding(server: &Server, binding: &mut Value) {
    if matches!(text(binding, "/target/kind"), "" | "Node") {
        complete(server, binding, "/target/name");
    }
}

fn complete(server: &Server, object: &mut Value, named: &str) {
    let node = text(object, named);
    let node = (!node.is_empty()).then(|| server.stored("nodes", None, node));
    if let Some(labels) = node.flatten().as_ref().and_then(labels_of) {
        add_missing(object, &labels);
    }
}

fn labels_of(node: &Value) -> Option<Map<String, Value>> {
    let all = node.pointer("/metadata/labels")?.as_object()?;
    let own = LABELS
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), all.get(key)?.clone())));
    Some(own.collect()).filter(|labels: &Map<_, _>| !labels.is_empty())
}

/// Gives an object those of the labels for whose keys it has none.
pub(in crate::api) fn add_missing(object: &mut Value, labels: &Map<String, Value>) {
    let has = metadata(object)
        .entry("labels")
        .or_insert_with(|| json!({}));
    if has.is_null() {
        *has = json!({});
    }
    if let Some(has) = has.as_object_mut() {
        for (key, value) in labels {
            has.entry(key.as_str()).or_insert_with(|| value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_and_region_are_taken_and_nothing_is_overwritten() {
        let node = json!({"metadata": {"labels": {"a": "b",
            "topology.kubernetes.io/zone": "z1", "topology.kubernetes.io/region": "r1"}}});
        let labels = labels_of(&node).unwrap();
        let mut pod = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "mine"}}});
        add_missing(&mut pod, &labels);
        let expected = json!({"topology.kubernetes.io/zone": "mine",
            "topology.kubernetes.io/region": "r1"});
        assert_eq!(pod["metadata"]["labels"], expected);
        assert_eq!(
            labels_of(&json!({"metadata": {"labels": {"a": "b"}}})),
            None
        );
    }
}
