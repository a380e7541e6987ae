//! What a Service is when its manifest does not say.

use serde_json::{Value, json};

use crate::registry::value::{
    child, default, default_text, flag, int, list, list_mut, present, put, text,
};

/// Fills in the defaults that need no allocation; addresses and node ports are the allocator's.
pub(super) fn set_defaults(service: &mut Value) {
    let Some(spec) = child(service, "spec") else {
        return;
    };
    default_text(spec, "sessionAffinity", "None");
    default_text(spec, "type", "ClusterIP");
    if text(spec, "/sessionAffinity") == "ClientIP" {
        affinity_timeout(spec);
    }
    for port in list_mut(spec, "/ports") {
        default_text(port, "protocol", "TCP");
        target_port(port);
    }
    let kind = text(spec, "/type").to_owned();
    if kind != "ExternalName" {
        default_text(spec, "internalTrafficPolicy", "Cluster");
        families(spec);
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        default_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", true);
    }
    if let Some(status) = child(service, "status") {
        default(status, "loadBalancer", json!({}));
    }
}

fn affinity_timeout(spec: &mut Value) {
    if let Some(config) = child(spec, "sessionAffinityConfig")
        && let Some(client_ip) = child(config, "clientIP")
    {
        default(client_ip, "timeoutSeconds", 10800);
    }
}

/// The target is the port itself unless it is given.
fn target_port(port: &mut Value) {
    let unset = match port.get("targetPort") {
        None | Some(Value::Null) => true,
        Some(target) => target == 0 || target == "",
    };
    if unset && let Some(number) = int(port, "/port") {
        put(port, "targetPort", Some(number.into()));
    }
}

/// One stack, of the family of the given address or IPv4.
fn families(spec: &mut Value) {
    let first = match text(spec, "/clusterIP") {
        "" => text(spec, "/clusterIPs/0"),
        ip => ip,
    };
    let family = if first.contains(':') { "IPv6" } else { "IPv4" };
    default(spec, "ipFamilies", json!([family]));
    default_text(spec, "ipFamilyPolicy", "SingleStack");
    mirror_addresses(spec);
}

/// `clusterIP` and the first of `clusterIPs` are one value in two places.
fn mirror_addresses(spec: &mut Value) {
    let single = text(spec, "/clusterIP").to_owned();
    let first = text(spec, "/clusterIPs/0").to_owned();
    if !single.is_empty() && first.is_empty() {
        put(spec, "clusterIPs", Some(json!([single])));
    } else if single.is_empty() && !first.is_empty() {
        put(spec, "clusterIP", Some(first.into()));
    }
}

/// Copies addresses and node ports of the stored Service into an update that leaves them out.
pub(super) fn carry_over(new: &mut Value, old: &Value) {
    let needs_address = text(new, "/spec/type") != "ExternalName";
    let had_address = text(old, "/spec/type") != "ExternalName";
    let Some(spec) = new.get_mut("spec") else {
        return;
    };
    if needs_address && had_address && text(spec, "/clusterIP").is_empty() {
        put(spec, "clusterIP", old.pointer("/spec/clusterIP").cloned());
        put(spec, "clusterIPs", old.pointer("/spec/clusterIPs").cloned());
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
    fn a_bare_service_is_a_single_stack_cluster_ip() {
        let mut service = json!({"spec": {"ports": [{"port": 80}]}});
        set_defaults(&mut service);
        let spec = json!({
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}],
        });
        assert_eq!(service["spec"], spec);
    }

    #[test]
    fn headless_services_carry_none_in_both_fields() {
        let mut service = json!({"spec": {"clusterIP": "None"}});
        set_defaults(&mut service);
        assert_eq!(service["spec"]["clusterIPs"], json!(["None"]));
    }

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
}
