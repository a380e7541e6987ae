//! Field and resource references: what a pod may learn about itself.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::plan::spec;
use super::resources::{milli, units};

/// What the node adds to the pod's own fields.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The pod's addresses.
    pub pod: Vec<IpAddr>,
    /// The node's addresses, the first one first.
    pub node: Vec<IpAddr>,
    /// Stands in for limits that the container does not set.
    pub allocatable: Allocatable,
}

/// The node's resources for pods.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allocatable {
    /// Thousandths of a CPU.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
}

/// A reference that means nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FieldError {
    /// Not a field that pods may refer to.
    #[error("unsupported fieldPath: {0}")]
    Path(String),
    /// Not a resource that pods may refer to.
    #[error("unsupported container resource: {0}")]
    Resource(String),
}

/// The text of one field.
///
/// # Errors
/// The path is none of those the API allows.
pub fn field(pod: &Pod, path: &str, addresses: &Addresses) -> Result<String, FieldError> {
    let meta = &pod.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let first = || {
        addresses
            .pod
            .first()
            .map(ToString::to_string)
            .unwrap_or_default()
    };
    Ok(match path {
        "metadata.name" => text(&meta.name),
        "metadata.namespace" => text(&meta.namespace),
        "metadata.uid" => text(&meta.uid),
        "metadata.labels" => pairs(meta.labels.as_ref()),
        "metadata.annotations" => pairs(meta.annotations.as_ref()),
        "spec.nodeName" => text(&spec(pod).node_name),
        "spec.serviceAccountName" => text(&spec(pod).service_account_name),
        "status.podIP" => first(),
        "status.podIPs" => list(&addresses.pod),
        "status.hostIP" => list(addresses.node.get(..1).unwrap_or_default()),
        "status.hostIPs" => list(&addresses.node),
        _ => return keyed(pod, path),
    })
}

fn list(ips: &[IpAddr]) -> String {
    ips.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

fn pairs(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value:?}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// `metadata.labels['key']` and `metadata.annotations['key']`.
fn keyed(pod: &Pod, path: &str) -> Result<String, FieldError> {
    let unsupported = || FieldError::Path(path.to_owned());
    let (map, key) = path.split_once("['").ok_or_else(unsupported)?;
    let key = key.strip_suffix("']").ok_or_else(unsupported)?;
    let map = match map {
        "metadata.labels" => &pod.metadata.labels,
        "metadata.annotations" => &pod.metadata.annotations,
        _ => return Err(unsupported()),
    };
    Ok(map
        .as_ref()
        .and_then(|map| map.get(key))
        .cloned()
        .unwrap_or_default())
}

/// The text of one request or limit, divided and rounded up.
///
/// # Errors
/// The resource is neither CPU, memory nor ephemeral storage.
pub fn resource(
    pod: &Pod,
    container: &Container,
    selector: &ResourceFieldSelector,
    addresses: &Addresses,
) -> Result<String, FieldError> {
    let container = selector
        .container_name
        .as_ref()
        .and_then(|name| spec(pod).containers.iter().find(|c| c.name == *name))
        .unwrap_or(container);
    let (kind, name) = selector
        .resource
        .split_once('.')
        .ok_or_else(|| FieldError::Resource(selector.resource.clone()))?;
    let resources = container.resources.as_ref();
    let values = match kind {
        "limits" => resources.and_then(|r| r.limits.as_ref()),
        "requests" => resources.and_then(|r| r.requests.as_ref()),
        _ => return Err(FieldError::Resource(selector.resource.clone())),
    };
    let quantity = values.and_then(|values| values.get(name));
    let divisor = selector.divisor.as_ref();
    let divided = |value: i64, divisor: i64| (value + divisor - 1).div_euclid(divisor.max(1));
    Ok(match name {
        "cpu" => {
            let unset = if kind == "limits" {
                addresses.allocatable.milli_cpu
            } else {
                0
            };
            divided(
                quantity.and_then(milli).unwrap_or(unset),
                positive(divisor, milli, 1000),
            )
        }
        "memory" | "ephemeral-storage" => {
            let unset = if kind == "limits" {
                addresses.allocatable.memory
            } else {
                0
            };
            divided(
                quantity.and_then(units).unwrap_or(unset),
                positive(divisor, units, 1),
            )
        }
        _ => return Err(FieldError::Resource(selector.resource.clone())),
    }
    .to_string())
}

/// An absent or zero divisor counts as the unit.
fn positive(divisor: Option<&Quantity>, read: fn(&Quantity) -> Option<i64>, unit: i64) -> i64 {
    divisor
        .and_then(read)
        .filter(|value| *value > 0)
        .unwrap_or(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        Addresses {
            pod: vec!["10.244.1.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            node: vec!["192.0.2.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            allocatable: Allocatable {
                milli_cpu: 2000,
                memory: 1 << 30,
            },
        }
    }

    fn pod() -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "n", "labels": {"app": "web", "q": "a\"b"}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"memory": "65Mi"}, "requests": {"cpu": "250m"}}}]}
        }))
        .unwrap()
    }

    #[test]
    fn fields_are_read_by_path() {
        let get = |path| field(&pod(), path, &addresses());
        assert_eq!(get("metadata.name").unwrap(), "p");
        assert_eq!(get("metadata.labels['app']").unwrap(), "web");
        assert_eq!(get("metadata.labels").unwrap(), "app=\"web\"\nq=\"a\\\"b\"");
        assert_eq!(get("status.podIPs").unwrap(), "10.244.1.2,fd00::2");
        assert_eq!(
            get("spec.secret"),
            Err(FieldError::Path("spec.secret".into()))
        );
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let pod = pod();
        let get = |resource: &str, divisor: Option<&str>| {
            let selector = ResourceFieldSelector {
                resource: resource.into(),
                divisor: divisor.map(|text| Quantity(text.into())),
                container_name: None,
            };
            super::resource(&pod, &spec(&pod).containers[0], &selector, &addresses()).unwrap()
        };
        assert_eq!(get("limits.memory", Some("10Mi")), "7");
        assert_eq!(get("requests.cpu", Some("1m")), "250");
        assert_eq!(get("requests.cpu", None), "1");
        assert_eq!(get("limits.cpu", None), "2", "the node's when unset");
    }
}
