//! What a Service is when its manifest does not say.

use serde_json::{Value, json};

use super::families;
use crate::registry::value::{child, default, default_text, int, list_mut, put, text};

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
        families::infer(spec);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_service_is_a_cluster_ip() {
        let mut service = json!({"spec": {"ports": [{"port": 80}]}});
        set_defaults(&mut service);
        let spec = json!({
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
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
}
