//! Amounts of resources: what a pod asks for, what a node offers.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use naru_core::Quantity;
use std::collections::BTreeMap;

/// Amounts by resource name: CPU in thousandths of a core, everything else in whole units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources(BTreeMap<String, i64>);

impl Resources {
    /// Reads `resources.requests`, `allocatable` and the like; what does not parse is nothing.
    pub fn read(texts: Option<&BTreeMap<String, Text>>) -> Self {
        let parsed = texts
            .into_iter()
            .flatten()
            .map(|(name, text)| (name.clone(), amount(name, text)));
        Resources(parsed.collect())
    }

    /// The amount of `name`.
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// All amounts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }

    /// Takes `other` away.
    pub fn subtract(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            let rest = self.0.entry(name.clone()).or_default();
            *rest = rest.saturating_sub(*amount);
        }
    }

    /// Raises every amount to at least that of `other`.
    fn raise(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            let most = self.0.entry(name.clone()).or_default();
            *most = (*most).max(*amount);
        }
    }
}

fn amount(name: &str, text: &Text) -> i64 {
    let quantity = Quantity::try_from(text).unwrap_or(Quantity::ZERO);
    if name == "cpu" {
        quantity.milli_value()
    } else {
        quantity.value()
    }
}

fn requests(container: &Container) -> Resources {
    Resources::read(
        container
            .resources
            .as_ref()
            .and_then(|resources| resources.requests.as_ref()),
    )
}

/// What a container that does not say is taken to use when nodes are compared: 100 m CPU, 200 MiB of
/// memory. One that says zero is believed.
const ASSUMED: [(&str, i64); 2] = [("cpu", 100), ("memory", 200 << 20)];

fn estimate(container: &Container) -> Resources {
    let mut known = requests(container);
    for (name, amount) in ASSUMED {
        known.0.entry(name.to_owned()).or_insert(amount);
    }
    known
}

/// What a pod needs at its hungriest moment: all containers together, or an init container with the
/// sidecars that were started before it; plus overhead.
pub fn of_pod(pod: &Pod) -> Resources {
    total(pod, requests)
}

/// The same with a guess for what containers do not ask for, so that nodes full of pods that ask for
/// nothing do not look empty.
pub fn estimate_of_pod(pod: &Pod) -> Resources {
    total(pod, estimate)
}

fn total(pod: &Pod, of: fn(&Container) -> Resources) -> Resources {
    let Some(spec) = pod.spec.as_ref() else {
        return Resources::default();
    };
    let mut total = Resources::default();
    spec.containers
        .iter()
        .for_each(|container| total.add(&of(container)));
    let (sidecars, starting) = of_init(spec, of);
    total.add(&sidecars);
    total.raise(&starting);
    total.add(&Resources::read(spec.overhead.as_ref()));
    total
}

fn of_init(spec: &PodSpec, of: fn(&Container) -> Resources) -> (Resources, Resources) {
    let (mut sidecars, mut starting) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let mut moment = sidecars.clone();
        moment.add(&of(container));
        starting.raise(&moment);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = moment;
        }
    }
    (sidecars, starting)
}

#[cfg(test)]
mod tests {
    use super::{estimate_of_pod, of_pod};
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    #[test]
    fn init_containers_count_at_their_peak_and_sidecars_for_ever() {
        let cpu = |cpu: &str| json!({"requests": {"cpu": cpu, "memory": "1Mi"}});
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "initContainers": [
                {"name": "side", "restartPolicy": "Always", "resources": cpu("100m")},
                {"name": "init", "resources": cpu("2")},
            ],
            "containers": [{"name": "a", "resources": cpu("500m")}, {"name": "b", "resources": cpu("0.25")}],
            "overhead": {"cpu": "10m"},
        }}))
        .unwrap();
        let total = of_pod(&pod);
        assert_eq!(total.get("cpu"), 2110);
        assert_eq!(total.get("memory"), 3 << 20);
    }

    #[test]
    fn what_is_not_asked_for_is_guessed_and_zero_is_believed() {
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [
            {"name": "a"}, {"name": "b", "resources": {"requests": {"cpu": "0", "memory": "1Mi"}}}]}}))
        .unwrap();
        let estimate = estimate_of_pod(&pod);
        assert_eq!(estimate.get("cpu"), 100);
        assert_eq!(estimate.get("memory"), 201 << 20);
    }
}
