//! Restricted: what is not hardened. One function for each check beyond the baseline.

use serde_json::Value;

use super::baseline::{added, seccomp_setters};
use super::level::Version;
use super::view::{
    Violation, containers, is_windows, named, quoted, set, setters, these, these_of,
};
use crate::api::value::{items, text};

/// Volumes that hold nothing of the node.
const VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
    "image",
];

/// Since 1.25 a pod for Windows need not say what only Linux has.
fn is_exempt(pod: &Value, version: Version) -> bool {
    version >= Version::Minor(25) && is_windows(pod)
}

pub(super) fn escalation(pod: &Value, version: Version) -> Option<Violation> {
    if version < Version::Minor(8) || is_exempt(pod, version) {
        return None;
    }
    let at = "/securityContext/allowPrivilegeEscalation";
    let names = named(pod, |container| {
        container.pointer(at) != Some(&Value::Bool(false))
    });
    if names.is_empty() {
        return None;
    }
    let who = these(&names);
    Violation::new(
        "allowPrivilegeEscalation != false",
        format!("{who} must set securityContext.allowPrivilegeEscalation=false"),
    )
}

pub(super) fn capabilities(pod: &Value, version: Version) -> Option<Violation> {
    if version < Version::Minor(22) {
        return super::baseline::capabilities(pod, version);
    }
    if is_exempt(pod, version) {
        return None;
    }
    let keeps = |container: &Value| {
        let dropped = items(container, "/securityContext/capabilities/drop");
        !dropped.iter().any(|name| name == "ALL")
    };
    let keeping = named(pod, keeps);
    let (adding, added) = added(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeping.is_empty() {
        let who = these(&keeping);
        details.push(format!(
            "{who} must set securityContext.capabilities.drop=[\"ALL\"]"
        ));
    }
    if !adding.is_empty() {
        let (who, what) = (these(&adding), quoted(&added));
        details.push(format!(
            "{who} must not include {what} in securityContext.capabilities.add"
        ));
    }
    if details.is_empty() {
        return None;
    }
    Violation::new("unrestricted capabilities", details.join("; "))
}

pub(super) fn volumes(pod: &Value, _: Version) -> Option<Violation> {
    fn source(volume: &Value) -> &str {
        let members = volume.as_object().into_iter().flatten();
        let mut sources = members.filter(|(key, value)| *key != "name" && !value.is_null());
        sources.next().map_or("unknown", |(key, _)| key.as_str())
    }
    let all = items(pod, "/spec/volumes").iter();
    let bad: Vec<&Value> = all.filter(|it| !VOLUMES.contains(&source(it))).collect();
    if bad.is_empty() {
        return None;
    }
    let names: Vec<&str> = bad.iter().map(|volume| text(volume, "/name")).collect();
    let kinds = set(bad.iter().map(|volume| source(volume)));
    let uses = if names.len() == 1 { "uses" } else { "use" };
    let detail = format!(
        "{} {uses} restricted volume {}",
        these_of("volume", &names),
        these_of("type", &kinds)
    );
    Violation::new("restricted volume types", detail)
}

pub(super) fn run_as_non_root(pod: &Value, _: Version) -> Option<Violation> {
    const AT: &str = "/securityContext/runAsNonRoot";
    let of_pod = pod.pointer(&format!("/spec{AT}")).and_then(Value::as_bool);
    let said = |container: &Value| container.pointer(AT).and_then(Value::as_bool);
    let explicit = named(pod, |container| said(container) == Some(false));
    let refused = "must not set securityContext.runAsNonRoot=false";
    if of_pod == Some(false) || !explicit.is_empty() {
        let who = setters(of_pod == Some(false), &explicit);
        return Violation::new("runAsNonRoot != true", format!("{who} {refused}"));
    }
    let silent = named(pod, |container| said(container).is_none());
    if of_pod == Some(true) || silent.is_empty() {
        return None;
    }
    let who = these(&silent);
    Violation::new(
        "runAsNonRoot != true",
        format!("pod or {who} must set securityContext.runAsNonRoot=true"),
    )
}

pub(super) fn run_as_user(pod: &Value, version: Version) -> Option<Violation> {
    const AT: &str = "/securityContext/runAsUser";
    if version < Version::Minor(23) {
        return None;
    }
    let root = |value: Option<&Value>| value.and_then(Value::as_i64) == Some(0);
    let of_pod = root(pod.pointer(&format!("/spec{AT}")));
    let names = named(pod, |container| root(container.pointer(AT)));
    if !of_pod && names.is_empty() {
        return None;
    }
    let who = setters(of_pod, &names);
    Violation::new("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

pub(super) fn seccomp(pod: &Value, version: Version) -> Option<Violation> {
    const AT: &str = "/securityContext/seccompProfile/type";
    if version < Version::Minor(19) || is_exempt(pod, version) {
        return None;
    }
    let (bad_pod, names, kinds) = seccomp_setters(pod);
    if bad_pod || !names.is_empty() {
        let who = setters(bad_pod, &names);
        let detail = format!(
            "{who} must not set securityContext.seccompProfile.type to {}",
            quoted(&kinds)
        );
        return Violation::new("seccompProfile", detail);
    }
    let set_by_pod = !text(pod, &format!("/spec{AT}")).is_empty();
    let silent = named(pod, |container| text(container, AT).is_empty());
    if set_by_pod || silent.is_empty() || containers(pod).next().is_none() {
        return None;
    }
    let who = these(&silent);
    let detail = format!(
        "pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
         \"Localhost\""
    );
    Violation::new("seccompProfile", detail)
}
