//! The rules that speak of a pod in one direction, tier by tier.

use std::sync::Arc;

use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::compile::{Policies, Subject, World};
use super::ports;
use super::rule::{Peers, Rule, selects};
use super::rules::{RuleName, Rules};
use super::selector::matches;
use crate::watches::{Action, ClusterPolicy, Key, Tier};

/// One direction of one pod.
#[derive(Debug, Default)]
pub(super) struct Direction<'a> {
    /// Whether it is the direction out of the pod.
    pub(super) egress: bool,
    /// Policies that isolate the pod in it.
    pub(super) isolating: Vec<Key>,
    /// Rules of the tier Admin, in the order in which they are asked.
    pub(super) admin: Vec<Rule<'a>>,
    /// Rules of NetworkPolicies, in the order of policies and rules.
    pub(super) network: Vec<Rule<'a>>,
    /// Rules of the tier Baseline, in the order in which they are asked.
    pub(super) baseline: Vec<Rule<'a>>,
}

impl<'a> Direction<'a> {
    /// What the policies say of the subject in a direction.
    pub(super) fn of(
        egress: bool,
        subject: Subject<'_>,
        policies: &'a Policies,
        world: &World<'_>,
        rules: &mut Rules,
    ) -> Self {
        let mut direction = Self {
            egress,
            ..Self::default()
        };
        for (key, policy) in &policies.network {
            if selects_subject(key, policy, subject) && isolates(policy, egress) {
                direction.add(key, policy, rules);
            }
        }
        direction.admin = direction.tier(Tier::Admin, subject, policies, world, rules);
        direction.baseline = direction.tier(Tier::Baseline, subject, policies, world, rules);
        direction
    }

    /// Whether ClusterNetworkPolicies have a say.
    pub(super) fn is_tiered(&self) -> bool {
        !(self.admin.is_empty() && self.baseline.is_empty())
    }

    fn add(&mut self, key: &'a Key, policy: &'a NetworkPolicy, rules: &mut Rules) {
        self.isolating.push(key.clone());
        let Some(spec) = &policy.spec else { return };
        let lists: Vec<_> = if self.egress {
            let rules = spec.egress.iter().flatten();
            rules.map(|r| (r.to.as_ref(), r.ports.as_ref())).collect()
        } else {
            let rules = spec.ingress.iter().flatten();
            rules.map(|r| (r.from.as_ref(), r.ports.as_ref())).collect()
        };
        for (index, (peers, ports)) in lists.into_iter().enumerate() {
            let peers = match peers.filter(|peers| !peers.is_empty()) {
                None => Peers::Everybody,
                Some(peers) => Peers::Network(peers, &key.namespace),
            };
            self.network.push(Rule {
                number: rules.number(RuleName::new(key, self.egress, index)),
                action: Action::Accept,
                peers,
                ports: ports::read(ports),
            });
        }
    }

    /// The rules of a tier: by priority, then by the name of the policy, then as they are written.
    fn tier(
        &self,
        tier: Tier,
        subject: Subject<'_>,
        policies: &'a Policies,
        world: &World<'_>,
        rules: &mut Rules,
    ) -> Vec<Rule<'a>> {
        let is_meant = |policy: &ClusterPolicy| {
            let (namespace, labels) = (subject.namespace, subject.labels);
            policy.tier == tier && selects(&policy.subject, namespace, labels, world.namespaces)
        };
        let mut meant: Vec<(&Key, &Arc<ClusterPolicy>)> = policies.cluster.iter().collect();
        meant.retain(|(_, policy)| is_meant(policy));
        meant.sort_by_key(|(_, policy)| policy.priority);
        let mut found = Vec::new();
        for (key, policy) in meant {
            let own = if self.egress {
                &policy.egress
            } else {
                &policy.ingress
            };
            for (index, rule) in own.iter().enumerate() {
                let name = RuleName::new(key, self.egress, index).titled(&rule.name);
                found.push(Rule {
                    number: rules.number(name),
                    action: rule.action,
                    peers: Peers::Cluster(&rule.peers),
                    ports: ports::of_cluster(&rule.ports),
                });
            }
        }
        found
    }
}

fn selects_subject(key: &Key, policy: &NetworkPolicy, subject: Subject<'_>) -> bool {
    let selector = policy.spec.as_ref().map(|spec| &spec.pod_selector);
    key.namespace == subject.namespace
        && selector.is_some_and(|selector| {
            selector
                .as_ref()
                .is_none_or(|selector| matches(selector, subject.labels))
        })
}

/// Whether a policy isolates its pods in a direction: `policyTypes`, with the API's default: ingress
/// always, egress if there are egress rules.
fn isolates(policy: &NetworkPolicy, egress: bool) -> bool {
    let spec = policy.spec.as_ref();
    let types = spec.and_then(|spec| spec.policy_types.as_ref());
    match types.filter(|types| !types.is_empty()) {
        Some(types) => types
            .iter()
            .any(|t| t == if egress { "Egress" } else { "Ingress" }),
        None => {
            let rules = spec.and_then(|spec| spec.egress.as_ref());
            !egress || rules.is_some_and(|rules| !rules.is_empty())
        }
    }
}
