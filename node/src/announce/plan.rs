//! Which nodes may announce which address, best first: a pure function of the API's objects.
//!
//! Every node computes the same order by itself: candidates are ranked by a hash of address and
//! node (highest random weight), so that addresses spread evenly and a node that comes or goes
//! changes the order of the others nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use naru_core::names::labels;

use crate::service::{group, is_local, nodes_with_ready, slices_of};
use crate::watches::Key;

/// The condition of Services that got their addresses from an AddressPool.
const ASSIGNED: &str = "naru.dev/AddressAssigned";

/// An address to announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The Service that has it.
    pub service: Key,
    /// Addresses of the nodes that may announce it, best first.
    pub ranked: Vec<IpAddr>,
}

/// A node that may announce something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    name: String,
    /// By which the others know it.
    address: IpAddr,
    /// Which families it carries, IPv4 first.
    families: [bool; 2],
}

/// The address by which candidates know and reach a node: that of IPv4, if it has one.
#[must_use]
pub fn identity(addresses: &[IpAddr]) -> Option<IpAddr> {
    addresses.iter().copied().min_by_key(IpAddr::is_ipv6)
}

/// Whether a Service has an address to announce.
#[must_use]
pub fn has_address(service: &Service) -> bool {
    !addresses(service).is_empty()
}

/// Every address that an AddressPool gave to a Service, with its candidates. Addresses of other
/// controllers are theirs to announce.
#[must_use]
pub fn announced(
    services: &BTreeMap<Key, Arc<Service>>,
    slices: &BTreeMap<Key, Arc<EndpointSlice>>,
    nodes: &BTreeMap<Key, Arc<Node>>,
) -> BTreeMap<IpAddr, Announced> {
    let balanced: Vec<_> = services
        .iter()
        .map(|(key, service)| (key, service, addresses(service)))
        .filter(|(.., addresses)| !addresses.is_empty())
        .collect();
    if balanced.is_empty() {
        return BTreeMap::new();
    }
    let (candidates, groups) = (candidates(nodes), group(slices));
    let mut announced = BTreeMap::new();
    for (key, service, addresses) in balanced {
        let policy = service
            .spec
            .as_ref()
            .and_then(|spec| spec.external_traffic_policy.as_deref());
        let serving = is_local(policy).then(|| nodes_with_ready(slices_of(&groups, key)));
        for address in addresses {
            let entry = Announced {
                service: key.clone(),
                ranked: ranked(address, &candidates, serving.as_ref()),
            };
            announced.insert(address, entry);
        }
    }
    announced
}

/// The nodes that may announce at all: ready ones, or all if none is, as long as nobody has excluded
/// them.
fn candidates(nodes: &BTreeMap<Key, Arc<Node>>) -> Vec<Candidate> {
    let open = nodes.values().filter(|node| !is_excluded(node));
    let (ready, rest): (Vec<&Arc<Node>>, Vec<_>) = open.partition(|node| is_ready(node));
    let chosen = if ready.is_empty() { rest } else { ready };
    chosen
        .into_iter()
        .filter_map(|node| candidate(node))
        .collect()
}

/// The addresses of all nodes.
#[must_use]
pub fn addresses_of(nodes: &BTreeMap<Key, Arc<Node>>) -> BTreeSet<IpAddr> {
    let candidates = nodes.values().filter_map(|node| candidate(node));
    candidates.map(|candidate| candidate.address).collect()
}

fn candidate(node: &Node) -> Option<Candidate> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let internal = addresses
        .iter()
        .filter(|address| address.type_ == "InternalIP");
    let parsed = internal.filter_map(|address| address.address.parse::<IpAddr>().ok());
    let addresses: Vec<_> = parsed.collect();
    Some(Candidate {
        name: node.metadata.name.clone()?,
        address: identity(&addresses)?,
        families: [false, true].map(|v6| addresses.iter().any(|ip| ip.is_ipv6() == v6)),
    })
}

fn is_excluded(node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    labels.is_some_and(|all| all.contains_key(labels::NO_LOAD_BALANCERS))
}

fn is_ready(node: &Node) -> bool {
    let status = node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The addresses that an AddressPool gave to the Service.
fn addresses(service: &Service) -> BTreeSet<IpAddr> {
    let Some(status) = &service.status else {
        return BTreeSet::new();
    };
    let mut conditions = status.conditions.iter().flatten();
    if !conditions.any(|condition| condition.type_ == ASSIGNED) {
        return BTreeSet::new();
    }
    let balancer = status.load_balancer.as_ref();
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref());
    let entries = ingress.into_iter().flatten();
    entries
        .filter_map(|entry| entry.ip.as_ref()?.parse().ok())
        .collect()
}

/// Candidates in the order of this address; `serving` names the only nodes that come into question.
fn ranked(
    address: IpAddr,
    candidates: &[Candidate],
    serving: Option<&BTreeSet<String>>,
) -> Vec<IpAddr> {
    let family = usize::from(address.is_ipv6());
    let allowed = |candidate: &&Candidate| {
        candidate.families[family] && serving.is_none_or(|names| names.contains(&candidate.name))
    };
    let mut chosen: Vec<_> = candidates
        .iter()
        .filter(allowed)
        .map(|candidate| {
            (
                std::cmp::Reverse(weight(address, &candidate.name)),
                candidate,
            )
        })
        .collect();
    chosen.sort();
    chosen
        .into_iter()
        .map(|(_, candidate)| candidate.address)
        .collect()
}

/// FNV-1a with a final mix: the same on every machine and in every version.
fn weight(address: IpAddr, node: &str) -> u64 {
    let text = format!("{address} {node}");
    let mut hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn table<T: serde::de::DeserializeOwned>(objects: &[Value]) -> BTreeMap<Key, Arc<T>> {
        let key = |object: &Value| Key::new("shop", object["metadata"]["name"].as_str().unwrap());
        let object = |value: &Value| Arc::new(serde_json::from_value(value.clone()).unwrap());
        objects
            .iter()
            .map(|value| (key(value), object(value)))
            .collect()
    }

    fn node(k: u8, ready: &str, labels: Value) -> Value {
        json!({"metadata": {"name": format!("node{k}"), "labels": labels}, "status": {
            "addresses": [{"type": "InternalIP", "address": format!("192.0.2.{k}")}],
            "conditions": [{"type": "Ready", "status": ready}]}})
    }

    fn service(policy: &str, address: &str) -> Value {
        json!({"metadata": {"name": "web"},
            "spec": {"type": "LoadBalancer", "externalTrafficPolicy": policy},
            "status": {"loadBalancer": {"ingress": [{"ip": address}]},
                "conditions": [{"type": ASSIGNED, "status": "True", "reason": "Assigned",
                    "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
    }

    fn slice() -> Value {
        json!({"metadata": {"name": "web-1", "labels": {labels::SERVICE_NAME: "web"}},
            "addressType": "IPv4", "endpoints": [
                {"addresses": ["10.0.0.1"], "nodeName": "node2", "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "nodeName": "node3", "conditions": {"ready": false}}]})
    }

    fn sorted(service: Value, nodes: &[Value]) -> Vec<String> {
        let announced = announced(&table(&[service]), &table(&[slice()]), &table(nodes));
        let ranked = announced.into_values().flat_map(|entry| entry.ranked);
        let mut ranked: Vec<_> = ranked.map(|address| address.to_string()).collect();
        ranked.sort();
        ranked
    }

    #[test]
    fn ready_nodes_that_nobody_excluded_are_candidates() {
        let excluded = json!({labels::NO_LOAD_BALANCERS: ""});
        let nodes = [
            node(1, "True", json!({})),
            node(2, "False", json!({})),
            node(3, "True", excluded),
        ];
        let cluster = service("Cluster", "198.51.100.1");
        assert_eq!(sorted(cluster.clone(), &nodes), ["192.0.2.1"]);
        assert_eq!(
            sorted(cluster, &nodes[1..]),
            ["192.0.2.2"],
            "better than none"
        );
    }

    #[test]
    fn a_local_policy_needs_a_ready_endpoint() {
        let nodes = [1, 2, 3].map(|k| node(k, "True", json!({})));
        assert_eq!(
            sorted(service("Local", "198.51.100.1"), &nodes),
            ["192.0.2.2"]
        );
        assert_eq!(sorted(service("Cluster", "198.51.100.1"), &nodes).len(), 3);
    }

    #[test]
    fn an_address_is_announced_by_nodes_of_its_family() {
        let mut both = node(2, "True", json!({}));
        let address = json!({"type": "InternalIP", "address": "fd00::2"});
        let addresses = both["status"]["addresses"].as_array_mut();
        addresses.expect("addresses").insert(0, address);
        let mut alone = node(3, "True", json!({}));
        alone["status"]["addresses"][0]["address"] = json!("fd00::3");
        let nodes = [node(1, "True", json!({})), both, alone];
        let v6 = sorted(service("Cluster", "fd00::200"), &nodes);
        assert_eq!(v6, ["192.0.2.2", "fd00::3"], "known by IPv4 where they can");
        let v4 = sorted(service("Cluster", "198.51.100.1"), &nodes);
        assert_eq!(v4, ["192.0.2.1", "192.0.2.2"]);
    }

    #[test]
    fn addresses_of_others_are_not_announced() {
        let mut foreign = service("Cluster", "198.51.100.1");
        foreign["status"]["conditions"] = json!([]);
        assert!(sorted(foreign, &[node(1, "True", json!({}))]).is_empty());
    }

    #[test]
    fn addresses_spread_and_a_new_node_moves_few_of_them() {
        let nodes = |count: u8| -> Vec<Candidate> {
            let candidate = |k| Candidate {
                name: format!("node{k}"),
                address: IpAddr::from([192, 0, 2, k]),
                families: [true, false],
            };
            (1..=count).map(candidate).collect()
        };
        let first = |count: u8| -> Vec<IpAddr> {
            let address = |host| IpAddr::from([198, 51, 100, host]);
            (0..=255)
                .map(|host| ranked(address(host), &nodes(count), None)[0])
                .collect()
        };
        let (before, after) = (first(4), first(5));
        for k in 1..=4 {
            let share = before
                .iter()
                .filter(|a| **a == IpAddr::from([192, 0, 2, k]))
                .count();
            assert!((40..=90).contains(&share), "node{k} has {share} of 256");
        }
        let moved: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
        assert!(
            moved
                .iter()
                .all(|(_, to)| **to == IpAddr::from([192, 0, 2, 5]))
        );
        assert!((30..=80).contains(&moved.len()), "{}", moved.len());
    }
}
