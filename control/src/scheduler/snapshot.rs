//! What the scheduler knows of the cluster: nodes, and on each what its pods take.
//!
//! A pod that was decided but whose binding the watch has not shown yet is placed like any other
//! (*assumed*), so that two decisions never count on the same room.

use super::resources;
use crate::controllers::runtime::lean::{HostPort, Pod, Resources};
use crate::controllers::runtime::uid::Uid;
use crate::controllers::runtime::{meta, pod};
use k8s_openapi::api::core::v1::Node;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What matters of a placed pod.
#[derive(Debug, Clone)]
pub struct Placed {
    /// What it takes.
    pub requests: Resources,
    /// What it is expected to use, for comparing nodes.
    pub estimate: Resources,
    /// The host ports it listens on.
    pub ports: Box<[HostPort]>,
    /// Pods of one group are spread.
    pub group: Option<Group>,
}

/// Which pods belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Group {
    /// Those of one controller.
    Owner(Uid),
    /// Without a controller, those of a namespace with equal labels.
    Labels(Box<str>),
}

impl Placed {
    /// Reads a pod.
    pub fn read(pod: &Pod) -> Self {
        Placed {
            requests: resources::of_pod(pod),
            estimate: resources::estimate_of_pod(pod),
            ports: host_ports(pod),
            group: group(pod),
        }
    }
}

/// One node with its pods by uid.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// The node; absent while pods are known on a node that is not (or no more).
    pub node: Option<Arc<Node>>,
    /// What it offers.
    pub allocatable: Resources,
    /// What its pods take together.
    pub requested: Resources,
    /// What they are expected to use together.
    pub estimated: Resources,
    /// Its pods.
    pub pods: HashMap<Uid, Placed>,
}

/// The cluster as the scheduler sees it.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    hosts: BTreeMap<Arc<str>, Host>,
    places: HashMap<Uid, Arc<str>>,
}

impl Snapshot {
    /// The nodes that exist, by name.
    pub fn hosts(&self) -> impl Iterator<Item = (&str, &Node, &Host)> {
        self.hosts
            .iter()
            .filter_map(|(name, host)| Some((name.as_ref(), host.node.as_deref()?, host)))
    }

    /// Adds or replaces a node.
    pub fn set_node(&mut self, name: &str, node: Arc<Node>) {
        let host = self.hosts.entry(name.into()).or_default();
        host.allocatable = allocatable(&node);
        host.node = Some(node);
    }

    /// Removes a node; its pods stay known until they are gone themselves.
    pub fn remove_node(&mut self, name: &str) {
        if let Some(host) = self.hosts.get_mut(name) {
            host.node = None;
        }
        self.drop_if_empty(name);
    }

    /// Places a pod, moving it if it was elsewhere.
    pub fn place(&mut self, uid: &str, node: &str, placed: Placed) {
        self.remove_pod(uid);
        let name = self.hosts.get_key_value(node).map(|(name, _)| name.clone());
        let name = name.unwrap_or_else(|| node.into());
        let host = self.hosts.entry(name.clone()).or_default();
        host.requested.add(&placed.requests);
        host.estimated.add(&placed.estimate);
        host.pods.insert(uid.into(), placed);
        self.places.insert(uid.into(), name);
    }

    /// Removes a pod.
    pub fn remove_pod(&mut self, uid: &str) {
        let uid = Uid::from(uid);
        let Some(node) = self.places.remove(&uid) else {
            return;
        };
        if let Some(host) = self.hosts.get_mut(&node)
            && let Some(placed) = host.pods.remove(&uid)
        {
            host.requested.subtract(&placed.requests);
            host.estimated.subtract(&placed.estimate);
        }
        self.drop_if_empty(&node);
    }

    /// Whether the pod has a place already.
    pub fn is_placed(&self, uid: &str) -> bool {
        self.places.contains_key(&Uid::from(uid))
    }

    fn drop_if_empty(&mut self, name: &str) {
        if self
            .hosts
            .get(name)
            .is_some_and(|host| host.node.is_none() && host.pods.is_empty())
        {
            self.hosts.remove(name);
        }
    }
}

fn allocatable(node: &Node) -> Resources {
    let status = node.status.as_ref();
    let amounts = status.and_then(|it| it.allocatable.as_ref().or(it.capacity.as_ref()));
    Resources::read(
        amounts
            .into_iter()
            .flatten()
            .map(|(name, it)| (name, &it.0)),
    )
}

fn host_ports(pod: &Pod) -> Box<[HostPort]> {
    let containers = pod.spec.containers.iter();
    let ports = containers.flat_map(|container| container.ports.iter());
    ports.filter_map(|port| port.on_host()).collect()
}

fn group(pod: &Pod) -> Option<Group> {
    if let Some(owner) = meta::controller_of(&pod.metadata) {
        return Some(Group::Owner(owner.uid.as_str().into()));
    }
    let labels = pod
        .metadata
        .labels
        .as_ref()
        .filter(|labels| !labels.is_empty())?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let pairs: Vec<_> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let text = format!("{namespace}/{}", pairs.join(","));
    Some(Group::Labels(text.into()))
}

/// Whether the pod takes room on its node.
pub fn takes_room(pod: &Pod) -> bool {
    !pod::node_name(pod).is_empty() && !pod::is_finished(pod)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asking(cpu: &str) -> Placed {
        let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
        Placed::read(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn a_pod_counts_once_wherever_it_moves() {
        let mut snapshot = Snapshot::default();
        snapshot.set_node("n", Arc::new(Node::default()));
        snapshot.place("u", "n", asking("1"));
        snapshot.place("u", "n", asking("300m"));
        let requested =
            |snapshot: &Snapshot| snapshot.hosts().next().unwrap().2.requested.get("cpu");
        assert_eq!(requested(&snapshot), 300);
        snapshot.remove_pod("u");
        snapshot.remove_pod("u");
        assert_eq!(requested(&snapshot), 0);
    }

    #[test]
    fn a_node_that_returns_still_has_its_pods() {
        let mut snapshot = Snapshot::default();
        snapshot.set_node("n", Arc::new(Node::default()));
        snapshot.place("u", "n", asking("1"));
        snapshot.remove_node("n");
        assert_eq!(snapshot.hosts().count(), 0);
        snapshot.set_node("n", Arc::new(Node::default()));
        assert_eq!(
            snapshot.hosts().next().unwrap().2.requested.get("cpu"),
            1000
        );
    }
}
