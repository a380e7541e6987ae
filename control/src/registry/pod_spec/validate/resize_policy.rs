//! Whether a container restarts when its resources change.

use crate::registry::rules::{At, Faults, one_of, required, unique};

/// The policies of one container of a pod that restarts as `pod_policy` says.
pub(super) fn validate(policies: &At<'_>, pod_policy: &str, faults: &mut Faults) {
    for policy in policies.each() {
        let (resource, restart) = (policy.get("resourceName"), policy.get("restartPolicy"));
        required(&resource, faults);
        one_of(&resource, &["cpu", "memory"], faults);
        required(&restart, faults);
        one_of(&restart, &["NotRequired", "RestartContainer"], faults);
        if pod_policy == "Never" && restart.text() == "RestartContainer" {
            let rule = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            faults.invalid(&restart, rule);
        }
    }
    unique(
        policies.each().map(|policy| policy.get("resourceName")),
        faults,
    );
}
