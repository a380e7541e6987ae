use std::collections::HashMap;
use std::sync::Arc;

use serde_json::json;

use super::*;

#[derive(Default)]
struct Fixed {
    maps: HashMap<String, ConfigMap>,
    secrets: HashMap<String, Secret>,
}

impl Objects for Fixed {
    fn config_map(&self, name: &str) -> Option<&ConfigMap> {
        self.maps.get(name)
    }
    fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.get(name)
    }
}

fn objects() -> Fixed {
    let map = serde_json::from_value(json!({"data": {"greeting": "hi", "colour": "red"}})).unwrap();
    // "cGFzcw==" is base64 of "pass".
    let secret = serde_json::from_value(json!({"data": {"password": "cGFzcw=="}})).unwrap();
    Fixed {
        maps: HashMap::from([("cfg".into(), map)]),
        secrets: HashMap::from([("sec".into(), secret)]),
    }
}

fn run(
    container: serde_json::Value,
    services: &[Arc<Service>],
) -> Result<HashMap<String, String>, EnvError> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "shop", "uid": "u"},
        "spec": {"nodeName": "node1", "containers": [container]}
    }))
    .unwrap();
    let container = &spec(&pod).containers[0];
    let ips = fields::Addresses {
        pod: vec!["10.244.1.2".parse().unwrap()],
        node: vec!["192.0.2.1".parse().unwrap()],
        allocatable: fields::Allocatable::default(),
    };
    environment(&pod, container, &ips, services, &objects()).map(|list| list.into_iter().collect())
}

#[test]
fn values_come_from_every_source() {
    let env = run(
        json!({"name": "c", "env": [
            {"name": "PLAIN", "value": "v"},
            {"name": "BOTH", "value": "$(PLAIN)/$(PASSWORD)"},
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "password"}}},
            {"name": "LATE", "value": "$(PASSWORD)"},
            {"name": "HI", "valueFrom": {"configMapKeyRef": {"name": "cfg", "key": "greeting"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ], "envFrom": [{"prefix": "CFG_", "configMapRef": {"name": "cfg"}}]}),
        &[],
    )
    .unwrap();
    assert_eq!(
        env["BOTH"], "v/$(PASSWORD)",
        "only names defined before are expanded"
    );
    assert_eq!(env["LATE"], "pass");
    assert_eq!(env["HI"], "hi");
    assert_eq!(env["CFG_colour"], "red");
    assert_eq!(env["IP"], "10.244.1.2");
}

#[test]
fn absent_references_are_named_unless_optional() {
    let absent = |optional| {
        json!({"name": "c", "env": [{"name": "X", "valueFrom":
            {"configMapKeyRef": {"name": "none", "key": "k", "optional": optional}}}]})
    };
    let error = run(absent(false), &[]).unwrap_err();
    assert_eq!(error.to_string(), "configmap \"none\" not found");
    assert!(!run(absent(true), &[]).unwrap().contains_key("X"));
    let key = json!({"name": "c", "env": [{"name": "X", "valueFrom":
        {"secretKeyRef": {"name": "sec", "key": "k"}}}]});
    let error = run(key, &[]).unwrap_err();
    assert_eq!(error.to_string(), "couldn't find key k in Secret shop/sec");
}

#[test]
fn services_of_the_namespace_and_the_api_server_are_announced() {
    let service = |namespace: &str, name: &str| -> Arc<Service> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"clusterIP": "10.96.0.7", "ports": [{"name": "http", "port": 80}]}
            }))
            .unwrap(),
        )
    };
    let services = [
        service("shop", "my-api"),
        service("default", "kubernetes"),
        service("x", "other"),
    ];
    let env = run(json!({"name": "c"}), &services).unwrap();
    assert_eq!(env["MY_API_SERVICE_HOST"], "10.96.0.7");
    assert_eq!(env["MY_API_SERVICE_PORT_HTTP"], "80");
    assert_eq!(env["MY_API_PORT_80_TCP"], "tcp://10.96.0.7:80");
    assert!(env.contains_key("KUBERNETES_SERVICE_HOST"));
    assert!(!env.contains_key("OTHER_SERVICE_HOST"));
}
