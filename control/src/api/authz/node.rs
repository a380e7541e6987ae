//! What a node may do: read what its data path and its pods need, write what is its own.
//!
//! As Kubernetes' node authorizer does, Secrets, ConfigMaps and service accounts are open as far as
//! a pod bound to the node refers to them. What bodies may say is checked at admission.

use super::Facts;
use super::references::References;
use super::rule::{Rule, Scope, allow};
use crate::api::request::ResourcePath;
use crate::api::value::text;

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["update", "patch"];

/// All that a node may do.
pub(super) const RULES: &[Rule] = &[
    allow(
        "",
        &["pods", "nodes", "services", "endpoints", "namespaces"],
        READ,
        Scope::All,
    ),
    allow("discovery.k8s.io", &["endpointslices"], READ, Scope::All),
    allow(
        "networking.k8s.io",
        &["networkpolicies", "ingresses", "ingressclasses"],
        READ,
        Scope::All,
    ),
    allow(
        "policy.networking.k8s.io",
        &["clusternetworkpolicies"],
        READ,
        Scope::All,
    ),
    allow(
        "networking.k8s.io",
        &["ingresses/status"],
        WRITE,
        Scope::All,
    ),
    allow(
        "certificates.k8s.io",
        &["certificatesigningrequests"],
        &["create", "get", "list", "watch"],
        Scope::All,
    ),
    allow("", &["events"], &["create", "update", "patch"], Scope::All),
    // The name is in the body: admission looks at it.
    allow("", &["nodes"], &["create"], Scope::All),
    allow("", &["nodes", "nodes/status"], WRITE, Scope::OwnName),
    allow("", &["pods"], &["delete"], Scope::OwnPods),
    allow("", &["pods/status"], WRITE, Scope::OwnPods),
    allow(
        "coordination.k8s.io",
        &["leases"],
        &["get", "create", "update", "patch", "delete"],
        Scope::OwnLease,
    ),
    allow("", &["secrets", "configmaps"], READ, Scope::Referenced),
    allow("", &["serviceaccounts"], &["get"], Scope::Referenced),
    allow(
        "",
        &["serviceaccounts/token"],
        &["create"],
        Scope::Referenced,
    ),
];

/// Whether the node may.
pub(super) fn may(node: &str, verb: &str, path: &ResourcePath, facts: &dyn Facts) -> bool {
    let mut rules = RULES.iter().filter(|rule| rule.covers(verb, path));
    rules.any(|rule| holds(rule.scope, node, verb, path, facts))
}

/// Whether nodes may do such a thing at all.
pub(super) fn knows(verb: &str, path: &ResourcePath) -> bool {
    RULES.iter().any(|rule| rule.covers(verb, path))
}

fn holds(scope: Scope, node: &str, verb: &str, path: &ResourcePath, facts: &dyn Facts) -> bool {
    let namespace = path.namespace.as_deref().unwrap_or_default();
    let name = path.one_name().unwrap_or_default();
    match scope {
        Scope::All => true,
        Scope::OwnName => name == node,
        // The name of a new lease is in the body: admission looks at it.
        Scope::OwnLease => namespace == "kube-node-lease" && (verb == "create" || name == node),
        // A pod that is gone is nobody's: the node learns so from a 404, not from a refusal.
        Scope::OwnPods => facts
            .pod(namespace, name)
            .is_none_or(|pod| text(&pod, "/spec/nodeName") == node),
        Scope::Referenced => {
            let pods = facts.pods_on(node, namespace);
            let mut references = pods.iter().map(References::of);
            !name.is_empty() && references.any(|references| references.has(&path.plural, name))
        }
    }
}
