//! Amounts of resources: what a pod asks for, what a node offers.

use crate::controllers::runtime::lean::{Container, Pod, Resources, Spec};

fn requests(container: &Container) -> Resources {
    container.requests.clone()
}

/// What a container that does not say is taken to use when nodes are compared: 100 m CPU, 200 MiB of
/// memory. One that says zero is believed.
const ASSUMED: [(&str, i64); 2] = [("cpu", 100), ("memory", 200 << 20)];

fn estimate(container: &Container) -> Resources {
    let mut known = requests(container);
    for (name, amount) in ASSUMED {
        if !known.names(name) {
            known.set(name, amount);
        }
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
    let spec = &pod.spec;
    let of = |container: &Container| held(pod, container, of(container));
    let mut total = Resources::default();
    spec.containers
        .iter()
        .for_each(|container| total.add(&of(container)));
    let (sidecars, starting) = of_init(spec, &of);
    total.add(&sidecars);
    total.raise(&starting);
    total.add(&spec.overhead);
    total
}

/// While a pod is resized its containers hold the most of what they want, were given and have; what
/// no node can give they do not hold.
fn held(pod: &Pod, container: &Container, wanted: Resources) -> Resources {
    let resize = pod.status.resize.as_ref();
    let has = resize.and_then(|resize| {
        let mut held = resize.held.iter();
        let (_, has) = held.find(|(name, _)| *name == container.name)?;
        Some((resize.is_infeasible, has))
    });
    match has {
        None => wanted,
        Some((true, has)) => has.clone(),
        Some((false, has)) => {
            let mut held = wanted;
            held.raise(has);
            held
        }
    }
}

fn of_init(spec: &Spec, of: &dyn Fn(&Container) -> Resources) -> (Resources, Resources) {
    let (mut sidecars, mut starting) = (Resources::default(), Resources::default());
    for container in &spec.init_containers {
        let mut moment = sidecars.clone();
        moment.add(&of(container));
        starting.raise(&moment);
        if container.is_sidecar {
            sidecars = moment;
        }
    }
    (sidecars, starting)
}

#[cfg(test)]
mod tests {
    use super::{estimate_of_pod, of_pod};
    use crate::controllers::runtime::lean::Pod;
    use serde_json::json;

    #[test]
    fn init_containers_count_at_their_peak_and_sidecars_for_ever() {
        let cpu = |cpu: &str| json!({"requests": {"cpu": cpu, "memory": "1Mi"}});
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": {
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
    fn a_pod_that_is_resized_holds_the_most_of_what_it_wants_and_has() {
        let cpu_of = |condition: serde_json::Value| {
            let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [
                    {"name": "a", "resources": {"requests": {"cpu": "3"}}},
                    {"name": "b", "resources": {"requests": {"cpu": "1"}}}]},
                "status": {"conditions": [condition], "containerStatuses": [
                    {"name": "b", "resources": {"requests": {"cpu": "2"}}},
                    {"name": "a", "allocatedResources": {"cpu": "1500m"}}]}}))
            .unwrap();
            of_pod(&pod).get("cpu")
        };
        let pending =
            |reason| json!({"type": "PodResizePending", "status": "True", "reason": reason});
        assert_eq!(cpu_of(pending("Deferred")), 5000);
        assert_eq!(cpu_of(pending("Infeasible")), 3500);
        let going = json!({"type": "PodResizeInProgress", "status": "True"});
        assert_eq!(cpu_of(going), 5000);
        assert_eq!(cpu_of(json!({"type": "Ready", "status": "True"})), 4000);
    }

    #[test]
    fn what_is_not_asked_for_is_guessed_and_zero_is_believed() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [
            {"name": "a"}, {"name": "b", "resources": {"requests": {"cpu": "0", "memory": "1Mi"}}}]}}))
        .unwrap();
        let estimate = estimate_of_pod(&pod);
        assert_eq!(estimate.get("cpu"), 100);
        assert_eq!(estimate.get("memory"), 201 << 20);
    }
}
