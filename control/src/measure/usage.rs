//! What one object uses up of a quota, by the names that ResourceQuotas have for it.

use std::collections::{BTreeMap, BTreeSet};

use naru_core::Quantity;
use naru_core::quantity::Form;
use serde_json::Value;

use super::amounts::{self, Amounts};
use crate::registry::value::{list, text};

/// What every container must say that a quota bounds, or nobody could add up.
pub(crate) const COMPUTE: [&str; 6] = [
    "cpu",
    "memory",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
    "limits.memory",
];
/// Kinds that a quota counts under their bare name, too.
const COUNTED: [&str; 7] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
];

/// What an object of this kind uses up.
pub(crate) fn of(group: &str, plural: &str, object: &Value) -> Amounts {
    let mut used = Amounts::new();
    let dot = if group.is_empty() { "" } else { "." };
    used.insert(format!("count/{plural}{dot}{group}"), count(1));
    if !group.is_empty() {
        return used;
    }
    match plural {
        "pods" if is_over(object) => return used,
        "pods" => pod(object, &mut used),
        "services" => service(object, &mut used),
        "persistentvolumeclaims" => claim(object, &mut used),
        _ => {}
    }
    if COUNTED.contains(&plural) {
        used.insert(plural.to_owned(), count(1));
    }
    used
}

fn count(number: usize) -> Quantity {
    Quantity::whole(i64::try_from(number).unwrap_or(i64::MAX), Form::DecimalSi)
}

/// Whether a pod has run to its end and holds nothing any more.
fn is_over(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

fn pod(pod: &Value, used: &mut Amounts) {
    compute(
        &amounts::held_by_pod(pod, "requests"),
        &amounts::held_by_pod(pod, "limits"),
        used,
    );
}

fn compute(requests: &Amounts, limits: &Amounts, used: &mut Amounts) {
    let plain = |name: &str| matches!(name, "cpu" | "memory" | "ephemeral-storage");
    for (name, amount) in requests {
        used.insert(format!("requests.{name}"), *amount);
        if plain(name) || name.starts_with("hugepages-") {
            used.insert(name.clone(), *amount);
        }
    }
    for (name, amount) in limits.iter().filter(|(name, _)| plain(name)) {
        used.insert(format!("limits.{name}"), *amount);
    }
}

fn service(service: &Value, used: &mut Amounts) {
    let ports = count(list(service, "/spec/ports").len());
    let without = service.pointer("/spec/allocateLoadBalancerNodePorts") == Some(&false.into());
    match text(service, "/spec/type") {
        "NodePort" => drop(used.insert("services.nodeports".into(), ports)),
        "LoadBalancer" => {
            used.insert("services.loadbalancers".into(), count(1));
            let ports = if without { count(0) } else { ports };
            used.insert("services.nodeports".into(), ports);
        }
        _ => {}
    }
}

fn claim(claim: &Value, used: &mut Amounts) {
    let requests = amounts::read(claim.pointer("/spec/resources/requests"));
    let storage = requests.get("storage").copied().unwrap_or_default();
    used.insert("requests.storage".into(), storage);
    let class = text(claim, "/spec/storageClassName");
    if !class.is_empty() {
        let of_class = |what: &str| format!("{class}.storageclass.storage.k8s.io/{what}");
        used.insert(of_class("requests.storage"), storage);
        used.insert(of_class("persistentvolumeclaims"), count(1));
    }
}

/// What containers of a pod do not say although `bounded` needs it: `cpu for: a,b; …`.
pub(crate) fn missing(pod: &Value, bounded: &BTreeSet<&str>) -> Option<String> {
    let mut silent: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let whole = said(pod.get("spec").unwrap_or(&Value::Null));
    for container in ["/spec/containers", "/spec/initContainers"]
        .iter()
        .flat_map(|containers| list(pod, containers))
    {
        let said = said(container);
        let needed = COMPUTE.iter().filter(|name| bounded.contains(*name));
        for name in needed.filter(|name| !said.contains_key(**name) && !whole.contains_key(**name))
        {
            silent
                .entry(name)
                .or_default()
                .insert(text(container, "/name"));
        }
    }
    let words = silent.iter().map(|(name, containers)| {
        let containers: Vec<&str> = containers.iter().copied().collect();
        format!("{name} for: {}", containers.join(","))
    });
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then(|| words.join("; "))
}

fn said(container: &Value) -> Amounts {
    let mut said = Amounts::new();
    let part = |part: &str| amounts::read(container.pointer(&format!("/resources/{part}")));
    compute(&part("requests"), &part("limits"), &mut said);
    said
}

/// Whether a pod asks for no processor and no memory at all.
pub(super) fn is_best_effort(pod: &Value) -> bool {
    let mut containers = ["/spec/containers", "/spec/initContainers"]
        .iter()
        .flat_map(|containers| list(pod, containers));
    let asks = |container: &Value| {
        let said = said(container);
        COMPUTE
            .iter()
            .any(|name| said.get(*name).is_some_and(|amount| !amount.is_zero()))
    };
    !containers.any(asks) && !asks(pod.get("spec").unwrap_or(&Value::Null))
}

/// Whether a pod wants to be near or far from pods of other namespaces.
pub(super) fn crosses_namespaces(pod: &Value) -> bool {
    let term = |term: &Value| {
        !list(term, "/namespaces").is_empty()
            || term
                .get("namespaceSelector")
                .is_some_and(|it| !it.is_null())
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|which| {
        let at = |list_name: &str| format!("/spec/affinity/{which}/{list_name}");
        let hard = at("requiredDuringSchedulingIgnoredDuringExecution");
        let soft = at("preferredDuringSchedulingIgnoredDuringExecution");
        list(pod, &hard).iter().any(term)
            || list(pod, &soft)
                .iter()
                .any(|it| it.get("podAffinityTerm").is_some_and(term))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(group: &str, plural: &str, object: &Value) -> Vec<String> {
        let used = of(group, plural, object);
        used.iter()
            .map(|(name, amount)| format!("{name}={amount}"))
            .collect()
    }

    #[test]
    fn a_pod_uses_what_it_asks_for_until_it_is_over() {
        let mut pod = json!({"spec": {"containers": [{"name": "c", "resources": {
            "requests": {"cpu": "100m", "nvidia.com/gpu": "1"},
            "limits": {"cpu": "1", "nvidia.com/gpu": "1"}}}]}});
        assert_eq!(
            shown("", "pods", &pod),
            [
                "count/pods=1",
                "cpu=100m",
                "limits.cpu=1",
                "pods=1",
                "requests.cpu=100m",
                "requests.nvidia.com/gpu=1"
            ]
        );
        pod["status"] = json!({"phase": "Failed"});
        assert_eq!(shown("", "pods", &pod), ["count/pods=1"]);
    }

    #[test]
    fn services_claims_and_the_rest_are_counted() {
        let balanced = json!({"spec": {"type": "LoadBalancer", "ports": [{}, {}]}});
        assert_eq!(
            shown("", "services", &balanced),
            [
                "count/services=1",
                "services=1",
                "services.loadbalancers=1",
                "services.nodeports=2"
            ]
        );
        let claim = json!({"spec": {"storageClassName": "fast",
            "resources": {"requests": {"storage": "2Gi"}}}});
        assert_eq!(
            shown("", "persistentvolumeclaims", &claim),
            [
                "count/persistentvolumeclaims=1",
                "fast.storageclass.storage.k8s.io/persistentvolumeclaims=1",
                "fast.storageclass.storage.k8s.io/requests.storage=2Gi",
                "persistentvolumeclaims=1",
                "requests.storage=2Gi"
            ]
        );
        assert_eq!(
            shown("apps", "deployments", &json!({})),
            ["count/deployments.apps=1"]
        );
    }

    #[test]
    fn what_a_quota_bounds_must_be_said() {
        let pod = json!({"spec": {"containers": [
            {"name": "b", "resources": {"limits": {"cpu": "1"}}}, {"name": "a"}]}});
        let bounded = BTreeSet::from(["limits.cpu", "memory", "pods"]);
        assert_eq!(
            missing(&pod, &bounded).unwrap(),
            "limits.cpu for: a; memory for: a,b"
        );
        assert_eq!(missing(&pod, &BTreeSet::from(["pods"])), None);
    }
}
