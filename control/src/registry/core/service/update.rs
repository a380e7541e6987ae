//! What an update of a Service inherits from the stored one, and what it gives up.
//!
//! The server fills in addresses and ports that no manifest names. An update that leaves them out
//! keeps them, and one that changes the type gives up what the new type has no use for, so that
//! manifests may be applied, replaced and patched without naming what the server chose.

use serde_json::{Value, json};

use super::families;
use crate::registry::value::{flag, int, list, list_mut, present, put, text};

/// Copies addresses and node ports of the stored Service into an update that leaves them out.
pub(super) fn carry_over(new: &mut Value, old: &Value) {
    let needs_address = text(new, "/spec/type") != "ExternalName";
    let had_address = text(old, "/spec/type") != "ExternalName";
    let Some(spec) = new.get_mut("spec") else {
        return;
    };
    give_up(spec, old);
    follow_single_address(spec, old);
    if needs_address && had_address && text(spec, "/clusterIP").is_empty() {
        put(spec, "clusterIP", old.pointer("/spec/clusterIP").cloned());
        put(spec, "clusterIPs", old.pointer("/spec/clusterIPs").cloned());
    }
    if needs_address && had_address {
        families::carry_over(spec, old);
    }
    if needs_node_ports(spec) {
        carry_node_ports(spec, old);
    } else if text(old, "/spec/type") != text(spec, "/type") {
        drop_node_ports(spec, old);
    }
    if !present(spec, "/healthCheckNodePort") && text(spec, "/externalTrafficPolicy") == "Local" {
        put(
            spec,
            "healthCheckNodePort",
            old.pointer("/spec/healthCheckNodePort").cloned(),
        );
    }
}

/// Fields that only some types have, and what has to hold for a Service to have them.
type Dependent = (&'static [&'static str], fn(&Value) -> bool);

const DEPENDENT: [Dependent; 4] = [
    (
        &[
            "clusterIP",
            "clusterIPs",
            "ipFamilies",
            "ipFamilyPolicy",
            "internalTrafficPolicy",
        ],
        |spec| text(spec, "/type") != "ExternalName",
    ),
    (&["healthCheckNodePort"], |spec| {
        text(spec, "/type") == "LoadBalancer" && text(spec, "/externalTrafficPolicy") == "Local"
    }),
    (&["externalTrafficPolicy"], |spec| {
        matches!(text(spec, "/type"), "NodePort" | "LoadBalancer")
            || !list(spec, "/externalIPs").is_empty()
    }),
    (
        &["allocateLoadBalancerNodePorts", "loadBalancerClass"],
        |spec| text(spec, "/type") == "LoadBalancer",
    ),
];

/// Drops fields that the stored Service had a use for and the new one has not, where the client
/// left them as they were.
fn give_up(spec: &mut Value, old: &Value) {
    let Some(old) = old.get("spec") else { return };
    for (fields, applies) in DEPENDENT {
        if applies(old) && !applies(spec) {
            for field in fields {
                if spec.get(field) == old.get(field) {
                    put(spec, field, None);
                }
            }
        }
    }
}

/// A client that only changes `clusterIP` means `clusterIPs` as well.
fn follow_single_address(spec: &mut Value, old: &Value) {
    let single = text(spec, "/clusterIP").to_owned();
    let changed = !single.is_empty() && single != text(old, "/spec/clusterIP");
    if changed && spec.get("clusterIPs") == old.pointer("/spec/clusterIPs") {
        put(spec, "clusterIPs", Some(json!([single])));
    }
}

fn needs_node_ports(spec: &Value) -> bool {
    match text(spec, "/type") {
        "NodePort" => true,
        "LoadBalancer" => flag(spec, "/allocateLoadBalancerNodePorts"),
        _ => false,
    }
}

/// A port keeps its node port if the stored Service has a port of the same number and protocol.
fn carry_node_ports(spec: &mut Value, old: &Value) {
    let key = |port: &Value| (int(port, "/port"), text(port, "/protocol").to_owned());
    let given: Vec<_> = list(spec, "/ports")
        .iter()
        .filter_map(|port| int(port, "/nodePort"))
        .collect();
    for port in list_mut(spec, "/ports") {
        if int(port, "/nodePort").unwrap_or(0) != 0 {
            continue;
        }
        let stored = list(old, "/spec/ports")
            .iter()
            .find(|stored| key(stored) == key(port));
        let node_port = stored.and_then(|stored| int(stored, "/nodePort"));
        if let Some(node_port) = node_port.filter(|port| *port != 0 && !given.contains(port)) {
            put(port, "nodePort", Some(node_port.into()));
        }
    }
}

/// A type without node ports gives back those that the stored Service had.
fn drop_node_ports(spec: &mut Value, old: &Value) {
    let stored: Vec<_> = list(old, "/spec/ports")
        .iter()
        .filter_map(|port| int(port, "/nodePort"))
        .collect();
    for port in list_mut(spec, "/ports") {
        if int(port, "/nodePort").is_some_and(|node_port| stored.contains(&node_port)) {
            put(port, "nodePort", None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_keeps_addresses_and_node_ports() {
        let old = json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.7",
            "clusterIPs": ["10.96.0.7"],
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}});
        let mut new = json!({"spec": {"type": "NodePort", "ports": [
            {"port": 80, "protocol": "TCP"}, {"port": 81, "protocol": "TCP"}]}});
        carry_over(&mut new, &old);
        assert_eq!(new["spec"]["clusterIPs"], json!(["10.96.0.7"]));
        assert_eq!(new["spec"]["ports"][0]["nodePort"], 30080);
        assert_eq!(new["spec"]["ports"][1].get("nodePort"), None);
    }

    #[test]
    fn a_service_that_becomes_cluster_ip_gives_up_its_node_ports() {
        let old = json!({"spec": {"type": "NodePort",
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}});
        let mut new = json!({"spec": {"type": "ClusterIP",
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}});
        carry_over(&mut new, &old);
        assert_eq!(new["spec"]["ports"][0].get("nodePort"), None);
    }

    #[test]
    fn a_changed_type_gives_up_what_it_has_no_use_for() {
        let old = json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.7",
            "clusterIPs": ["10.96.0.7"], "externalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"]}});
        let mut inner = old.clone();
        inner["spec"]["type"] = json!("ClusterIP");
        carry_over(&mut inner, &old);
        assert_eq!(inner["spec"].get("externalTrafficPolicy"), None);
        assert_eq!(inner["spec"]["clusterIP"], "10.96.0.7");
        let mut named = old.clone();
        named["spec"]["type"] = json!("ExternalName");
        carry_over(&mut named, &old);
        assert_eq!(named["spec"], json!({"type": "ExternalName"}));
    }

    #[test]
    fn a_changed_address_is_changed_in_both_places() {
        let old = json!({"spec": {"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"]}});
        let mut new = old.clone();
        new["spec"]["clusterIP"] = json!("10.96.0.8");
        carry_over(&mut new, &old);
        assert_eq!(new["spec"]["clusterIPs"], json!(["10.96.0.8"]));
    }
}
