//! PodSecurity: pods keep to the level of the Pod Security Standards that their namespace asks for,
//! and the writers of workloads hear what their pods would be refused for.
//!
//! The standards are those of <https://kubernetes.io/docs/concepts/security/pod-security-standards/>;
//! a check is a function from a pod and a version to what it finds.

mod baseline;
mod level;
mod restricted;
#[cfg(test)]
mod tests;
mod view;

pub use level::Exemptions;

use std::collections::BTreeMap;

use serde_json::Value;

use self::level::{Level, Policy, Standard, Version};
use self::view::Violation;
use super::request::Request;
use crate::api::kinds::Target;
use crate::api::server::Server;
use crate::api::status::{Result, Status};
use crate::api::value::{called, name, namespace};

/// One check.
type Check = fn(&Value, Version) -> Option<Violation>;

/// The checks of the baseline. Those that restricted replaces are marked.
const BASELINE: &[(Check, bool)] = &[
    (baseline::app_armor, false),
    (baseline::capabilities, true),
    (baseline::host_namespaces, false),
    (baseline::host_paths, true),
    (baseline::host_ports, false),
    (baseline::probe_hosts, false),
    (baseline::privileged, false),
    (baseline::proc_mount, false),
    (baseline::se_linux, false),
    (baseline::seccomp, true),
    (baseline::sysctls, false),
    (baseline::windows_host_process, false),
];
/// The checks beyond it.
const RESTRICTED: &[Check] = &[
    restricted::escalation,
    restricted::capabilities,
    restricted::volumes,
    restricted::run_as_non_root,
    restricted::run_as_user,
    restricted::seccomp,
];
/// How many pods of a namespace are looked at when it becomes stricter.
const MAX_PODS: usize = 3000;

/// What a pod, or the template of one, does against a standard.
fn violations(standard: Standard, pod: &Value) -> Vec<Violation> {
    let restricted = standard.level == Level::Restricted;
    let first = BASELINE
        .iter()
        .filter(|(_, replaced)| !(restricted && *replaced));
    let first = first.map(|(check, _)| check);
    let first = first.filter(|_| standard.level >= Level::Baseline);
    let then = RESTRICTED.iter().filter(|_| restricted);
    let found = first
        .chain(then)
        .filter_map(|check| check(pod, standard.version));
    found.collect()
}

/// The same as `reason (detail), …`; none where nothing is wrong.
fn complaint(standard: Standard, pod: &Value) -> Option<String> {
    let found = violations(standard, pod);
    let found = found
        .iter()
        .map(|violation| format!("{} ({})", violation.reason, violation.detail));
    let found: Vec<String> = found.collect();
    (!found.is_empty()).then(|| found.join(", "))
}

/// The policy of a namespace for a request, unless that is exempt.
fn policy(server: &Server, request: &Request<'_>, place: &str, pod: &Value) -> Policy {
    let exempt = &server.config.exempt;
    let user = request.user.map_or("", |user| user.name.as_str());
    let class = crate::api::value::text(pod, "/spec/runtimeClassName");
    let exempt = if exempt.namespaces.contains(place) {
        Some("namespace")
    } else if exempt.users.contains(user) {
        Some("user")
    } else if exempt.runtime_classes.contains(class) {
        Some("runtimeClass")
    } else {
        None
    };
    if let Some(what) = exempt {
        request.note("pod-security.kubernetes.io/exempt", || what.to_owned());
        return Policy::NONE;
    }
    let stored = server.stored("namespaces", None, place);
    stored.map_or(Policy::NONE, |namespace| Policy::of(&namespace).0)
}

/// Checks a pod.
///
/// # Errors
/// 403 with everything that its namespace does not allow.
pub(super) fn check_pod(
    server: &Server,
    request: &Request<'_>,
    target: Target,
    pod: &Value,
    old: Option<&Value>,
) -> Result<()> {
    if old.is_some_and(|old| !matters(pod, old)) {
        return Ok(());
    }
    let policy = policy(server, request, namespace(pod), pod);
    let enforced = || policy.enforce.to_string();
    request.note("pod-security.kubernetes.io/enforce-policy", enforced);
    note_violations(request, policy.audit, pod);
    if let Some(found) = complaint(policy.enforce, pod) {
        let why = format!("violates PodSecurity \"{}\": {found}", policy.enforce);
        return Err(Status::forbidden_object(target.kind, called(pod), &why));
    }
    warn(request, policy.warn, pod);
    Ok(())
}

/// Whether an update changes anything that a check looks at.
fn matters(pod: &Value, old: &Value) -> bool {
    let rest = |pod: &Value| {
        let mut spec = pod.get("spec").cloned().unwrap_or_default();
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            let containers = spec.get_mut(list).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                container.as_object_mut().map(|it| it.remove("image"));
            }
        }
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("activeDeadlineSeconds");
            spec.remove("tolerations");
        }
        (spec, pod.pointer("/metadata/annotations").cloned())
    };
    rest(pod) != rest(old)
}

fn note_violations(request: &Request<'_>, standard: Standard, pod: &Value) {
    if let Some(found) = complaint(standard, pod) {
        let text = || format!("would violate PodSecurity \"{standard}\": {found}");
        request.note("pod-security.kubernetes.io/audit-violations", text);
    }
}

fn warn(request: &Request<'_>, standard: Standard, pod: &Value) {
    if let Some(found) = complaint(standard, pod) {
        request.warn(format!("would violate PodSecurity \"{standard}\": {found}"));
    }
}

/// The template of the pods that a kind makes, as a JSON pointer.
pub(super) fn template(group: &str, plural: &str) -> Option<&'static str> {
    match (group, plural) {
        ("", "podtemplates") => Some("/template"),
        ("batch", "cronjobs") => Some("/spec/jobTemplate/spec/template"),
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "daemonsets" | "statefulsets")
        | ("batch", "jobs") => Some("/spec/template"),
        _ => None,
    }
}

/// Tells the writer of a workload, and the audit log, what its pods would be refused for.
pub(super) fn warn_of_template(
    server: &Server,
    request: &Request<'_>,
    object: &Value,
    pointer: &str,
) {
    if let Some(template) = object.pointer(pointer) {
        let policy = policy(server, request, namespace(object), template);
        note_violations(request, policy.audit, template);
        warn(request, policy.warn, template);
    }
}

/// Checks the labels of a namespace, and tells who makes it stricter which of its pods are not.
///
/// # Errors
/// 422 for labels that say no level or version.
pub(super) fn check_namespace(
    server: &Server,
    request: &Request<'_>,
    target: Target,
    new: &Value,
    old: Option<&Value>,
) -> Result<()> {
    let (policy, faults) = Policy::of(new);
    let before = old.map(Policy::of);
    if !faults.is_empty() && before.as_ref().is_none_or(|(_, had)| *had != faults) {
        return Err(Status::invalid(target.kind, name(new), &faults));
    }
    if let Some((before, _)) = before
        && is_stricter(policy.enforce, before.enforce)
        && !server.config.exempt.namespaces.contains(name(new))
    {
        warn_of_pods(server, request, name(new), policy.enforce);
    }
    Ok(())
}

fn is_stricter(new: Standard, old: Standard) -> bool {
    let looser = new.version == old.version && new.level <= old.level;
    new != old && new.level != Level::Privileged && !looser
}

fn warn_of_pods(server: &Server, request: &Request<'_>, place: &str, standard: Standard) {
    let Some(pods) = server.core("pods") else {
        return;
    };
    let snapshot = server.store.snapshot(pods.resource);
    let there = snapshot.range(Some(place), None).take(MAX_PODS);
    let pods = there.map(|(_, pod)| pod.value());
    for line in summary(pods, standard, place) {
        request.warn(line);
    }
}

/// One headline and one line for each set of violations, with the first pod that has it.
fn summary(pods: impl Iterator<Item = Value>, standard: Standard, place: &str) -> Vec<String> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in pods {
        let reasons: Vec<String> = violations(standard, &pod)
            .into_iter()
            .map(|violation| violation.reason)
            .collect();
        if !reasons.is_empty() {
            let names = found.entry(reasons.join(", ")).or_default();
            names.push(name(&pod).to_owned());
        }
    }
    if found.is_empty() {
        return Vec::new();
    }
    let headline = format!(
        "existing pods in namespace {place:?} violate the new PodSecurity enforce level \
         \"{standard}\""
    );
    let line = |(reasons, names): (String, Vec<String>)| {
        let others = match names.len() - 1 {
            0 => String::new(),
            1 => " (and 1 other pod)".to_owned(),
            more => format!(" (and {more} other pods)"),
        };
        format!("{}{others}: {reasons}", names[0])
    };
    std::iter::once(headline)
        .chain(found.into_iter().map(line))
        .collect()
}
