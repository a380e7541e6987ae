//! Validation of pod specs: every fault, by the path under which the user wrote it.

mod containers;
mod ephemeral;
mod probes;
mod resize_policy;
mod scheduling;
mod volumes;

pub(in crate::registry) use ephemeral::additions as ephemeral_additions;

use super::CONTAINER_LISTS;
use crate::registry::rules::{
    At, Faults, dns_label, dns_subdomain, ip, label_map, matches, non_negative, one_of,
    qualified_name, range, required, selector, unique,
};

/// The longest deadline, in seconds.
const MAX_DEADLINE: i64 = i32::MAX as i64;

/// A pod template whose labels `selected_by` must select; `restart` are the policies it may have.
pub(in crate::registry) fn template(
    template: &At<'_>,
    selected_by: &At<'_>,
    restart: &[&str],
    faults: &mut Faults,
) {
    let labels = template.dig(&["metadata", "labels"]);
    label_map(&labels, faults);
    annotations(&template.dig(&["metadata", "annotations"]), faults);
    if !selected_by.is_empty() && !matches(selected_by.value(), labels.value()) {
        faults.invalid(&labels, "`selector` does not match template `labels`");
    }
    let template_spec = template.get("spec");
    let debuggers = template_spec.get("ephemeralContainers");
    if !debuggers.is_empty() {
        faults.forbidden(
            &debuggers,
            "ephemeral containers not allowed in pod template",
        );
    }
    spec(&template_spec, faults);
    let policy = template_spec.get("restartPolicy");
    if ["Always", "OnFailure", "Never"].contains(&policy.text()) {
        one_of(&policy, restart, faults);
    }
    let deadline = template_spec.get("activeDeadlineSeconds");
    if restart == ["Always"] && deadline.is_set() {
        faults.forbidden(&deadline, "may not be set where pods run forever");
    }
}

/// A selector that is required and selects something.
pub(in crate::registry) fn template_selector(at: &At<'_>, faults: &mut Faults) {
    if !at.is_set() {
        return faults.required(at, "");
    }
    selector(at, faults);
    if at.get("matchLabels").is_empty() && at.get("matchExpressions").is_empty() {
        faults.invalid(at, "empty selector is invalid for a workload");
    }
}

fn annotations(at: &At<'_>, faults: &mut Faults) {
    at.entries()
        .for_each(|(key, _)| qualified_name(at, &key.to_ascii_lowercase(), faults));
}

/// A pod spec after defaulting.
pub(in crate::registry) fn spec(spec: &At<'_>, faults: &mut Faults) {
    if !spec.is_set() {
        return faults.required(spec, "");
    }
    volumes::validate(spec, faults);
    containers::validate(spec, faults);
    one_of(
        &spec.get("restartPolicy"),
        &["Always", "OnFailure", "Never"],
        faults,
    );
    dns(spec, faults);
    non_negative(&spec.get("terminationGracePeriodSeconds"), faults);
    range(&spec.get("activeDeadlineSeconds"), 1..=MAX_DEADLINE, faults);
    for name in [
        "serviceAccountName",
        "nodeName",
        "priorityClassName",
        "runtimeClassName",
    ] {
        dns_subdomain(&spec.get(name), faults);
    }
    for name in ["hostname", "subdomain"] {
        dns_label(&spec.get(name), faults);
    }
    one_of(
        &spec.get("preemptionPolicy"),
        &["PreemptLowerPriority", "Never"],
        faults,
    );
    namespaces_shared(spec, faults);
    for alias in spec.get("hostAliases").each() {
        required(&alias.get("ip"), faults);
        ip(&alias.get("ip"), faults);
        alias
            .get("hostnames")
            .each()
            .for_each(|name| dns_subdomain(&name, faults));
    }
    scheduling::validate(spec, faults);
}

fn namespaces_shared(spec: &At<'_>, faults: &mut Faults) {
    let shared = spec.get("shareProcessNamespace");
    if *shared.value() == true && *spec.get("hostPID").value() == true {
        faults.invalid(
            &shared,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        );
    }
}

fn dns(spec: &At<'_>, faults: &mut Faults) {
    let policy = spec.get("dnsPolicy");
    one_of(
        &policy,
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        faults,
    );
    let servers = spec.dig(&["dnsConfig", "nameservers"]);
    if policy.text() == "None" && servers.is_empty() {
        faults.required(
            &servers,
            "must provide at least one DNS nameserver when `dnsPolicy` is None",
        );
    }
    for server in servers.each() {
        ip(&server, faults);
    }
    if servers.len() > 3 {
        faults.invalid(&servers, "must not have more than 3 nameservers");
    }
}

/// The names of all containers, which have to differ.
fn unique_container_names(spec: &At<'_>, faults: &mut Faults) {
    let containers = CONTAINER_LISTS
        .iter()
        .flat_map(|list| spec.get(list).each().collect::<Vec<_>>());
    unique(containers.map(|container| container.get("name")), faults);
}

#[cfg(test)]
mod tests;
