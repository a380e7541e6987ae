//! ClusterNetworkPolicies, from their JSON to what lookups in the policy map find.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use naru_ebpf_common::ipcache::IDENTITY_WORLD;
use naru_ebpf_common::policy::{ALLOW, DENY, EGRESS, INGRESS, LOOKUPS, lookup_order};
use naru_ebpf_common::{PolicyEntry, PolicyKey, Port, protocol};
use serde_json::{Value, json};

use super::*;
use crate::ipcache::Class;
use crate::watches::{ClusterPolicy, Key, PodPort, Protocol};

const TCP: u8 = protocol::TCP;
const UDP: u8 = protocol::UDP;
const ICMP: u8 = protocol::ICMP;
/// Identities of the classes: a pod of the own namespace, one of another, and a network.
const API: u32 = 301;
const BANK: u32 = 302;
const NET: u32 = 303;
/// Where no policy decides or isolates.
const FREE: Verdict<'_> = Verdict::Allowed("");

/// What a lookup in the map comes to, and the rule that says so, empty where none does.
#[derive(Debug, PartialEq, Eq)]
enum Verdict<'a> {
    Allowed(&'a str),
    Denied(&'a str),
    /// Isolated, and no entry.
    Nothing,
}
use Verdict::{Allowed, Denied, Nothing};

/// The policies of a test, for a pod `shop/web` that calls its port 8080 `http`.
#[derive(Default)]
struct Case {
    policies: Policies,
    /// How many more classes like BANK there are.
    more: u32,
}

struct Outcome {
    compiled: Compiled,
    rules: Rules,
}

fn pods(namespace: &str, app: &str) -> Class {
    let labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
    Class::Pod {
        namespace: namespace.into(),
        labels: Arc::new(labels),
        blocks: vec![],
    }
}

fn http(port: u16) -> PodPort {
    PodPort {
        name: "http".into(),
        port,
        protocol: Protocol::Tcp,
    }
}

impl Case {
    fn network(mut self, name: &str, spec: Value) -> Self {
        let policy = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
        let key = Key::new("shop", name);
        self.policies.network.insert(key, Arc::new(policy));
        self
    }

    fn cluster(mut self, name: &str, tier: &str, priority: i32, rules: Value) -> Self {
        let mut spec = json!({"tier": tier, "priority": priority, "subject": {"namespaces": {}}});
        spec.as_object_mut()
            .unwrap()
            .extend(rules.as_object().unwrap().clone());
        let policy = ClusterPolicy::of(spec).unwrap();
        let key = Key::new("", name);
        self.policies.cluster.insert(key, Arc::new(policy));
        self
    }

    fn admin(self, rules: Value) -> Self {
        self.cluster("admin", "Admin", 10, rules)
    }

    fn baseline(self, rules: Value) -> Self {
        self.cluster("base", "Baseline", 10, rules)
    }

    fn compile(&self) -> Outcome {
        let blocks = vec!["10.0.0.0/8".parse().unwrap()];
        let mut classes = vec![
            (pods("shop", "api"), API),
            (pods("bank", "api"), BANK),
            (Class::Outside { blocks }, NET),
        ];
        let more = (0..self.more).map(|n| (pods("bank", &n.to_string()), 400 + n));
        classes.extend(more);
        let team = |name: &str| BTreeMap::from([("team".to_owned(), name.to_owned())]);
        let world = World {
            namespaces: &BTreeMap::from([
                ("shop".into(), team("shop")),
                ("bank".into(), team("bank")),
            ]),
            classes: &classes,
            ports: &HashMap::from([(API, vec![http(9090)])]),
        };
        let subject = Subject {
            endpoint: 7,
            namespace: "shop",
            labels: &BTreeMap::from([("app".to_owned(), "web".to_owned())]),
            ports: &[http(8080)],
        };
        let mut rules = Rules::default();
        let compiled = compile(subject, &self.policies, &world, &mut rules);
        Outcome { compiled, rules }
    }
}

impl Outcome {
    /// What the data path would find.
    fn find(&self, direction: u8, identity: u32, protocol: u8, port: u16) -> Option<PolicyEntry> {
        let exact = PolicyKey {
            endpoint: 7,
            identity,
            port: Port::new(port),
            protocol,
            direction,
        };
        let mut steps = (0..LOOKUPS).map(|step| lookup_order(exact, step));
        steps.find_map(|key| self.compiled.entries.get(&key).copied())
    }

    fn told(&self, direction: u8, identity: u32, protocol: u8, port: u16) -> (u32, String) {
        let found = self.find(direction, identity, protocol, port);
        let name = |rule| {
            self.rules
                .name(rule)
                .map_or(String::new(), ToString::to_string)
        };
        found.map_or((0, String::new()), |it| (it.verdict, name(it.rule)))
    }

    #[track_caller]
    fn check(&self, direction: u8, to: (u32, u8, u16), wanted: Verdict<'_>) {
        let (verdict, rule) = self.told(direction, to.0, to.1, to.2);
        let seen = match verdict {
            ALLOW => Allowed(&rule),
            DENY => Denied(&rule),
            _ => Nothing,
        };
        assert_eq!(seen, wanted, "{to:?}");
    }

    #[track_caller]
    fn ingress(&self, from: (u32, u8, u16), wanted: Verdict<'_>) {
        self.check(INGRESS, from, wanted);
    }

    #[track_caller]
    fn egress(&self, to: (u32, u8, u16), wanted: Verdict<'_>) {
        self.check(EGRESS, to, wanted);
    }
}

fn everybody() -> Value {
    json!([{"namespaces": {}}])
}

fn bank() -> Value {
    json!([{"namespaces": {"matchLabels": {"team": "bank"}}}])
}

fn tcp(port: u16) -> Value {
    json!([{"tcp": {"destinationPort": {"number": port}}}])
}

#[test]
fn admin_rules_come_before_network_policies_and_a_rule_that_passes_hands_over() {
    let outcome = Case::default()
        .network("open", json!({"podSelector": {}, "ingress": [{}]}))
        .admin(json!({"ingress": [
            {"action": "Pass", "from": bank(), "protocols": tcp(80)},
            {"name": "no bank", "action": "Deny", "from": bank(), "protocols": [{"tcp": {}}]}]}))
        .compile();
    outcome.ingress((BANK, TCP, 80), Allowed("shop/open"));
    let denied = Denied("ClusterNetworkPolicy/admin ingress[1] \"no bank\"");
    outcome.ingress((BANK, TCP, 81), denied);
    outcome.ingress((BANK, UDP, 81), Allowed("shop/open"));
    outcome.ingress((BANK, ICMP, 0), Allowed("shop/open"));
    outcome.ingress((API, TCP, 81), Allowed("shop/open"));
    assert_eq!(outcome.compiled.ingress_by, [Key::new("shop", "open")]);
    assert!(outcome.compiled.egress_by.is_empty());
}

#[test]
fn what_admin_accepts_no_network_policy_takes_away() {
    let outcome = Case::default()
        .network(
            "closed",
            json!({"podSelector": {}, "policyTypes": ["Ingress"]}),
        )
        .admin(json!({"ingress": [{"action": "Accept", "from": bank(), "protocols": tcp(80)}]}))
        .compile();
    let rule = "ClusterNetworkPolicy/admin ingress[0]";
    outcome.ingress((BANK, TCP, 80), Allowed(rule));
    outcome.ingress((BANK, TCP, 81), Nothing);
    outcome.ingress((API, TCP, 80), Nothing);
    outcome.ingress((IDENTITY_WORLD, TCP, 80), Nothing);
}

#[test]
fn passed_on_to_network_policies_that_allow_nothing_is_denied_by_no_rule() {
    let ports = json!([{"port": 443}]);
    let outcome = Case::default()
        .network(
            "tls",
            json!({"podSelector": {}, "ingress": [{"ports": ports}]}),
        )
        .admin(json!({"ingress": [
            {"action": "Pass", "from": bank(), "protocols": tcp(80)},
            {"action": "Accept", "from": bank()}]}))
        .compile();
    outcome.ingress((BANK, TCP, 80), Denied(""));
    let rule = "ClusterNetworkPolicy/admin ingress[1]";
    outcome.ingress((BANK, TCP, 443), Allowed(rule));
    outcome.ingress((BANK, UDP, 80), Allowed(rule));
    outcome.ingress((API, TCP, 443), Allowed("shop/tls"));
    outcome.ingress((API, TCP, 80), Nothing);
}

#[test]
fn the_baseline_is_for_pods_that_no_network_policy_isolates_in_the_direction() {
    let deny = json!({"action": "Deny", "from": everybody()});
    let out = json!({"action": "Deny", "to": everybody()});
    let rules = json!({"ingress": [deny], "egress": [out]});
    let alone = Case::default().baseline(rules.clone()).compile();
    alone.ingress(
        (API, TCP, 80),
        Denied("ClusterNetworkPolicy/base ingress[0]"),
    );
    alone.egress(
        (API, ICMP, 0),
        Denied("ClusterNetworkPolicy/base egress[0]"),
    );
    alone.ingress((IDENTITY_WORLD, TCP, 80), FREE);
    alone.ingress((NET, TCP, 80), FREE);
    let overruled = Case::default()
        .network("open", json!({"podSelector": {}, "ingress": [{}]}))
        .baseline(rules)
        .compile();
    overruled.ingress((API, TCP, 80), Allowed("shop/open"));
    let denied = Denied("ClusterNetworkPolicy/base egress[0]");
    overruled.egress((API, TCP, 80), denied);
}

#[test]
fn priorities_order_policies_and_places_order_rules() {
    let deny = json!({"ingress": [{"action": "Deny", "from": everybody()}]});
    let accept = json!({"ingress": [{"action": "Accept", "from": bank()},
        {"action": "Deny", "from": bank()}]});
    let outcome = Case::default()
        .cluster("a-late", "Admin", 20, deny.clone())
        .cluster("z-early", "Admin", 3, accept.clone())
        .compile();
    let accepted = Allowed("ClusterNetworkPolicy/z-early ingress[0]");
    outcome.ingress((BANK, TCP, 80), accepted);
    let denied = Denied("ClusterNetworkPolicy/a-late ingress[0]");
    outcome.ingress((API, TCP, 80), denied);
    let equal = Case::default()
        .cluster("b", "Admin", 3, accept)
        .cluster("a", "Admin", 3, deny)
        .compile();
    equal.ingress((BANK, TCP, 80), Denied("ClusterNetworkPolicy/a ingress[0]"));
}

#[test]
fn a_rule_that_passes_out_of_the_baseline_leaves_the_flow_open() {
    let outcome = Case::default()
        .baseline(json!({"egress": [{"action": "Pass", "to": bank()},
            {"action": "Deny", "to": everybody()}]}))
        .compile();
    outcome.egress((BANK, TCP, 80), FREE);
    let denied = Denied("ClusterNetworkPolicy/base egress[1]");
    outcome.egress((API, TCP, 80), denied);
}

#[test]
fn ranges_and_names_of_ports_mean_what_is_called() {
    let range = json!({"tcp": {"destinationPort": {"range": {"start": 100, "end": 102}}}});
    let ports = json!([range, {"destinationNamedPort": "http"}]);
    let outcome = Case::default()
        .admin(json!({
            "ingress": [{"action": "Deny", "from": everybody(), "protocols": ports}],
            "egress": [{"action": "Deny", "to": everybody(), "protocols": ports}]}))
        .compile();
    let into = || Denied("ClusterNetworkPolicy/admin ingress[0]");
    let out = || Denied("ClusterNetworkPolicy/admin egress[0]");
    for port in [100, 101, 102, 8080] {
        outcome.ingress((BANK, TCP, port), into());
    }
    for (protocol, port) in [(TCP, 99), (TCP, 103), (TCP, 9090), (UDP, 101), (ICMP, 0)] {
        outcome.ingress((BANK, protocol, port), FREE);
    }
    outcome.egress((API, TCP, 9090), out());
    outcome.egress((API, TCP, 100), out());
    outcome.egress((API, TCP, 8080), FREE);
    outcome.egress((BANK, TCP, 9090), FREE);
}

#[test]
fn a_wide_range_costs_the_ports_outside_of_it() {
    let range = |action: &str, start: u16| {
        let port = json!({"range": {"start": start, "end": 65535}});
        let ports = json!([{"tcp": {"destinationPort": port}}]);
        json!({"ingress": [{"action": action, "from": bank(), "protocols": ports}]})
    };
    let rule = "ClusterNetworkPolicy/admin ingress[0]";
    let denied = Case::default().admin(range("Deny", 1024)).compile();
    // Everything of the wildcard and of the class, TCP of the class, and what is below.
    assert_eq!(denied.compiled.entries.len(), 3 + 1023);
    denied.ingress((BANK, TCP, 1023), FREE);
    denied.ingress((BANK, TCP, 1024), Denied(rule));
    denied.ingress((BANK, TCP, 65535), Denied(rule));
    denied.ingress((BANK, UDP, 65535), FREE);
    let closed = || {
        let closed = json!({"podSelector": {}, "policyTypes": ["Ingress"]});
        Case::default().network("closed", closed)
    };
    let some = closed().admin(range("Accept", 3)).compile();
    assert_eq!(some.compiled.entries.len(), 3);
    some.ingress((BANK, TCP, 2), Denied(""));
    some.ingress((BANK, TCP, 3), Allowed(rule));
    some.ingress((BANK, UDP, 3), Nothing);
    some.ingress((API, TCP, 3), Nothing);
    let all = closed().admin(range("Accept", 1)).compile();
    assert_eq!(all.compiled.entries.len(), 1);
    all.ingress((BANK, TCP, 1), Allowed(rule));
}

#[test]
fn many_classes_that_are_treated_alike_share_the_wildcard() {
    let ports = json!([{"tcp": {"destinationPort": {"range": {"start": 8000, "end": 8999}}}}]);
    let case = Case {
        more: 100,
        ..Case::default()
    };
    let outcome = case
        .admin(json!({"ingress": [{"action": "Deny", "from": bank(), "protocols": ports}]}))
        .compile();
    assert!(outcome.compiled.entries.len() < 1100);
    let rule = "ClusterNetworkPolicy/admin ingress[0]";
    for identity in [BANK, 400, 499] {
        outcome.ingress((identity, TCP, 8500), Denied(rule));
        outcome.ingress((identity, TCP, 80), FREE);
    }
    for identity in [API, NET, IDENTITY_WORLD] {
        outcome.ingress((identity, TCP, 8500), FREE);
    }
}

#[test]
fn networks_mean_whatever_has_an_address_in_them() {
    let outcome = Case::default()
        .admin(json!({"egress": [{"action": "Deny", "to": [{"networks": ["10.0.0.0/8"]}]}]}))
        .compile();
    let denied = Denied("ClusterNetworkPolicy/admin egress[0]");
    outcome.egress((NET, ICMP, 0), denied);
    outcome.egress((API, TCP, 80), FREE);
    outcome.egress((IDENTITY_WORLD, TCP, 80), FREE);
}

#[test]
fn a_rule_that_fails_closed_denies_the_outside_too() {
    let outcome = Case::default()
        .admin(
            json!({"egress": [{"action": "Accept", "to": [{"nodes": {}}]},
            {"action": "Pass", "to": [{"nodes": {}}]}]}),
        )
        .compile();
    for identity in [API, NET, IDENTITY_WORLD] {
        let denied = Denied("ClusterNetworkPolicy/admin egress[1]");
        outcome.egress((identity, UDP, 53), denied);
    }
}

#[test]
fn a_policy_that_is_not_about_the_pod_or_the_direction_changes_nothing() {
    let open = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": [{"port": "http"}]}], "egress": [{"ports": [{"port": "http"}]}]});
    let before = Case::default().network("open", open.clone()).compile();
    let mut other = ClusterPolicy::of(json!({"tier": "Admin", "priority": 1,
        "subject": {"pods": {"podSelector": {"matchLabels": {"app": "db"}}}},
        "ingress": [{"action": "Deny", "from": everybody()}]}))
    .unwrap();
    let mut case = Case::default().network("open", open);
    let key = Key::new("", "other");
    let policies = &mut case.policies.cluster;
    policies.insert(key.clone(), Arc::new(other.clone()));
    assert_eq!(case.compile().compiled, before.compiled);
    // About the pod, but without rules.
    other.subject = Default::default();
    other.ingress.clear();
    case.policies.cluster.insert(key, Arc::new(other));
    assert_eq!(case.compile().compiled, before.compiled);
}
