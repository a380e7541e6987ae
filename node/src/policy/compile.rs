//! One endpoint's part of the policy map.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use naru_ebpf_common::endpoint::{ISOLATED_EGRESS, ISOLATED_INGRESS};
use naru_ebpf_common::ipcache::IDENTITY_ANY;
use naru_ebpf_common::policy::{ALLOW, EGRESS, INGRESS};
use naru_ebpf_common::{PolicyEntry, PolicyKey, Port};

use super::peers::{Namespaces, means, parse};
use super::ports::{PortSpec, read};
use super::rules::{RuleName, Rules};
use super::selector::matches;
use crate::ipcache::Class;
use crate::watches::{Key, PodPort};

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
    /// `ISOLATED_INGRESS` and `ISOLATED_EGRESS`.
    pub flags: u32,
    /// The allowed flows.
    pub entries: HashMap<PolicyKey, PolicyEntry>,
    /// Policies that isolate the pod for ingress: what a drop without a rule is due to.
    pub ingress_by: Vec<Key>,
    /// The same for egress.
    pub egress_by: Vec<Key>,
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

/// Every CIDR that the policies name; they split the classes of the ipcache.
#[must_use]
pub fn blocks(policies: &BTreeMap<Key, Arc<NetworkPolicy>>) -> BTreeSet<IpNet> {
    let specs = policies.values().filter_map(|policy| policy.spec.as_ref());
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
        .collect()
}

/// Compiles the policies that select the subject.
#[must_use]
pub fn compile(
    subject: Subject<'_>,
    policies: &BTreeMap<Key, Arc<NetworkPolicy>>,
    world: &World<'_>,
    rules: &mut Rules,
) -> Compiled {
    let mut compiled = Compiled::default();
    for (key, policy) in policies
        .iter()
        .filter(|(key, _)| key.namespace == subject.namespace)
    {
        let Some(spec) = &policy.spec else { continue };
        let selected = spec
            .pod_selector
            .as_ref()
            .is_none_or(|s| matches(s, subject.labels));
        if !selected {
            continue;
        }
        let mut compiler = Compiler {
            subject,
            key,
            world,
            rules,
            compiled: &mut compiled,
        };
        let types = Types::of(policy);
        if types.ingress {
            compiler.compiled.flags |= ISOLATED_INGRESS;
            compiler.compiled.ingress_by.push(key.clone());
            for (index, rule) in spec.ingress.iter().flatten().enumerate() {
                compiler.rule(false, index, rule.from.as_ref(), rule.ports.as_ref());
            }
        }
        if types.egress {
            compiler.compiled.flags |= ISOLATED_EGRESS;
            compiler.compiled.egress_by.push(key.clone());
            for (index, rule) in spec.egress.iter().flatten().enumerate() {
                compiler.rule(true, index, rule.to.as_ref(), rule.ports.as_ref());
            }
        }
    }
    compiled
}

/// Which directions a policy isolates.
struct Types {
    ingress: bool,
    egress: bool,
}

impl Types {
    /// `policyTypes`, with the API's default: ingress always, egress if there are egress rules.
    fn of(policy: &NetworkPolicy) -> Self {
        let spec = policy.spec.as_ref();
        match spec
            .and_then(|spec| spec.policy_types.as_ref())
            .filter(|types| !types.is_empty())
        {
            Some(types) => Self {
                ingress: types.iter().any(|t| t == "Ingress"),
                egress: types.iter().any(|t| t == "Egress"),
            },
            None => {
                let egress = spec.and_then(|spec| spec.egress.as_ref());
                Self {
                    ingress: true,
                    egress: egress.is_some_and(|rules| !rules.is_empty()),
                }
            }
        }
    }
}

struct Compiler<'a> {
    subject: Subject<'a>,
    key: &'a Key,
    world: &'a World<'a>,
    rules: &'a mut Rules,
    compiled: &'a mut Compiled,
}

impl Compiler<'_> {
    fn rule(
        &mut self,
        egress: bool,
        index: usize,
        peers: Option<&Vec<NetworkPolicyPeer>>,
        ports: Option<&Vec<NetworkPolicyPort>>,
    ) {
        let rule = self.rules.number(RuleName {
            policy: self.key.clone(),
            egress,
            index,
        });
        let ports = read(ports);
        match peers.filter(|peers| !peers.is_empty()) {
            None => self.allow_all(egress, &ports, rule),
            Some(peers) => self.allow_peers(egress, peers, &ports, rule),
        }
    }

    fn allow_all(&mut self, egress: bool, ports: &[PortSpec], rule: u32) {
        for port in ports {
            // A name means another number for each pod that is called.
            if egress && matches!(port, PortSpec::Named(..)) {
                for (_, identity) in self.world.classes {
                    self.allow_port(egress, *identity, port, rule);
                }
            } else {
                self.allow_port(egress, IDENTITY_ANY, port, rule);
            }
        }
    }

    fn allow_peers(
        &mut self,
        egress: bool,
        peers: &[NetworkPolicyPeer],
        ports: &[PortSpec],
        rule: u32,
    ) {
        for (class, identity) in self.world.classes {
            let namespaces: &Namespaces = self.world.namespaces;
            let meant =
                |peer: &NetworkPolicyPeer| means(peer, class, &self.key.namespace, namespaces);
            if peers.iter().any(meant) {
                for port in ports {
                    self.allow_port(egress, *identity, port, rule);
                }
            }
        }
    }

    fn allow_port(&mut self, egress: bool, identity: u32, port: &PortSpec, rule: u32) {
        let called = self
            .world
            .ports
            .get(&identity)
            .map_or(&[][..], Vec::as_slice);
        let named = if egress { called } else { self.subject.ports };
        for (protocol, port) in port.keys(named) {
            self.allow(egress, identity, protocol, port, rule);
        }
    }

    /// Of several rules that allow the same, the first one (in the order of policies and rules) is
    /// named, whatever order they came in.
    fn allow(&mut self, egress: bool, identity: u32, protocol: u8, port: Port, rule: u32) {
        let direction = if egress { EGRESS } else { INGRESS };
        let key = PolicyKey {
            endpoint: self.subject.endpoint,
            identity,
            port,
            protocol,
            direction,
        };
        self.compiled.entries.entry(key).or_insert(PolicyEntry {
            verdict: ALLOW,
            rule,
        });
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
        let policies = specs
            .iter()
            .enumerate()
            .map(|(n, spec)| (named(n), policy(spec)))
            .collect();
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
        let blocks = blocks(&BTreeMap::from([(Key::new("a", "b"), Arc::new(policy))]));
        let texts: Vec<_> = blocks.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.0.0.0/8", "10.1.0.0/16"]);
    }
}
