//! Classes that pods name. There are no RuntimeClasses, and of PriorityClasses only the two that every
//! cluster has; a pod that names another is refused, as it would be where they merely are missing:
//! one that asked for a sandbox of its own must not run without.

use serde_json::Value;

use crate::api::kinds::Target;
use crate::api::status::{Result, Status};
use crate::api::value::{called, object, text};

/// The PriorityClasses of every cluster, and their values.
const PRIORITIES: [(&str, i64); 2] = [
    ("system-cluster-critical", 2_000_000_000),
    ("system-node-critical", 2_000_001_000),
];

/// Checks a new pod's classes and writes its priority into it.
pub(super) fn admit(target: Target, pod: &mut Value) -> Result<()> {
    let refused = |pod: &Value, why: &str| Status::forbidden_object(target.kind, called(pod), why);
    let runtime = text(pod, "/spec/runtimeClassName");
    if !runtime.is_empty() {
        let why = format!("pod rejected: RuntimeClass {runtime:?} not found");
        return Err(refused(pod, &why));
    }
    let wanted = text(pod, "/spec/priorityClassName");
    if wanted.is_empty() {
        return Ok(());
    }
    let Some((_, priority)) = PRIORITIES.iter().find(|(known, _)| *known == wanted) else {
        let why = format!("no PriorityClass with name {wanted} was found");
        return Err(refused(pod, &why));
    };
    object(pod, "spec").insert("priority".into(), (*priority).into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::Kinds;
    use crate::registry::KINDS;

    #[test]
    fn a_class_that_is_not_there_is_refused_by_its_name() {
        let target = Kinds(KINDS).of("", "pods").unwrap();
        let admit = |spec: Value| {
            let mut pod = json!({"metadata": {"name": "p"}, "spec": spec});
            admit(target, &mut pod).map(|()| pod)
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
        let refused = super::admit(target, &mut pod).unwrap_err();
        assert!(
            refused.message.starts_with("pods \"web-\" is forbidden"),
            "{}",
            refused.message
        );
        let system = admit(json!({"priorityClassName": "system-node-critical"})).unwrap();
        assert_eq!(system["spec"]["priority"], 2_000_001_000);
        assert!(admit(json!({})).is_ok());
    }
}
