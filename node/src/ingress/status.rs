//! Writes the nodes' addresses into the Ingresses that the proxy serves.
//!
//! One node writes for all: the ready node whose name sorts first. Two nodes may both believe
//! that for a moment; they write the same, so no lease is needed.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::networking::v1::{Ingress, IngressLoadBalancerIngress};
use kube::Api;
use kube::api::{Patch, PatchParams};
use tokio::sync::Notify;

use super::plan;
use crate::Shared;
use crate::follow::follow;

/// How long until a failed write is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// An Ingress whose status is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    namespace: String,
    name: String,
}

/// Addresses of the ready nodes, in the order of their names.
pub fn addresses(nodes: &[Arc<Node>]) -> Vec<String> {
    let mut ready: Vec<&Arc<Node>> = nodes.iter().filter(|node| is_ready(node)).collect();
    ready.sort_by_key(|node| node.metadata.name.clone());
    ready.into_iter().filter_map(|node| address(node)).collect()
}

/// Name of the node that writes.
pub fn leader(nodes: &[Arc<Node>]) -> Option<String> {
    let ready = nodes.iter().filter(|node| is_ready(node));
    ready.filter_map(|node| node.metadata.name.clone()).min()
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    ready.any(|condition| condition.status == "True")
}

/// The address by which the world reaches a node: external before internal.
fn address(node: &Node) -> Option<String> {
    let all = node.status.as_ref()?.addresses.as_ref()?;
    let of_type = |kind: &str| all.iter().find(|address| address.type_ == kind);
    let address = of_type("ExternalIP").or_else(|| of_type("InternalIP"))?;
    Some(address.address.clone())
}

/// What has to be written so that every Ingress of ours shows these addresses.
pub fn plan(ingresses: &[&Ingress], addresses: &[String]) -> Vec<Write> {
    let differs = |ingress: &&&Ingress| shown(ingress) != addresses;
    let write = |ingress: &&Ingress| {
        Some(Write {
            namespace: ingress.metadata.namespace.clone()?,
            name: ingress.metadata.name.clone()?,
        })
    };
    ingresses.iter().filter(differs).filter_map(write).collect()
}

fn shown(ingress: &Ingress) -> Vec<String> {
    let status = ingress.status.as_ref();
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let entries = balancer.and_then(|balancer| balancer.ingress.as_ref());
    let ip = |entry: &IngressLoadBalancerIngress| entry.ip.clone().unwrap_or_default();
    entries.into_iter().flatten().map(ip).collect()
}

/// Keeps the statuses right until dropped.
pub async fn run(shared: &Shared) {
    let watches = &shared.watches;
    tokio::join!(
        watches.nodes.synced(),
        watches.ingresses.synced(),
        watches.ingress_classes.synced()
    );
    let changed = Notify::new();
    let tables = vec![
        watches.nodes.subscribe(),
        watches.ingresses.subscribe(),
        watches.ingress_classes.subscribe(),
    ];
    let write = async {
        loop {
            changed.notified().await;
            while !reconcile(shared).await {
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    tokio::select! {
        () = follow(tables, || changed.notify_one()) => {}
        () = write => {}
    }
}

/// Writes what differs, when this node is the one that writes; `false` when something failed.
async fn reconcile(shared: &Shared) -> bool {
    let nodes = shared.watches.nodes.list();
    if leader(&nodes).as_ref() != Some(&shared.config.node_name) {
        return true;
    }
    let addresses = addresses(&nodes);
    let ingresses = shared.watches.ingresses.list();
    let ours = plan::ours(&ingresses, &shared.watches.ingress_classes.list());
    let mut all_well = true;
    for target in plan(&ours, &addresses) {
        if let Err(error) = write(&shared.client, &target, &addresses).await {
            tracing::warn!(namespace = target.namespace, ingress = target.name, %error, "status not written");
            all_well = false;
        }
    }
    all_well
}

async fn write(
    client: &kube::Client,
    target: &Write,
    addresses: &[String],
) -> Result<(), kube::Error> {
    let entries: Vec<_> = addresses
        .iter()
        .map(|ip| serde_json::json!({"ip": ip}))
        .collect();
    let patch = serde_json::json!({"status": {"loadBalancer": {"ingress": entries}}});
    let api = Api::<Ingress>::namespaced(client.clone(), &target.namespace);
    let outcome = api
        .patch_status(&target.name, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    match outcome {
        // Gone since the plan was made.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        outcome => outcome.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn node(name: &str, ready: &str, ip: &str) -> Arc<Node> {
        Arc::new(
            from_value(json!({"metadata": {"name": name}, "status": {
                "conditions": [{"type": "Ready", "status": ready}],
                "addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}]}}))
            .unwrap(),
        )
    }

    fn ingress(name: &str, ips: &[&str]) -> Ingress {
        let entries: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        from_value(json!({"metadata": {"name": name, "namespace": "n"},
            "status": {"loadBalancer": {"ingress": entries}}}))
        .unwrap()
    }

    #[test]
    fn the_first_ready_node_writes_the_addresses_of_all_ready_ones() {
        let nodes = [
            node("c", "True", "3"),
            node("a", "False", "1"),
            node("b", "True", "2"),
        ];
        assert_eq!(leader(&nodes).as_deref(), Some("b"));
        assert_eq!(addresses(&nodes), ["2", "3"]);
        assert_eq!(leader(&[node("a", "Unknown", "1")]), None);
    }

    #[test]
    fn only_what_differs_is_written() {
        let (right, wrong, none) = (
            ingress("a", &["2", "3"]),
            ingress("b", &["3", "2"]),
            ingress("c", &[]),
        );
        let addresses = ["2".to_owned(), "3".to_owned()];
        let names: Vec<String> = plan(&[&right, &wrong, &none], &addresses)
            .into_iter()
            .map(|write| write.name)
            .collect();
        assert_eq!(names, ["b", "c"]);
        assert!(plan(&[&none], &[]).is_empty());
    }
}
