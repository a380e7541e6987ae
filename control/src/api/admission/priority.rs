//! Priority: a PriorityClass gives its pods a number, and a pod that names one that is not there is
//! refused. At most one class is the default.

use serde_json::Value;

use crate::api::kinds::Target;
use crate::api::server::Server;
use crate::api::status::{Result, Status};
use crate::api::value::{called, integer, name, object, text};

/// The PriorityClasses of every cluster, and their values.
pub(in crate::api) const PRIORITIES: [(&str, i64); 2] = [
    ("system-cluster-critical", 2_000_000_000),
    ("system-node-critical", 2_000_001_000),
];
/// What a pod does to others unless its class says otherwise.
const PREEMPTION: &str = "PreemptLowerPriority";

/// Writes the priority of its class into a new pod.
///
/// # Errors
/// 403 where the pod names a class that is not there, or says another priority than its class.
pub(super) fn complete(server: &Server, target: Target, pod: &mut Value) -> Result<()> {
    let wanted = text(pod, "/spec/priorityClassName").to_owned();
    let class = match wanted.as_str() {
        "" => default_class(server),
        wanted => Some(class(server, wanted).ok_or_else(|| {
            let why = format!("no PriorityClass with name {wanted} was found");
            Status::forbidden_object(target.kind, called(pod), &why)
        })?),
    };
    let settled = settle(pod, class.as_ref());
    settled.map_err(|why| Status::forbidden_object(target.kind, called(pod), &why))
}

/// A stored pod keeps what its class was worth when the pod was made.
pub(super) fn keep(pod: &mut Value, old: &Value) {
    for field in ["priority", "preemptionPolicy", "priorityClassName"] {
        let stored = old.pointer(&format!("/spec/{field}"));
        let spec = object(pod, "spec");
        if let (Some(stored), None | Some(Value::Null)) = (stored, spec.get(field)) {
            spec.insert(field.into(), stored.clone());
        }
    }
}

/// Checks that a class is not one more default.
///
/// # Errors
/// 403 naming the class that is the default.
pub(super) fn check_class(server: &Server, target: Target, class: &Value) -> Result<()> {
    if class["globalDefault"] != true {
        return Ok(());
    }
    match default_class(server) {
        Some(other) if name(&other) != name(class) => {
            let why = format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                name(&other)
            );
            Err(Status::forbidden_object(target.kind, name(class), &why))
        }
        _ => Ok(()),
    }
}

fn class(server: &Server, name: &str) -> Option<Value> {
    let system = PRIORITIES.iter().find(|(known, _)| *known == name);
    if let Some((name, value)) = system {
        return Some(serde_json::json!({"metadata": {"name": name}, "value": value}));
    }
    let classes = server.kinds.of("scheduling.k8s.io", "priorityclasses")?;
    Some(server.store.get(classes.resource, name)?.value())
}

/// The class of pods that name none. Of several the least demanding counts.
fn default_class(server: &Server) -> Option<Value> {
    let classes = server.kinds.of("scheduling.k8s.io", "priorityclasses")?;
    let all = server.store.snapshot(classes.resource).objects;
    let all = all.iter().map(|(_, class)| class.value());
    all.filter(|class| class["globalDefault"] == true)
        .min_by_key(|class| integer(class, "/value"))
}

/// Writes what `class` says, or the defaults of pods without one.
fn settle(pod: &mut Value, class: Option<&Value>) -> std::result::Result<(), String> {
    let value = class
        .and_then(|class| integer(class, "/value"))
        .unwrap_or(0);
    let policy = class.map_or("", |class| text(class, "/preemptionPolicy"));
    let policy = if policy.is_empty() {
        PREEMPTION
    } else {
        policy
    };
    if let Some(said) = integer(pod, "/spec/priority").filter(|said| *said != value) {
        return Err(format!(
            "the integer value of priority ({said}) must not be provided in pod spec; priority \
             admission controller computed {value} from the given PriorityClass name"
        ));
    }
    let said = text(pod, "/spec/preemptionPolicy");
    if !said.is_empty() && said != policy {
        return Err(format!(
            "the string value of PreemptionPolicy ({said}) must not be provided in pod spec; \
             priority admission controller computed {policy} from the given PriorityClass name"
        ));
    }
    let spec = object(pod, "spec");
    if let Some(class) = class {
        spec.insert("priorityClassName".into(), name(class).into());
    }
    spec.insert("priority".into(), value.into());
    spec.insert("preemptionPolicy".into(), policy.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_as_important_as_its_class_says() {
        let class = json!({"metadata": {"name": "low"}, "value": -5, "preemptionPolicy": "Never"});
        let mut pod = json!({"spec": {"priority": -5}});
        settle(&mut pod, Some(&class)).unwrap();
        assert_eq!(
            pod["spec"],
            json!({"priority": -5, "preemptionPolicy": "Never", "priorityClassName": "low"})
        );
        let mut plain = json!({"spec": {}});
        settle(&mut plain, None).unwrap();
        assert_eq!(
            plain["spec"],
            json!({"priority": 0, "preemptionPolicy": PREEMPTION})
        );
    }

    #[test]
    fn nobody_chooses_his_own_priority() {
        let mut pod = json!({"spec": {"priority": 7}});
        let why = settle(&mut pod, None).unwrap_err();
        assert!(
            why.starts_with("the integer value of priority (7)"),
            "{why}"
        );
        let mut pod = json!({"spec": {"preemptionPolicy": "Never"}});
        let why = settle(&mut pod, None).unwrap_err();
        assert!(why.contains("PreemptionPolicy (Never)"), "{why}");
    }

    #[test]
    fn a_stored_pod_keeps_its_priority() {
        let old = json!({"spec": {"priority": 9, "preemptionPolicy": "Never"}});
        let mut new = json!({"spec": {"preemptionPolicy": "x"}});
        keep(&mut new, &old);
        assert_eq!(new["spec"], json!({"priority": 9, "preemptionPolicy": "x"}));
    }
}
