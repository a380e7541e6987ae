//! Which Services have a health check port (`healthCheckNodePort`), and what it says.
//!
//! A load balancer asks every node whether it has an endpoint, because a Service with the external
//! policy `Local` drops on the others. The answer is that of kube-proxy, so that balancers made for
//! it read ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::desired::{group, is_local, slices_of};
use super::ends::ready_here;
use crate::watches::Key;

/// What a health check port answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// The Service.
    pub service: Key,
    /// Its ready endpoints on this node.
    pub endpoints: usize,
}

impl HealthCheck {
    /// The status code: 200 with endpoints, 503 without.
    #[must_use]
    pub fn status(&self) -> u16 {
        if self.endpoints > 0 { 200 } else { 503 }
    }

    /// The body: JSON in kube-proxy's layout.
    #[must_use]
    pub fn body(&self) -> String {
        let (namespace, name) = (&self.service.namespace, &self.service.name);
        format!(
            "{{\n\t\"service\": {{\n\t\t\"namespace\": {namespace:?},\n\t\t\"name\": {name:?}\n\t}},\n\t\
             \"localEndpoints\": {},\n\t\"serviceProxyHealthy\": true\n}}",
            self.endpoints
        )
    }
}

/// Health checks by port. Of two Services with one port the first by name has it.
#[must_use]
pub fn health_checks(
    services: &BTreeMap<Key, Arc<Service>>,
    slices: &BTreeMap<Key, Arc<EndpointSlice>>,
    node: &str,
) -> BTreeMap<u16, HealthCheck> {
    let ports = services
        .iter()
        .filter_map(|(key, service)| Some((port(service)?, key)));
    let by_service = group(slices);
    let mut checks = BTreeMap::new();
    for (port, key) in ports {
        checks.entry(port).or_insert_with(|| HealthCheck {
            service: key.clone(),
            endpoints: ready_here(slices_of(&by_service, key), node),
        });
    }
    checks
}

/// Whether a Service has such a port.
#[must_use]
pub fn has_health_port(service: &Service) -> bool {
    port(service).is_some()
}

fn port(service: &Service) -> Option<u16> {
    let spec = service.spec.as_ref()?;
    let balanced = spec.type_.as_deref() == Some("LoadBalancer")
        && is_local(spec.external_traffic_policy.as_deref());
    let port = u16::try_from(spec.health_check_node_port?).ok()?;
    (balanced && port != 0).then_some(port)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_balanced_service_with_a_local_policy_says_how_many_endpoints_are_here() {
        let service = |kind: &str| {
            let spec = json!({"type": kind, "externalTrafficPolicy": "Local",
                "healthCheckNodePort": 32000});
            let object = json!({"metadata": {"name": "web"}, "spec": spec});
            let service: Service = serde_json::from_value(object).expect("a service");
            BTreeMap::from([(Key::new("shop", "web"), Arc::new(service))])
        };
        let slice = json!({"metadata": {"labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"port": 80}],
            "endpoints": [{"addresses": ["10.244.1.2"], "nodeName": "node1"}]});
        let slice: EndpointSlice = serde_json::from_value(slice).expect("a slice");
        let slices = BTreeMap::from([(Key::new("shop", "web-1"), Arc::new(slice))]);
        let checks = health_checks(&service("LoadBalancer"), &slices, "node1");
        let check = &checks[&32000];
        assert_eq!((check.endpoints, check.status()), (1, 200));
        let body: serde_json::Value = serde_json::from_str(&check.body()).expect("JSON");
        let expected = json!({"service": {"namespace": "shop", "name": "web"},
            "localEndpoints": 1, "serviceProxyHealthy": true});
        assert_eq!(body, expected);
        let checks = health_checks(&service("LoadBalancer"), &slices, "node2");
        assert_eq!(checks[&32000].status(), 503);
        assert!(health_checks(&service("NodePort"), &slices, "node1").is_empty());
    }
}
