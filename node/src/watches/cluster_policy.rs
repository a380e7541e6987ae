//! ClusterNetworkPolicies, as the node knows them.

mod read;

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;

use super::pod::Protocol;

/// When the rules of a policy are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Tier {
    /// Before every NetworkPolicy.
    Admin,
    /// After them, for pods that none of them isolates.
    Baseline,
}

/// What a rule does with the flows that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Action {
    /// They may pass; nothing else is asked.
    Accept,
    /// They are dropped; nothing else is asked.
    Deny,
    /// The next tier is asked.
    Pass,
}

/// Pods by the labels of their namespaces and their own; an absent selector selects all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodsOf {
    /// Selects namespaces.
    pub namespaces: LabelSelector,
    /// Selects pods.
    pub pods: LabelSelector,
}

/// The other end of a flow.
#[derive(Debug, Clone, PartialEq)]
pub enum ClusterPeer {
    /// Everybody: what is left of a rule that fails closed.
    All,
    /// Pods.
    Pods(PodsOf),
    /// Networks, bits beyond the length cleared.
    Networks(Vec<IpNet>),
}

/// What of a peer's traffic a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterPort {
    /// Ports of a protocol, both ends included; every port if there are none.
    Transport(Protocol, Option<(u16, u16)>),
    /// A port by the name that the called pod gives to it, whatever its protocol.
    Named(String),
}

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterRule {
    /// Its name, empty if it has none.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// Whom it is about: any of these.
    pub peers: Vec<ClusterPeer>,
    /// What it is limited to; everything if there are none.
    pub ports: Vec<ClusterPort>,
}

/// A policy.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterPolicy {
    /// Its tier.
    pub tier: Tier,
    /// Its place in the tier, from 0 to 1000; the lower, the earlier.
    pub priority: i32,
    /// The pods that it is about.
    pub subject: PodsOf,
    /// Rules for flows into these pods, in the order of the object.
    pub ingress: Vec<ClusterRule>,
    /// Rules for flows out of them.
    pub egress: Vec<ClusterRule>,
}
