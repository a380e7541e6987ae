//! NetworkPolicy: who may talk to the pods that it selects, and to whom they may talk.

use serde_json::{Value, json};

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, name, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, cidr, one_of, port_or_name, required, selector};
use crate::registry::selector::selector_text;
use crate::registry::value::{default, default_text, list, list_mut};

/// NetworkPolicy of networking.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "networking.k8s.io",
    kind: "NetworkPolicy",
    plural: "networkpolicies",
    singular: "networkpolicy",
    short_names: &["netpol"],
    columns: &[NAME, string("Pod-Selector"), AGE],
    cells: |policy, now| {
        let selector = selector_text(policy.pointer("/spec/podSelector"));
        vec![name(policy), selector.into(), age(policy, now)]
    },
    default: set_defaults,
    prepare: prepare::generation,
    validate,
    ..Kind::PLAIN
};

/// A policy is about ingress, and about egress too if it has egress rules.
fn set_defaults(policy: &mut Value) {
    for direction in ["/spec/ingress", "/spec/egress"] {
        for rule in list_mut(policy, direction) {
            for port in list_mut(rule, "/ports") {
                default_text(port, "protocol", "TCP");
            }
        }
    }
    let egress = !list(policy, "/spec/egress").is_empty();
    let types = if egress {
        json!(["Ingress", "Egress"])
    } else {
        json!(["Ingress"])
    };
    if let Some(spec) = policy.get_mut("spec") {
        default(spec, "policyTypes", types);
    }
}

fn validate(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    selector(&spec.get("podSelector"), &mut faults);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.get(direction).each() {
            rule.get("ports")
                .each()
                .for_each(|port| self::port(&port, &mut faults));
            rule.get(peers)
                .each()
                .for_each(|peer| self::peer(&peer, &mut faults));
        }
    }
    let types = spec.get("policyTypes");
    types
        .each()
        .for_each(|name| one_of(&name, &["Ingress", "Egress"], &mut faults));
    if types.len() > 2 {
        faults.invalid(&types, "may not specify more than two policyTypes");
    }
    faults.into_list()
}

fn port(port: &At<'_>, faults: &mut Faults) {
    one_of(&port.get("protocol"), &["SCTP", "TCP", "UDP"], faults);
    let (first, last) = (port.get("port"), port.get("endPort"));
    port_or_name(&first, faults);
    let Some(end) = last.int() else { return };
    match first.int() {
        Some(start) if end < start => {
            faults.invalid(&last, "must be greater than or equal to `port`");
        }
        Some(_) => crate::registry::rules::port_number(&last, faults),
        None if first.is_set() => {
            faults.invalid(&last, "may not be specified when `port` is non-numeric");
        }
        None => faults.invalid(&last, "may not be specified when `port` is not specified"),
    }
}

fn peer(peer: &At<'_>, faults: &mut Faults) {
    let (pods, namespaces) = (peer.get("podSelector"), peer.get("namespaceSelector"));
    let block = peer.get("ipBlock");
    if !pods.is_set() && !namespaces.is_set() && !block.is_set() {
        faults.required(peer, "must specify a peer");
    }
    if block.is_set() && (pods.is_set() || namespaces.is_set()) {
        faults.forbidden(peer, "may not specify both ipBlock and another peer");
    }
    selector(&pods, faults);
    selector(&namespaces, faults);
    if block.is_set() {
        self::block(&block, faults);
    }
}

/// The exceptions lie inside the block.
fn block(block: &At<'_>, faults: &mut Faults) {
    let whole = block.get("cidr");
    required(&whole, faults);
    cidr(&whole, faults);
    for except in block.get("except").each() {
        cidr(&except, faults);
        let pair = network(whole.text()).zip(network(except.text()));
        if pair.is_some_and(|(whole, part)| !strictly_inside(part, whole)) {
            faults.invalid(
                &except,
                &format!("must be a strict subset of `cidr` {}", whole.value()),
            );
        }
    }
}

/// Address bits left-aligned in 128, prefix length, and whether it is IPv4.
fn network(cidr: &str) -> Option<(u128, u32, bool)> {
    let (address, length) = cidr.split_once('/')?;
    let length: u32 = length.parse().ok()?;
    match address.parse().ok()? {
        std::net::IpAddr::V4(v4) => Some((u128::from(v4.to_bits()) << 96, length.min(32), true)),
        std::net::IpAddr::V6(v6) => Some((v6.to_bits(), length.min(128), false)),
    }
}

fn strictly_inside(part: (u128, u32, bool), whole: (u128, u32, bool)) -> bool {
    let same = (part.0 ^ whole.0).leading_zeros() >= whole.1;
    part.2 == whole.2 && part.1 > whole.1 && same
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_follow_from_the_rules() {
        let mut policy =
            json!({"spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}});
        set_defaults(&mut policy);
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
        assert_eq!(policy["spec"]["ingress"][0]["ports"][0]["protocol"], "TCP");
        let mut policy = json!({"spec": {"podSelector": {}, "egress": [{}]}});
        set_defaults(&mut policy);
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    }

    #[test]
    fn peers_and_ports_are_checked() {
        let policy = json!({"spec": {"podSelector": {}, "ingress": [{
            "ports": [{"port": 80, "endPort": 79}, {"port": "http", "endPort": 90}, {"endPort": 1}],
            "from": [{}, {"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}},
                {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "11.0.0.0/16", "10.0.0.0/8"]}}]}],
            "policyTypes": ["Sideways"]}});
        let faults = validate(&policy, None);
        assert_eq!(
            Faults::paths(&faults),
            [
                "spec.ingress[0].ports[0].endPort",
                "spec.ingress[0].ports[1].endPort",
                "spec.ingress[0].ports[2].endPort",
                "spec.ingress[0].from[0]",
                "spec.ingress[0].from[1]",
                "spec.ingress[0].from[2].ipBlock.except[1]",
                "spec.ingress[0].from[2].ipBlock.except[2]",
                "spec.policyTypes[0]"
            ]
        );
    }
}
