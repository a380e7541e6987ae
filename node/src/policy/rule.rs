//! A rule of either kind of policy, as it is judged.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;

use super::peers::{Namespaces, means};
use super::ports::PortSpec;
use super::selector::matches;
use crate::ipcache::Class;
use crate::watches::{Action, ClusterPeer, PodsOf};

/// A rule that speaks of a subject in one direction.
#[derive(Debug)]
pub(super) struct Rule<'a> {
    /// Its number.
    pub(super) number: u32,
    /// What it does; rules of NetworkPolicies accept.
    pub(super) action: Action,
    /// Whom it is about.
    pub(super) peers: Peers<'a>,
    /// What of their traffic.
    pub(super) ports: Vec<PortSpec>,
}

/// The other ends that a rule is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Peers<'a> {
    /// Everybody.
    Everybody,
    /// Peers of a NetworkPolicy of a namespace.
    Network(&'a [NetworkPolicyPeer], &'a str),
    /// Peers of a ClusterNetworkPolicy.
    Cluster(&'a [ClusterPeer]),
}

impl Peers<'_> {
    /// Whether they mean a class. `None` are the addresses that no policy tells apart: only who means
    /// everybody means them.
    pub(super) fn mean(&self, class: Option<&Class>, namespaces: &Namespaces) -> bool {
        match (self, class) {
            (Self::Everybody, _) => true,
            (Self::Cluster(peers), None) => peers.contains(&ClusterPeer::All),
            (Self::Network(..), None) => false,
            (Self::Network(peers, namespace), Some(class)) => peers
                .iter()
                .any(|peer| means(peer, class, namespace, namespaces)),
            (Self::Cluster(peers), Some(class)) => {
                peers.iter().any(|peer| in_peer(peer, class, namespaces))
            }
        }
    }
}

fn in_peer(peer: &ClusterPeer, class: &Class, namespaces: &Namespaces) -> bool {
    match (peer, class) {
        (ClusterPeer::All, _) => true,
        (ClusterPeer::Networks(nets), _) => nets.iter().any(|net| class.blocks().contains(net)),
        (
            ClusterPeer::Pods(pods),
            Class::Pod {
                namespace, labels, ..
            },
        ) => selects(pods, namespace, labels, namespaces),
        (ClusterPeer::Pods(_), _) => false,
    }
}

/// Whether a pod is among those that a ClusterNetworkPolicy means. Of a namespace that is not known
/// yet nothing but its name is: a rule for all namespaces holds there, too.
pub(super) fn selects(
    pods: &PodsOf,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    namespaces: &Namespaces,
) -> bool {
    let in_namespace = match namespaces.get(namespace) {
        Some(labels) => matches(&pods.namespaces, labels),
        None => {
            let name = ("kubernetes.io/metadata.name".into(), namespace.into());
            matches(&pods.namespaces, &BTreeMap::from([name]))
        }
    };
    in_namespace && matches(&pods.pods, labels)
}
