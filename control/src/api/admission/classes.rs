//! Classes that pods name. A PriorityClass gives its pods a number; a pod that names one that is not
//! there is refused. So is every pod with a RuntimeClass, since nodes know one way to run containers
//! only: one that asked for a sandbox of its own must not run without.

use serde_json::Value;

use crate::api::kinds::Target;
use crate::api::server::Server;
use crate::api::status::{Result, Status};
use crate::api::value::{called, integer, object, text};

/// The PriorityClasses of every cluster, and their values.
pub(in crate::api) const PRIORITIES: [(&str, i64); 2] = [
    ("system-cluster-critical", 2_000_000_000),
    ("system-node-critical", 2_000_001_000),
];

/// What pods may name.
pub(super) trait Classes {
    /// The PriorityClass of that name, or without a name the one that is every pod's default.
    fn priority(&self, name: &str) -> Option<Value>;
    /// Whether there is a RuntimeClass of that name.
    fn has_runtime(&self, name: &str) -> bool;
}

impl Classes for Server {
    fn priority(&self, name: &str) -> Option<Value> {
        let target = self.kinds.of("scheduling.k8s.io", "priorityclasses")?;
        if !name.is_empty() {
            return Some(self.store.get(target.resource, name)?.value());
        }
        let all = self.store.snapshot(target.resource).objects;
        let all = all.iter().map(|(_, class)| class.value());
        let defaults = all.filter(|class| class["globalDefault"] == true);
        // Of several the least demanding counts.
        defaults.min_by_key(|class| integer(class, "/value"))
    }

    fn has_runtime(&self, name: &str) -> bool {
        let target = self.kinds.of("node.k8s.io", "runtimeclasses");
        target.is_some_and(|target| self.store.get(target.resource, name).is_some())
    }
}

/// Checks a new pod's classes and writes its priority into it.
pub(super) fn admit(classes: &dyn Classes, target: Target, pod: &mut Value) -> Result<()> {
    let refused = |pod: &Value, why: &str| Status::forbidden_object(target.kind, called(pod), why);
    let runtime = text(pod, "/spec/runtimeClassName");
    if !runtime.is_empty() {
        let why = if classes.has_runtime(runtime) {
            format!("pod rejected: no node can run the handler of RuntimeClass {runtime:?} yet")
        } else {
            format!("pod rejected: RuntimeClass {runtime:?} not found")
        };
        return Err(refused(pod, &why));
    }
    let wanted = text(pod, "/spec/priorityClassName").to_owned();
    let system = PRIORITIES.iter().find(|(known, _)| *known == wanted);
    if let Some((_, priority)) = system {
        object(pod, "spec").insert("priority".into(), (*priority).into());
        return Ok(());
    }
    match classes.priority(&wanted) {
        Some(class) => prioritize(pod, &class),
        None if wanted.is_empty() => {}
        None => {
            let why = format!("no PriorityClass with name {wanted} was found");
            return Err(refused(pod, &why));
        }
    }
    Ok(())
}

fn prioritize(pod: &mut Value, class: &Value) {
    let spec = object(pod, "spec");
    let name = class["metadata"]["name"].clone();
    spec.insert("priorityClassName".into(), name);
    spec.insert("priority".into(), class["value"].clone());
    if let Some(policy) = class.get("preemptionPolicy") {
        spec.insert("preemptionPolicy".into(), policy.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::Kinds;
    use crate::registry::KINDS;

    /// One class of priority.
    struct Known;

    impl Classes for Known {
        fn priority(&self, name: &str) -> Option<Value> {
            let class = json!({"metadata": {"name": "low"}, "value": -5,
                "preemptionPolicy": "Never"});
            (name == "low").then_some(class)
        }

        fn has_runtime(&self, name: &str) -> bool {
            name == "gvisor"
        }
    }

    #[test]
    fn a_class_that_is_not_there_is_refused_by_its_name() {
        let target = Kinds(KINDS).of("", "pods").unwrap();
        let admit = |spec: Value| {
            let mut pod = json!({"metadata": {"name": "p"}, "spec": spec});
            admit(&Known, target, &mut pod).map(|()| pod)
        };
        let refused = admit(json!({"runtimeClassName": "kata"})).unwrap_err();
        assert_eq!(refused.code, 403);
        assert!(
            refused.message.contains("\"kata\" not found"),
            "{}",
            refused.message
        );
        let refused = admit(json!({"priorityClassName": "high"})).unwrap_err();
        assert!(refused.message.contains("name high"), "{}", refused.message);
        let mut pod = json!({"metadata": {"generateName": "web-", "name": "web-x7k2p"},
            "spec": {"runtimeClassName": "kata"}});
        let refused = super::admit(&Known, target, &mut pod).unwrap_err();
        assert!(
            refused.message.starts_with("pods \"web-\" is forbidden"),
            "{}",
            refused.message
        );
        let system = admit(json!({"priorityClassName": "system-node-critical"})).unwrap();
        assert_eq!(system["spec"]["priority"], 2_000_001_000);
        let low = admit(json!({"priorityClassName": "low"})).unwrap();
        assert_eq!(
            (&low["spec"]["priority"], &low["spec"]["preemptionPolicy"]),
            (&json!(-5), &json!("Never"))
        );
        let refused = admit(json!({"runtimeClassName": "gvisor"})).unwrap_err();
        assert!(
            refused.message.contains("no node can run"),
            "{}",
            refused.message
        );
        assert!(admit(json!({})).is_ok());
    }
}
