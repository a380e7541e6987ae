//! One endpoint's part of the policy map.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use naru_ebpf_common::endpoint::{ISOLATED_EGRESS, ISOLATED_INGRESS};
use naru_ebpf_common::ipcache::IDENTITY_ANY;
use naru_ebpf_common::policy::{ALLOW, EGRESS, INGRESS};
use naru_ebpf_common::{PolicyEntry, PolicyKey};

use super::direction::Direction;
use super::flatten::flatten;
use super::peers::parse;
use super::ports::PortSpec;
use super::rule::{Peers, Rule};
use super::rules::Rules;
use crate::ipcache::Class;
use crate::watches::{ClusterPeer, ClusterPolicy, Key, PodPort};

/// Every policy of the cluster.
#[derive(Debug, Default)]
pub struct Policies {
    /// NetworkPolicies.
    pub network: BTreeMap<Key, Arc<NetworkPolicy>>,
    /// ClusterNetworkPolicies.
    pub cluster: BTreeMap<Key, Arc<ClusterPolicy>>,
}

/// The local pod whose policy is compiled.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Number of the endpoint.
    pub endpoint: u32,
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Its named ports.
    pub ports: &'a [PodPort],
}

/// What holds for one endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compiled {
    /// `ISOLATED_INGRESS` and `ISOLATED_EGRESS`: where entries decide.
    pub flags: u32,
    /// What entries say of flows.
    pub entries: HashMap<PolicyKey, PolicyEntry>,
    /// NetworkPolicies that isolate the pod for ingress: what a drop without a rule is due to.
    pub ingress_by: Vec<Key>,
    /// The same for egress.
    pub egress_by: Vec<Key>,
    /// Whether a ClusterNetworkPolicy has a say: then who turns out to be somebody else may lose what
    /// he was allowed.
    pub is_tiered: bool,
}

/// What selectors are evaluated over.
#[derive(Debug)]
pub struct World<'a> {
    /// Labels of every namespace.
    pub namespaces: &'a BTreeMap<String, BTreeMap<String, String>>,
    /// Every class with its number.
    pub classes: &'a [(Class, u32)],
    /// Named ports of the pods of each class, for egress rules that name a port.
    pub ports: &'a HashMap<u32, Vec<PodPort>>,
}

impl Policies {
    /// Every CIDR that the policies name; they split the classes of the ipcache.
    #[must_use]
    pub fn blocks(&self) -> BTreeSet<IpNet> {
        self.network_blocks().chain(self.cluster_blocks()).collect()
    }

    fn network_blocks(&self) -> impl Iterator<Item = IpNet> {
        let specs = self
            .network
            .values()
            .filter_map(|policy| policy.spec.as_ref());
        let peers = specs.flat_map(|spec| {
            let from = spec
                .ingress
                .iter()
                .flatten()
                .flat_map(|rule| rule.from.iter().flatten());
            let to = spec
                .egress
                .iter()
                .flatten()
                .flat_map(|rule| rule.to.iter().flatten());
            from.chain(to)
        });
        let cidrs = peers.filter_map(|peer| peer.ip_block.as_ref());
        cidrs
            .flat_map(|block| std::iter::once(&block.cidr).chain(block.except.iter().flatten()))
            .filter_map(|cidr| parse(cidr))
    }

    fn cluster_blocks(&self) -> impl Iterator<Item = IpNet> {
        let rules = self
            .cluster
            .values()
            .flat_map(|policy| policy.ingress.iter().chain(&policy.egress));
        let peers = rules.flat_map(|rule| &rule.peers);
        let networks = peers.filter_map(|peer| match peer {
            ClusterPeer::Networks(networks) => Some(networks),
            _ => None,
        });
        networks.flatten().copied()
    }
}

/// Compiles the policies that select the subject.
#[must_use]
pub fn compile(
    subject: Subject<'_>,
    policies: &Policies,
    world: &World<'_>,
    rules: &mut Rules,
) -> Compiled {
    let mut compiled = Compiled::default();
    for egress in [false, true] {
        let direction = Direction::of(egress, subject, policies, world, rules);
        if direction.is_tiered() {
            compiled.is_tiered = true;
            let entries = flatten(&direction, subject, world);
            compiled.entries.extend(entries);
        } else {
            let adding = Adding {
                subject,
                world,
                egress,
                entries: &mut compiled.entries,
            };
            adding.add(&direction.network);
        }
        if direction.is_tiered() || !direction.isolating.is_empty() {
            compiled.flags |= if egress {
                ISOLATED_EGRESS
            } else {
                ISOLATED_INGRESS
            };
        }
        let by = if egress {
            &mut compiled.egress_by
        } else {
            &mut compiled.ingress_by
        };
        *by = direction.isolating;
    }
    compiled
}

/// One direction in which only NetworkPolicies have a say: what any rule allows is allowed.
struct Adding<'a> {
    subject: Subject<'a>,
    world: &'a World<'a>,
    egress: bool,
    entries: &'a mut HashMap<PolicyKey, PolicyEntry>,
}

impl Adding<'_> {
    fn add(mut self, rules: &[Rule<'_>]) {
        for rule in rules {
            let everybody = matches!(rule.peers, Peers::Everybody);
            // A name means another number for each pod that is called.
            let is_named = |port: &&PortSpec| self.egress && matches!(port, PortSpec::Named(..));
            let ports = rule.ports.iter();
            let (apart, together): (Vec<_>, Vec<_>) =
                ports.partition(|port| !everybody || is_named(port));
            for port in together {
                self.allow(IDENTITY_ANY, port, rule.number);
            }
            if !apart.is_empty() {
                self.allow_peers(rule, &apart);
            }
        }
    }

    fn allow_peers(&mut self, rule: &Rule<'_>, ports: &[&PortSpec]) {
        for (class, identity) in self.world.classes {
            if rule.peers.mean(Some(class), self.world.namespaces) {
                for port in ports {
                    self.allow(*identity, port, rule.number);
                }
            }
        }
    }

    /// Of several rules that allow the same, the first one (in the order of policies and rules) is
    /// named, whatever order they came in.
    fn allow(&mut self, identity: u32, port: &PortSpec, rule: u32) {
        let called = self.world.ports.get(&identity);
        let called = called.map_or(&[][..], Vec::as_slice);
        let named = if self.egress {
            called
        } else {
            self.subject.ports
        };
        for (protocol, port) in port.keys(named) {
            let key = PolicyKey {
                endpoint: self.subject.endpoint,
                identity,
                port,
                protocol,
                direction: if self.egress { EGRESS } else { INGRESS },
            };
            let verdict = ALLOW;
            self.entries
                .entry(key)
                .or_insert(PolicyEntry { verdict, rule });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::watches::Protocol;

    fn class(namespace: &str, app: &str) -> Class {
        let labels = Arc::new(BTreeMap::from([("app".to_owned(), app.to_owned())]));
        Class::Pod {
            namespace: namespace.into(),
            labels,
            blocks: vec![],
        }
    }

    /// `direction identity protocol port` of each entry, for a pod `shop/web` with port `http`.
    fn entries(specs: &[Value]) -> (u32, BTreeSet<(u8, u32, u8, u16)>) {
        let named = |n: usize| Key::new("shop", format!("policy-{n}"));
        let policy = |spec: &Value| {
            Arc::new(serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap())
        };
        let policies = Policies {
            network: specs
                .iter()
                .enumerate()
                .map(|(n, spec)| (named(n), policy(spec)))
                .collect(),
            ..Policies::default()
        };
        let classes = [
            (class("shop", "web"), 300),
            (class("shop", "api"), 301),
            (class("bank", "api"), 302),
        ];
        let port = |port| PodPort {
            name: "http".into(),
            port,
            protocol: Protocol::Tcp,
        };
        let world = World {
            namespaces: &BTreeMap::from([
                ("shop".into(), BTreeMap::new()),
                ("bank".into(), BTreeMap::new()),
            ]),
            classes: &classes,
            ports: &HashMap::from([(301, vec![port(9090)])]),
        };
        let subject = Subject {
            endpoint: 7,
            namespace: "shop",
            labels: &BTreeMap::from([("app".to_owned(), "web".to_owned())]),
            ports: &[port(8080)],
        };
        let compiled = compile(subject, &policies, &world, &mut Rules::default());
        let flat = |key: &PolicyKey| (key.direction, key.identity, key.protocol, key.port.get());
        (compiled.flags, compiled.entries.keys().map(flat).collect())
    }

    #[test]
    fn default_deny_isolates_and_allows_nothing() {
        let deny = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
        assert_eq!(
            entries(&[deny]),
            (ISOLATED_INGRESS | ISOLATED_EGRESS, BTreeSet::new())
        );
    }

    #[test]
    fn a_policy_for_other_pods_changes_nothing() {
        let other =
            json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"]});
        assert_eq!(entries(&[other]), (0, BTreeSet::new()));
    }

    #[test]
    fn policies_add_up() {
        let from_api = json!({"podSelector": {}, "ingress": [
            {"from": [{"podSelector": {"matchLabels": {"app": "api"}}}], "ports": [{"port": "http"}]}]});
        let from_all =
            json!({"podSelector": {}, "ingress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]});
        let (flags, entries) = entries(&[from_api, from_all]);
        assert_eq!(flags, ISOLATED_INGRESS);
        assert_eq!(
            entries,
            BTreeSet::from([(INGRESS, 301, 6, 8080), (INGRESS, 0, 17, 53)])
        );
    }

    #[test]
    fn named_ports_of_egress_are_those_of_the_pod_that_is_called() {
        let peer = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [
            {"to": [{"namespaceSelector": {}}], "ports": [{"port": "http"}]}]});
        assert_eq!(entries(&[peer]).1, BTreeSet::from([(EGRESS, 301, 6, 9090)]));
        let any = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": "http"}]}]});
        assert_eq!(entries(&[any]).1, BTreeSet::from([(EGRESS, 301, 6, 9090)]));
    }

    #[test]
    fn an_empty_rule_allows_everything_in_its_direction_only() {
        let open =
            json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}]});
        let (flags, entries) = entries(&[open]);
        assert_eq!(flags, ISOLATED_INGRESS | ISOLATED_EGRESS);
        assert_eq!(entries, BTreeSet::from([(INGRESS, 0, 0, 0)]));
    }

    #[test]
    fn every_cidr_is_found_once() {
        let spec = json!({"podSelector": {}, "egress": [{"to": [
            {"ipBlock": {"cidr": "10.0.0.1/8", "except": ["10.1.0.0/16"]}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}]}]});
        let policy = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
        let policies = Policies {
            network: BTreeMap::from([(Key::new("a", "b"), Arc::new(policy))]),
            ..Policies::default()
        };
        let texts: Vec<_> = policies.blocks().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.0.0.0/8", "10.1.0.0/16"]);
    }
}
