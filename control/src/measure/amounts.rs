//! What pods ask for, added up.

use std::collections::BTreeMap;

use naru_core::Quantity;
use serde_json::Value;

use crate::registry::value::{list as items, present, text};

/// Quantities by the name of their resource.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

/// The quantities of a list of resources; what is no quantity is left out.
pub(crate) fn read(list: Option<&Value>) -> Amounts {
    let members = list.and_then(Value::as_object).into_iter().flatten();
    let amounts = members.filter_map(|(name, amount)| Some((name.clone(), quantity(amount)?)));
    amounts.collect()
}

fn quantity(amount: &Value) -> Option<Quantity> {
    match amount {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Adds `more` to `sum`.
pub(crate) fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let entry = sum.entry(name.clone()).or_default();
        // The first amount decides about the form of the sum.
        *entry = if entry.is_zero() {
            *amount
        } else {
            *entry + *amount
        };
    }
}

fn raise(most: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let entry = most.entry(name.clone()).or_insert(*amount);
        if *entry < *amount {
            *entry = *amount;
        }
    }
}

/// The `requests` or `limits` of a whole pod: its containers together, or the most that it needs
/// while it starts; with its overhead. What the pod says of itself as a whole counts instead.
pub(crate) fn of_pod(pod: &Value, what: &str) -> Amounts {
    total(pod, what, &|container| {
        read(container.pointer(&format!("/resources/{what}")))
    })
}

/// The same of what the pod holds: while a container is resized, the most of what it wants, was given
/// and has; what no node can give it does not hold.
pub(crate) fn held_by_pod(pod: &Value, what: &str) -> Amounts {
    let refused = is_infeasible(pod);
    total(pod, what, &|container| {
        let wanted = read(container.pointer(&format!("/resources/{what}")));
        let name = text(container, "/name");
        let mut statuses = ["/status/containerStatuses", "/status/initContainerStatuses"]
            .iter()
            .flat_map(|list| items(pod, list));
        let status = statuses.find(|status| text(status, "/name") == name);
        let Some(status) = status.filter(|status| present(status, "/resources")) else {
            return wanted;
        };
        let mut held = if refused { Amounts::new() } else { wanted };
        raise(
            &mut held,
            &read(status.pointer(&format!("/resources/{what}"))),
        );
        if what == "requests" {
            raise(&mut held, &read(status.get("allocatedResources")));
        }
        held
    })
}

fn is_infeasible(pod: &Value) -> bool {
    items(pod, "/status/conditions").iter().any(|condition| {
        text(condition, "/type") == "PodResizePending" && text(condition, "/reason") == "Infeasible"
    })
}

fn total(pod: &Value, what: &str, of: &dyn Fn(&Value) -> Amounts) -> Amounts {
    let mut sum = Amounts::new();
    for container in items(pod, "/spec/containers") {
        add(&mut sum, &of(container));
    }
    let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
    for container in items(pod, "/spec/initContainers") {
        let own = of(container);
        let mut now = own.clone();
        add(&mut now, &sidecars);
        raise(&mut starting, &now);
        if text(container, "/restartPolicy") == "Always" {
            add(&mut sidecars, &own);
        }
    }
    add(&mut sum, &sidecars);
    raise(&mut sum, &starting);
    sum.extend(read(pod.pointer(&format!("/spec/resources/{what}"))));
    let overhead = read(pod.pointer("/spec/overhead"));
    let counts = |name: &String| what == "requests" || sum.contains_key(name);
    let overhead = overhead.into_iter().filter(|(name, _)| counts(name));
    let overhead = overhead.collect();
    add(&mut sum, &overhead);
    sum
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_that_is_resized_holds_the_most_of_what_it_wants_and_has() {
        let mut pod = json!({"spec": {"containers": [
                {"name": "a", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}},
                {"name": "b", "resources": {"requests": {"cpu": "1"}}}]},
            "status": {"containerStatuses": [
                {"name": "b", "resources": {"requests": {"cpu": "3"}}},
                {"name": "a", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "3"}},
                    "allocatedResources": {"cpu": "1500m"}}]}});
        let held = |pod: &Value, what| held_by_pod(pod, what)["cpu"].to_string();
        assert_eq!(held(&pod, "requests"), "5");
        assert_eq!(held(&pod, "limits"), "3");
        assert_eq!(of_pod(&pod, "requests")["cpu"].to_string(), "3");
        pod["status"]["conditions"] = json!([{"type": "PodResizePending", "reason": "Infeasible"}]);
        assert_eq!(held(&pod, "requests"), "4500m");
    }

    #[test]
    fn a_pod_needs_its_containers_or_its_start_whichever_is_more() {
        let ask = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let mut sidecar = ask("100m");
        sidecar["restartPolicy"] = "Always".into();
        let pod = json!({"spec": {"containers": [ask("1"), ask("500m")],
            "initContainers": [sidecar, ask("2")], "overhead": {"cpu": "10m", "memory": "1Mi"}}});
        let asked = of_pod(&pod, "requests");
        assert_eq!(asked["cpu"].to_string(), "2110m");
        assert_eq!(asked["memory"].to_string(), "1Mi");
        assert!(of_pod(&pod, "limits").is_empty());
        let whole = json!({"spec": {"containers": [ask("1")],
            "resources": {"requests": {"cpu": "3"}}}});
        assert_eq!(of_pod(&whole, "requests")["cpu"].to_string(), "3");
    }
}
