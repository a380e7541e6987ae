//! The objects of the load, as JSON; pure.

use bytes::Bytes;
use serde_json::{Value, json};

/// Namespace of everything that this program makes.
pub(crate) const NAMESPACE: &str = "load";

/// Bytes of the text in every ConfigMap.
const PAYLOAD: usize = 512;

/// A ConfigMap with half a kibibyte of text.
pub(crate) fn config_map(name: &str) -> Bytes {
    bytes(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"text": "x".repeat(PAYLOAD)},
    }))
}

/// A NetworkPolicy that lets everybody in to one port of the pods with this label `app`.
pub(crate) fn network_policy(name: &str, app: &str, port: u16) -> Bytes {
    bytes(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": port, "protocol": "TCP"}]}]},
    }))
}

/// A node as its daemon registers it.
pub(crate) fn node(number: usize) -> Bytes {
    let name = node_name(number);
    let resources = json!({"cpu": "8", "memory": "32Gi", "pods": "110"});
    bytes(&json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64", "topology.kubernetes.io/zone": format!("z{}", number % 3)}},
        "status": {"capacity": resources, "allocatable": resources},
    }))
}

/// The lease of a node.
pub(crate) fn lease(node: &str) -> Bytes {
    bytes(&json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": node},
        "spec": {"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": renewal()},
    }))
}

/// Now, as leases have it.
pub(crate) fn renewal() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// The name of a node.
pub(crate) fn node_name(number: usize) -> String {
    format!("node-{number:05}")
}

/// A pod as a Deployment makes it, bound to one of `nodes` nodes.
pub(crate) fn pod(number: usize, nodes: usize) -> Bytes {
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10});
    bytes(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("web-7d4b9c6f5-{number:06}"), "labels": {
            "app": format!("web-{}", number % 500), "pod-template-hash": "7d4b9c6f5"}},
        "spec": {
            "nodeName": node_name(number % nodes.max(1)),
            "containers": [{
                "name": "web", "image": "registry.example/web:1.27",
                "ports": [{"containerPort": 8080}],
                "env": [{"name": "MODE", "value": "production"}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                "readinessProbe": probe, "livenessProbe": probe,
            }],
        },
    }))
}

/// A namespace.
pub(crate) fn namespace(name: &str) -> Bytes {
    bytes(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
}

/// A service without selector.
pub(crate) fn service(name: &str, port: u16) -> Bytes {
    bytes(&json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": [{"port": port, "protocol": "TCP"}]},
    }))
}

/// The endpoints of the service of the same name.
pub(crate) fn endpoint_slice(name: &str, addresses: &[String], port: u16) -> Bytes {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|a| json!({"addresses": [a], "conditions": {"ready": true}}))
        .collect();
    bytes(&json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "", "port": port, "protocol": "TCP"}],
    }))
}

fn bytes(value: &Value) -> Bytes {
    value.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_an_endpoint_of_its_own() {
        let text = endpoint_slice("a", &["10.0.0.1".into(), "10.0.0.2".into()], 9000);
        let slice: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(slice["endpoints"].as_array().unwrap().len(), 2);
        assert_eq!(
            slice["metadata"]["labels"]["kubernetes.io/service-name"],
            "a"
        );
    }

    #[test]
    fn a_config_map_is_a_little_more_than_its_text() {
        let size = config_map("a").len();
        assert!(size > PAYLOAD && size < PAYLOAD + 200, "{size}");
    }
}
