//! The endpoints behind a Service port, as each kind of traffic may use them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::ServicePort;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointHints, EndpointSlice};
use naru_ebpf_common::service::BACKEND_LOCAL;
use naru_ebpf_common::{Backend, Port};

/// Where the plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Here<'a> {
    /// The node's name.
    pub node: &'a str,
    /// Its zone, where it has one.
    pub zone: Option<&'a str>,
}

/// Backends, sorted, for the two traffic policies.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Views {
    /// For the policy `Cluster`.
    pub(super) cluster: Vec<Backend>,
    /// For the policy `Local`.
    pub(super) local: Vec<Backend>,
}

impl Views {
    /// Whether there is an endpoint anywhere.
    pub(super) fn any(&self) -> bool {
        !self.cluster.is_empty() || !self.local.is_empty()
    }
}

/// What an endpoint's hint says about this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hint {
    None,
    Here,
    Elsewhere,
}

#[derive(Debug, Clone, Copy)]
struct End {
    local: bool,
    ready: bool,
    /// Not ready any more, but serving while it terminates.
    leaving: bool,
    node: Hint,
    zone: Hint,
}

type Ends = BTreeMap<(IpAddr, u16), End>;

/// The endpoints of a port in one family. Ready ones; where there is none, those that still serve while they
/// terminate, so that the last connections of a Service going away are not refused.
pub(super) fn views(
    slices: &[&EndpointSlice],
    port: &ServicePort,
    here: Here<'_>,
    v6: bool,
) -> Views {
    let ends = collect(slices, port, here, v6);
    let near = nearness(&ends);
    let cluster = chosen(&ends, |end| end.ready && near(end));
    let local = chosen(&ends, |end| end.ready && end.local);
    let or_leaving = |ready: Vec<Backend>, wanted: fn(&End) -> bool| {
        if ready.is_empty() {
            chosen(&ends, |end| end.leaving && wanted(end))
        } else {
            ready
        }
    };
    Views {
        cluster: or_leaving(cluster, |_| true),
        local: or_leaving(local, |end| end.local),
    }
}

/// The addresses of this node's ready endpoints: those for which a load balancer sends traffic
/// here. One with an address of each family counts once.
pub(super) fn ready_here(slices: &[&EndpointSlice], node: &str) -> usize {
    let of_family = |v6| ready_of_family(slices, node, v6);
    of_family(false).max(of_family(true))
}

fn ready_of_family(slices: &[&EndpointSlice], node: &str, v6: bool) -> usize {
    let slices = slices.iter().filter(|slice| is_v6(slice) == v6);
    let endpoints = slices.flat_map(|slice| &slice.endpoints).flatten();
    let here = endpoints.filter(|end| end.node_name.as_deref() == Some(node) && is_ready(end));
    let addresses = here.flat_map(|end| &end.addresses);
    addresses.collect::<BTreeSet<_>>().len()
}

/// The nodes that have a ready endpoint.
pub(crate) fn nodes_with_ready(slices: &[&EndpointSlice]) -> BTreeSet<String> {
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints).flatten();
    let ready = endpoints.filter(|end| is_ready(end));
    ready.filter_map(|end| end.node_name.clone()).collect()
}

fn chosen(ends: &Ends, wanted: impl Fn(&End) -> bool) -> Vec<Backend> {
    ends.iter()
        .filter(|(_, end)| wanted(end))
        .map(|((ip, port), end)| Backend {
            addr: (*ip).into(),
            port: Port::new(*port),
            flags: if end.local { BACKEND_LOCAL } else { 0 },
            reserved: 0,
        })
        .collect()
}

/// Hints count when every ready endpoint has one and one of them is for here: first those for
/// nodes, then those for zones. Without them every endpoint is as good as any other.
fn nearness(ends: &Ends) -> impl Fn(&End) -> bool + use<> {
    let by = |hint: fn(&End) -> Hint| {
        let ready = || ends.values().filter(|end| end.ready).map(hint);
        ready().all(|hint| hint != Hint::None) && ready().any(|hint| hint == Hint::Here)
    };
    let (by_node, by_zone) = (by(|end| end.node), by(|end| end.zone));
    move |end| match (by_node, by_zone) {
        (true, _) => end.node == Hint::Here,
        (false, true) => end.zone == Hint::Here,
        (false, false) => true,
    }
}

fn collect(slices: &[&EndpointSlice], port: &ServicePort, here: Here<'_>, v6: bool) -> Ends {
    let wanted = port.name.as_deref().unwrap_or_default();
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let mut ends = Ends::new();
    for slice in slices.iter().filter(|slice| is_v6(slice) == v6) {
        let ports = slice.ports.iter().flatten().filter(|port| {
            port.name.as_deref().unwrap_or_default() == wanted
                && port.protocol.as_deref().unwrap_or("TCP") == protocol
        });
        for number in ports.filter_map(|port| u16::try_from(port.port?).ok()) {
            for endpoint in slice.endpoints.iter().flatten() {
                let end = end(endpoint, here);
                for ip in endpoint.addresses.iter().filter_map(|ip| ip.parse().ok()) {
                    // An endpoint that moves from slice to slice is in both for a moment.
                    let known = ends.entry((ip, number)).or_insert(end);
                    if end.ready && !known.ready {
                        *known = end;
                    }
                }
            }
        }
    }
    ends
}

fn is_v6(slice: &EndpointSlice) -> bool {
    slice.address_type == "IPv6"
}

fn is_ready(endpoint: &Endpoint) -> bool {
    // Discovery API: an absent `ready` means ready.
    let conditions = endpoint.conditions.as_ref();
    conditions.and_then(|c| c.ready).unwrap_or(true)
}

fn end(endpoint: &Endpoint, here: Here<'_>) -> End {
    let conditions = endpoint.conditions.as_ref();
    let ready = is_ready(endpoint);
    // An absent `serving` means the same as ready.
    let serving = conditions.and_then(|c| c.serving).unwrap_or(ready);
    let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
    let hints = endpoint.hints.as_ref();
    End {
        local: endpoint.node_name.as_deref() == Some(here.node),
        ready,
        leaving: !ready && serving && terminating,
        node: hint(hints.map(nodes), Some(here.node)),
        zone: hint(hints.map(zones), here.zone),
    }
}

fn nodes(hints: &EndpointHints) -> Vec<&str> {
    let all = hints.for_nodes.iter().flatten();
    all.map(|node| node.name.as_str()).collect()
}

fn zones(hints: &EndpointHints) -> Vec<&str> {
    let all = hints.for_zones.iter().flatten();
    all.map(|zone| zone.name.as_str()).collect()
}

fn hint(names: Option<Vec<&str>>, own: Option<&str>) -> Hint {
    match names {
        Some(names) if names.is_empty() => Hint::None,
        Some(names) if own.is_some_and(|own| names.contains(&own)) => Hint::Here,
        Some(_) => Hint::Elsewhere,
        None => Hint::None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const HERE: Here<'_> = Here {
        node: "node1",
        zone: Some("a"),
    };

    fn slice(endpoints: &Value) -> EndpointSlice {
        let slice = json!({"metadata": {}, "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"port": 80}]});
        serde_json::from_value(slice).expect("a slice")
    }

    fn last(backends: &[Backend]) -> Vec<u8> {
        backends.iter().map(|b| b.addr.bytes()[15]).collect()
    }

    /// Last bytes of the addresses for `Cluster` and for `Local`.
    fn seen(endpoints: &Value) -> (Vec<u8>, Vec<u8>) {
        let slice = slice(endpoints);
        let views = views(&[&slice], &ServicePort::default(), HERE, false);
        (last(&views.cluster), last(&views.local))
    }

    fn end(n: u8, node: &str, conditions: &Value) -> Value {
        json!({"addresses": [format!("10.0.0.{n}")], "nodeName": node, "conditions": conditions})
    }

    fn hinted(n: u8, hints: &Value) -> Value {
        json!({"addresses": [format!("10.0.0.{n}")], "hints": hints})
    }

    fn ready() -> Value {
        json!({"ready": true})
    }

    fn leaving() -> Value {
        json!({"ready": false, "serving": true, "terminating": true})
    }

    #[test]
    fn each_policy_falls_back_to_what_still_serves_by_itself() {
        let both = json!([end(1, "node1", &leaving()), end(2, "node2", &ready())]);
        assert_eq!(seen(&both), (vec![2], vec![1]));
        let here = json!([end(1, "node1", &ready()), end(3, "node1", &leaving())]);
        assert_eq!(seen(&here), (vec![1], vec![1]));
        let gone = json!([
            end(2, "node2", &leaving()),
            end(4, "node1", &json!({"ready": false}))
        ]);
        assert_eq!(seen(&gone), (vec![2], vec![]));
    }

    #[test]
    fn an_endpoint_in_two_slices_counts_once_and_as_ready() {
        let (old, new) = (
            slice(&json!([end(1, "node1", &leaving())])),
            slice(&json!([end(1, "node1", &ready())])),
        );
        let views = views(&[&old, &new], &ServicePort::default(), HERE, false);
        assert_eq!(last(&views.cluster), [1]);
        assert_eq!(ready_here(&[&old, &new], "node1"), 1);
    }

    #[test]
    fn zones_count_when_all_endpoints_are_hinted_and_one_is_near() {
        let zone = |name: &str| json!({"forZones": [{"name": name}]});
        let near = json!([hinted(1, &zone("a")), hinted(2, &zone("b"))]);
        assert_eq!(seen(&near).0, [1]);
        let far = json!([hinted(1, &zone("b")), hinted(2, &zone("c"))]);
        assert_eq!(seen(&far).0, [1, 2]);
        let unhinted = json!([hinted(1, &zone("a")), hinted(2, &json!({}))]);
        assert_eq!(seen(&unhinted).0, [1, 2]);
    }

    #[test]
    fn hints_for_nodes_come_before_those_for_zones() {
        let hint = |node: &str| json!({"forZones": [{"name": "a"}], "forNodes": [{"name": node}]});
        let near = json!([hinted(1, &hint("node1")), hinted(2, &hint("node2"))]);
        assert_eq!(seen(&near).0, [1]);
        let far = json!([hinted(1, &hint("node3")), hinted(2, &hint("node2"))]);
        assert_eq!(seen(&far).0, [1, 2], "both are for this zone");
    }

    #[test]
    fn only_ready_endpoints_of_this_node_make_it_healthy() {
        let all = json!([
            end(1, "node1", &ready()),
            end(2, "node2", &ready()),
            end(3, "node1", &leaving())
        ]);
        assert_eq!(ready_here(&[&slice(&all)], "node1"), 1);
    }
}
