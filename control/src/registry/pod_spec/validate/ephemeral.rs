//! Ephemeral containers: what a debugger may be, and that the list of them only grows.

use crate::registry::rules::{At, Faults};

/// What makes a container a part of the workload, which a debugger is not.
const NOT_EPHEMERAL: [&str; 9] = [
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "resizePolicy",
    "resources",
    "restartPolicy",
    "restartPolicyRules",
    "startupProbe",
];
const NOT_HERE: &str = "cannot be set for an Ephemeral Container";

/// What holds for one of them beyond what holds for every container of `spec`.
pub(super) fn one(container: &At<'_>, spec: &At<'_>, faults: &mut Faults) {
    let target = container.get("targetContainerName");
    let mut others = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| spec.get(list).each().collect::<Vec<_>>());
    if !target.is_empty() && !others.any(|other| other.get("name").text() == target.text()) {
        faults.not_found(&target);
    }
    for field in NOT_EPHEMERAL.map(|field| container.get(field)) {
        if !field.is_empty() {
            faults.forbidden(&field, NOT_HERE);
        }
    }
    // They would stay mounted until the pod ends.
    for mount in container.get("volumeMounts").each() {
        for path in ["subPath", "subPathExpr"].map(|field| mount.get(field)) {
            if !path.is_empty() {
                faults.forbidden(&path, NOT_HERE);
            }
        }
    }
}

/// Containers may be added to those of the list `old`, which stay as they are, in whatever order.
pub(in crate::registry) fn additions(new: &At<'_>, old: &At<'_>, faults: &mut Faults) {
    for had in old.each() {
        let name = had.get("name");
        let kept = new.each().find(|it| it.get("name").text() == name.text());
        let what = match kept {
            None => "removed",
            Some(kept) if kept.value() != had.value() => "changed",
            Some(_) => continue,
        };
        let name = name.text();
        faults.forbidden(
            new,
            &format!("existing ephemeral containers {name:?} may not be {what}"),
        );
    }
}
