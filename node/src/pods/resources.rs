//! Requests and limits: from the API's quantities to what the kernel is told.

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use naru_cri::v1::LinuxContainerResources;

/// Length of a CFS period, in microseconds.
const CPU_PERIOD: i64 = 100_000;
/// The kernel's smallest CFS quota, in microseconds.
const MIN_QUOTA: i64 = 1_000;
/// The kernel's smallest share of CPU time.
const MIN_SHARES: i64 = 2;

/// Thousandths of the quantity's unit, rounded up; `None` for what isn't a quantity.
pub fn milli(quantity: &Quantity) -> Option<i64> {
    naru_core::Quantity::try_from(quantity)
        .ok()
        .map(naru_core::Quantity::milli_value)
}

/// Whole units, rounded up; `None` for what isn't a quantity.
pub fn units(quantity: &Quantity) -> Option<i64> {
    naru_core::Quantity::try_from(quantity)
        .ok()
        .map(naru_core::Quantity::value)
}

/// The limit of one resource.
pub fn limit<'a>(resources: &'a ResourceRequirements, name: &str) -> Option<&'a Quantity> {
    resources.limits.as_ref()?.get(name)
}

/// What is asked for of one resource: its limit where nothing else is said.
pub fn request<'a>(resources: &'a ResourceRequirements, name: &str) -> Option<&'a Quantity> {
    resources
        .requests
        .as_ref()
        .and_then(|r| r.get(name))
        .or_else(|| limit(resources, name))
}

/// What the kernel is told about one container. `memory_capacity` is the node's, in bytes.
pub fn linux_resources(
    spec: &PodSpec,
    container: &Container,
    memory_capacity: i64,
) -> LinuxContainerResources {
    let empty = ResourceRequirements::default();
    let resources = container.resources.as_ref().unwrap_or(&empty);
    let cpu_request = request(resources, "cpu").and_then(milli).unwrap_or(0);
    LinuxContainerResources {
        cpu_shares: (cpu_request * 1024 / 1000).max(MIN_SHARES),
        cpu_period: CPU_PERIOD,
        cpu_quota: limit(resources, "cpu").and_then(milli).map_or(0, quota),
        memory_limit_in_bytes: limit(resources, "memory").and_then(units).unwrap_or(0),
        oom_score_adj: oom_score(spec, resources, memory_capacity),
        ..LinuxContainerResources::default()
    }
}

fn quota(milli_cpu: i64) -> i64 {
    (milli_cpu * CPU_PERIOD / 1000).max(MIN_QUOTA)
}

/// Guaranteed pods die last, best-effort pods first, others by how much of the node they asked for.
fn oom_score(spec: &PodSpec, resources: &ResourceRequirements, memory_capacity: i64) -> i64 {
    match qos_class(spec) {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let asked = request(resources, "memory").and_then(units).unwrap_or(0);
            (1000 - 1000 * asked / memory_capacity.max(1)).clamp(3, 999)
        }
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`, by requests and limits of CPU and memory alone.
pub fn qos_class(spec: &PodSpec) -> &'static str {
    let containers = || {
        spec.containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
    };
    let asks = |c: &Container| {
        let names = ["cpu", "memory"];
        c.resources
            .as_ref()
            .is_some_and(|r| names.iter().any(|name| request(r, name).is_some()))
    };
    let guaranteed = |c: &Container| {
        c.resources.as_ref().is_some_and(|r| {
            ["cpu", "memory"].iter().all(|name| {
                let limit = limit(r, name).and_then(milli).filter(|limit| *limit > 0);
                limit.is_some() && limit == request(r, name).and_then(milli)
            })
        })
    };
    match () {
        () if containers().all(|c| !asks(c)) => "BestEffort",
        () if containers().all(guaranteed) => "Guaranteed",
        () => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(resources: serde_json::Value) -> Container {
        serde_json::from_value(serde_json::json!({"name": "c", "resources": resources})).unwrap()
    }

    fn pod(resources: serde_json::Value) -> PodSpec {
        PodSpec {
            containers: vec![container(resources)],
            ..PodSpec::default()
        }
    }

    #[test]
    fn quantities_are_read_in_every_notation() {
        let read = |text: &str| milli(&Quantity(text.into()));
        assert_eq!(read("0.1"), Some(100));
        assert_eq!(read("250m"), Some(250));
        assert_eq!(read("1Ki"), Some(1_024_000));
        assert_eq!(read("1e3"), Some(1_000_000));
        assert_eq!(read("5 apples"), None);
        assert_eq!(units(&Quantity("64Mi".into())), Some(64 << 20));
    }

    #[test]
    fn classes_follow_requests_and_limits() {
        use serde_json::json;
        assert_eq!(qos_class(&pod(json!({}))), "BestEffort");
        assert_eq!(
            qos_class(&pod(json!({"requests": {"cpu": "1"}}))),
            "Burstable"
        );
        let both = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        assert_eq!(qos_class(&pod(both)), "Guaranteed");
        let lower = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}});
        assert_eq!(qos_class(&pod(lower)), "Burstable");
    }

    #[test]
    fn limits_become_quota_and_requests_shares() {
        let spec = pod(serde_json::json!({
            "limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}
        }));
        let linux = linux_resources(&spec, &spec.containers[0], 1 << 30);
        assert_eq!(linux.cpu_quota, 50_000);
        assert_eq!(linux.cpu_shares, 256);
        assert_eq!(linux.memory_limit_in_bytes, 64 << 20);
        assert_eq!(linux.oom_score_adj, 938);
    }

    #[test]
    fn a_container_without_requests_gets_the_least_share_and_no_quota() {
        let spec = pod(serde_json::json!({}));
        let linux = linux_resources(&spec, &spec.containers[0], 1 << 30);
        assert_eq!((linux.cpu_shares, linux.cpu_quota), (2, 0));
        assert_eq!(linux.oom_score_adj, 1000);
    }
}
