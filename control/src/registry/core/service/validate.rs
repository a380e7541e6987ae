//! Validation of Services. Whether an address or node port is free is the allocator's question.

use std::collections::BTreeSet;

use serde_json::Value;

use super::families;
use crate::registry::kind::FieldError;
use crate::registry::rules::{
    At, Faults, dns_label, dns_subdomain, ip, label_map, one_of, port_number, port_or_name,
    qualified_name, range, required, required_one_of, unique,
};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];
/// One day, the longest that a client can stick to a pod.
const MAX_AFFINITY_SECONDS: i64 = 86_400;

/// Every fault of a new or updated Service.
pub(super) fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    let kind = spec.get("type");
    required_one_of(&kind, &TYPES, &mut faults);
    ports(&spec, &mut faults);
    label_map(&spec.get("selector"), &mut faults);
    by_type(&spec, &mut faults);
    addresses(&spec, &mut faults);
    affinity(&spec, &mut faults);
    for policy in ["externalTrafficPolicy", "internalTrafficPolicy"] {
        one_of(&spec.get(policy), &POLICIES, &mut faults);
    }
    families::validate(&spec, &mut faults);
    if let Some(old) = old {
        update(&spec, &At::root(old).get("spec"), &mut faults);
    }
    faults.into_list()
}

fn is_headless(spec: &At<'_>) -> bool {
    spec.get("clusterIP").text() == "None"
}

fn by_type(spec: &At<'_>, faults: &mut Faults) {
    let (cluster_ip, external_name) = (spec.get("clusterIP"), spec.get("externalName"));
    match spec.get("type").text() {
        "ExternalName" => {
            if !cluster_ip.is_empty() {
                faults.forbidden(&cluster_ip, "may not be set for ExternalName services");
            }
            if required(&external_name, faults) {
                let name = external_name
                    .text()
                    .strip_suffix('.')
                    .unwrap_or(external_name.text());
                if !crate::registry::rules::is_dns_subdomain(name) {
                    dns_subdomain(&external_name, faults);
                }
            }
        }
        "NodePort" | "LoadBalancer" if is_headless(spec) => {
            let rule = format!(
                "may not be set to 'None' for {} services",
                spec.get("type").text()
            );
            faults.invalid(&cluster_ip, &rule);
        }
        _ => {}
    }
    let external = spec.get("externalTrafficPolicy");
    let reachable = matches!(spec.get("type").text(), "NodePort" | "LoadBalancer")
        || !spec.get("externalIPs").is_empty();
    if external.is_set() && !reachable {
        faults.invalid(
            &external,
            "may only be set for externally-accessible services",
        );
    }
}

fn ports(spec: &At<'_>, faults: &mut Faults) {
    let ports = spec.get("ports");
    let may_lack_ports = is_headless(spec) || spec.get("type").text() == "ExternalName";
    if ports.is_empty() && !may_lack_ports {
        faults.required(&ports, "");
    }
    let several = ports.len() > 1;
    ports
        .each()
        .for_each(|port| self::port(spec, &port, several, faults));
    unique(ports.each().map(|port| port.get("name")), faults);
    no_pair_twice(&ports, "port", faults);
    no_pair_twice(&ports, "nodePort", faults);
}

fn port(spec: &At<'_>, port: &At<'_>, several: bool, faults: &mut Faults) {
    let (name, number) = (port.get("name"), port.get("port"));
    if several {
        required(&name, faults);
    }
    dns_label(&name, faults);
    if required(&number, faults) {
        port_number(&number, faults);
    }
    required_one_of(&port.get("protocol"), &PROTOCOLS, faults);
    // The default target is the port itself, which has had its say.
    let target = port.get("targetPort");
    if target.value() != number.value() {
        port_or_name(&target, faults);
    }
    let protocol = port.get("appProtocol");
    if !protocol.is_empty() {
        qualified_name(&protocol, protocol.text(), faults);
    }
    let node_port = port.get("nodePort");
    let given = node_port.int().is_some_and(|number| number != 0);
    if given {
        port_number(&node_port, faults);
    }
    if given && !matches!(spec.get("type").text(), "NodePort" | "LoadBalancer") {
        faults.forbidden(
            &node_port,
            &format!(
                "may not be used when `type` is '{}'",
                spec.get("type").text()
            ),
        );
    }
}

/// A number may serve several protocols, each once.
fn no_pair_twice(ports: &At<'_>, field: &str, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for port in ports.each() {
        let at = port.get(field);
        let number = at.int().filter(|number| *number != 0);
        if number.is_some() && !seen.insert((number, port.get("protocol").text())) {
            faults.duplicate(&at);
        }
    }
}

fn addresses(spec: &At<'_>, faults: &mut Faults) {
    let (single, all) = (spec.get("clusterIP"), spec.get("clusterIPs"));
    if single.text() != "None" {
        ip(&single, faults);
    }
    if let Some(first) = all.each().next()
        && first.text() != single.text()
    {
        faults.invalid(&all, "first value must match `clusterIP`");
    }
    if all.len() > 2 {
        faults.invalid(&all, "may only hold up to 2 values");
    }
    for address in spec.get("externalIPs").each() {
        ip(&address, faults);
        if address
            .text()
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
        {
            faults.invalid(&address, "may not be a loopback or the unspecified address");
        }
    }
}

fn affinity(spec: &At<'_>, faults: &mut Faults) {
    let affinity = spec.get("sessionAffinity");
    one_of(&affinity, &["ClientIP", "None"], faults);
    let config = spec.get("sessionAffinityConfig");
    if config.is_set() && affinity.text() == "None" {
        faults.forbidden(&config, "must not be set when session affinity is None");
    }
    range(
        &config.dig(&["clientIP", "timeoutSeconds"]),
        1..=MAX_AFFINITY_SECONDS,
        faults,
    );
}

/// The address stays as long as the Service has one.
fn update(new: &At<'_>, old: &At<'_>, faults: &mut Faults) {
    let named = |spec: &At<'_>| spec.get("type").text() == "ExternalName";
    if named(new) || named(old) {
        return;
    }
    families::validate_update(new, old, faults);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::core::service::default::set_defaults;

    #[track_caller]
    fn case(spec: Value, expected: &[&str]) {
        let mut service = json!({ "spec": spec });
        set_defaults(&mut service);
        let faults = validate(&service, None);
        assert_eq!(Faults::paths(&faults), expected, "{faults:#?}");
    }

    #[test]
    fn good_services_are_valid() {
        case(json!({"ports": [{"port": 80}]}), &[]);
        case(json!({"clusterIP": "None"}), &[]);
        case(
            json!({"type": "ExternalName", "externalName": "example.com."}),
            &[],
        );
        case(
            json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}),
            &[],
        );
        case(
            json!({"ports": [{"port": 53, "name": "a"}, {"port": 53, "name": "b", "protocol": "UDP"}]}),
            &[],
        );
    }

    #[test]
    fn ports_are_checked() {
        case(json!({}), &["spec.ports"]);
        case(
            json!({"ports": [{"port": 0}, {"port": 80, "name": "x", "nodePort": 30000},
                {"port": 80, "name": "x", "targetPort": "Bad Name", "protocol": "ICMP"}]}),
            &[
                "spec.ports[0].name",
                "spec.ports[0].port",
                "spec.ports[1].nodePort",
                "spec.ports[2].protocol",
                "spec.ports[2].targetPort",
                "spec.ports[2].name",
            ],
        );
        case(
            json!({"ports": [{"port": 80, "name": "x"}, {"port": 80, "name": "y"}]}),
            &["spec.ports[1].port"],
        );
    }

    #[test]
    fn types_have_their_own_rules() {
        case(
            json!({"type": "Magic", "ports": [{"port": 80}]}),
            &["spec.type"],
        );
        case(json!({"type": "ExternalName"}), &["spec.externalName"]);
        case(
            json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 80}]}),
            &["spec.clusterIP"],
        );
        case(
            json!({"clusterIP": "ten", "ports": [{"port": 80}]}),
            &["spec.clusterIP", "spec.clusterIPs[0]"],
        );
        case(
            json!({"externalTrafficPolicy": "Local", "ports": [{"port": 80}]}),
            &["spec.externalTrafficPolicy"],
        );
    }

    #[test]
    fn the_address_is_immutable() {
        let mut old = json!({"spec": {"clusterIP": "10.96.0.7", "ports": [{"port": 80}]}});
        set_defaults(&mut old);
        let mut new = old.clone();
        new["spec"]["clusterIP"] = json!("10.96.0.8");
        new["spec"]["clusterIPs"] = json!(["10.96.0.8"]);
        let faults = validate(&new, Some(&old));
        assert_eq!(Faults::paths(&faults), ["spec.clusterIPs[0]"]);
    }
}
