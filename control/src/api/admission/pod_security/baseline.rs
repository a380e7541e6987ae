//! The baseline: what is known to break out of a container. One function for each check of the
//! published Pod Security Standards, in the order of their names.

use serde_json::Value;

use super::level::Version;
use super::view::{Violation, containers, flag, named, quoted, set, setters, these, these_of};
use crate::api::value::{integer, items, text};

/// Capabilities that a container may add.
const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Sysctls that a pod may set, and since when.
const SYSCTLS: &[(&str, u32)] = &[
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

pub(super) fn app_armor(pod: &Value, _: Version) -> Option<Violation> {
    let notes = pod.pointer("/metadata/annotations");
    let notes = notes.and_then(Value::as_object).into_iter().flatten();
    let allowed = |profile: &str| {
        profile.is_empty() || profile == "runtime/default" || profile.starts_with("localhost/")
    };
    let bad_note = |(key, value): (&String, &Value)| {
        let profile = value.as_str().unwrap_or_default();
        let bad = key.starts_with(APP_ARMOR) && !allowed(profile);
        bad.then(|| format!("{key}={profile:?}"))
    };
    let mut bad = set(notes.filter_map(bad_note));
    let at = "/securityContext/appArmorProfile/type";
    let unconfined =
        |value: &Value, at: &str| !matches!(text(value, at), "" | "RuntimeDefault" | "Localhost");
    let of_pod = unconfined(pod, &format!("/spec{at}"));
    let names = named(pod, |container| unconfined(container, at));
    if of_pod || !names.is_empty() {
        let who = setters(of_pod, &names);
        bad.push(format!(
            "{who} must not set AppArmor profile type to \"Unconfined\""
        ));
    }
    let s = if bad.len() == 1 { "" } else { "s" };
    if bad.is_empty() {
        return None;
    }
    Violation::new(format!("forbidden AppArmor profile{s}"), bad.join(", "))
}

pub(super) fn capabilities(pod: &Value, _: Version) -> Option<Violation> {
    let (names, added) = added(pod, CAPABILITIES);
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not include {} in securityContext.capabilities.add",
        these(&names),
        quoted(&added)
    );
    Violation::new("non-default capabilities", detail)
}

/// The containers that add other capabilities than those, and what they add.
pub(super) fn added<'a>(pod: &'a Value, allowed: &[&str]) -> (Vec<&'a str>, Vec<&'a str>) {
    let bad = |container: &'a Value| {
        let added = items(container, "/securityContext/capabilities/add").iter();
        added
            .filter_map(Value::as_str)
            .filter(|name| !allowed.contains(name))
    };
    let names = containers(pod).filter(|container| bad(container).next().is_some());
    let names = names.map(|container| text(container, "/name")).collect();
    (names, set(containers(pod).flat_map(bad)))
}

pub(super) fn host_namespaces(pod: &Value, _: Version) -> Option<Violation> {
    let fields = ["hostNetwork", "hostPID", "hostIPC"];
    let used = fields
        .iter()
        .filter(|field| flag(pod, &format!("/spec/{field}")));
    let used: Vec<String> = used.map(|field| format!("{field}=true")).collect();
    if used.is_empty() {
        return None;
    }
    Violation::new("host namespaces", used.join(", "))
}

pub(super) fn host_paths(pod: &Value, _: Version) -> Option<Violation> {
    let volumes = items(pod, "/spec/volumes").iter();
    let bad = volumes.filter(|volume| volume.get("hostPath").is_some_and(|it| !it.is_null()));
    let names: Vec<&str> = bad.map(|volume| text(volume, "/name")).collect();
    if names.is_empty() {
        return None;
    }
    Violation::new("hostPath volumes", these_of("volume", &names))
}

pub(super) fn host_ports(pod: &Value, _: Version) -> Option<Violation> {
    fn used(container: &Value) -> impl Iterator<Item = i64> {
        let ports = items(container, "/ports").iter();
        ports.filter_map(|port| integer(port, "/hostPort").filter(|port| *port != 0))
    }
    let names = named(pod, |container| used(container).next().is_some());
    if names.is_empty() {
        return None;
    }
    let ports = set(containers(pod).flat_map(used));
    let uses = if names.len() == 1 { "uses" } else { "use" };
    let s = if ports.len() == 1 { "" } else { "s" };
    let ports: Vec<String> = ports.iter().map(i64::to_string).collect();
    let ports = ports.join(", ");
    Violation::new(
        "hostPort",
        format!("{} {uses} hostPort{s} {ports}", these(&names)),
    )
}

pub(super) fn probe_hosts(pod: &Value, version: Version) -> Option<Violation> {
    if version < Version::Minor(34) {
        return None;
    }
    let names = set(named(pod, |container| hosts(container).next().is_some()).into_iter());
    if names.is_empty() {
        return None;
    }
    let hosts = set(containers(pod).flat_map(hosts));
    let uses = if names.len() == 1 { "uses" } else { "use" };
    let hosts = these_of("probe or lifecycle host", &hosts);
    let detail = format!("{} {uses} {hosts}", these(&names));
    Violation::new("probe or lifecycle host", detail)
}

/// The hosts that a container's probes and hooks name.
fn hosts(container: &Value) -> impl Iterator<Item = &str> {
    let handlers = [
        "/livenessProbe",
        "/readinessProbe",
        "/startupProbe",
        "/lifecycle/postStart",
        "/lifecycle/preStop",
    ];
    let ways = ["/httpGet/host", "/tcpSocket/host"];
    let all = handlers
        .into_iter()
        .flat_map(move |handler| ways.map(|way| text(container, &format!("{handler}{way}"))));
    all.filter(|host| !host.is_empty())
}

pub(super) fn privileged(pod: &Value, _: Version) -> Option<Violation> {
    let names = named(pod, |it| flag(it, "/securityContext/privileged"));
    if names.is_empty() {
        return None;
    }
    let who = these(&names);
    Violation::new(
        "privileged",
        format!("{who} must not set securityContext.privileged=true"),
    )
}

pub(super) fn proc_mount(pod: &Value, _: Version) -> Option<Violation> {
    let bad = |container: &'_ Value| {
        !matches!(
            text(container, "/securityContext/procMount"),
            "" | "Default"
        )
    };
    let names = named(pod, bad);
    if names.is_empty() {
        return None;
    }
    let kinds = containers(pod).filter(|container| bad(container));
    let kinds = set(kinds.map(|it| text(it, "/securityContext/procMount")));
    let detail = format!(
        "{} must not set securityContext.procMount to {}",
        these(&names),
        quoted(&kinds)
    );
    Violation::new("procMount", detail)
}

pub(super) fn se_linux(pod: &Value, version: Version) -> Option<Violation> {
    const AT: &str = "/securityContext/seLinuxOptions";
    let allowed = |kind: &str| match kind {
        "" | "container_t" | "container_init_t" | "container_kvm_t" => true,
        "container_engine_t" => version >= Version::Minor(31),
        _ => false,
    };
    let bad = |options: &Value| {
        !allowed(text(options, "/type"))
            || !text(options, "/user").is_empty()
            || !text(options, "/role").is_empty()
    };
    let of_pod = pod.pointer(&format!("/spec{AT}"));
    let bad_pod = of_pod.is_some_and(bad);
    let names = named(pod, |container| container.pointer(AT).is_some_and(bad));
    if !bad_pod && names.is_empty() {
        return None;
    }
    let all = containers(pod).filter_map(|container| container.pointer(AT));
    let all: Vec<&Value> = of_pod.into_iter().chain(all).collect();
    let types = all.iter().map(|it| text(it, "/type"));
    let types = set(types.filter(|kind| !allowed(kind)));
    let said = |field: &str| all.iter().any(|it| !text(it, field).is_empty());
    let mut data = Vec::new();
    if !types.is_empty() {
        data.push(these_of("type", &types));
    }
    if said("/user") {
        data.push("user may not be set".to_owned());
    }
    if said("/role") {
        data.push("role may not be set".to_owned());
    }
    let who = setters(bad_pod, &names);
    let detail = format!(
        "{who} set forbidden securityContext.seLinuxOptions: {}",
        data.join("; ")
    );
    Violation::new("seLinuxOptions", detail)
}

pub(super) fn seccomp(pod: &Value, version: Version) -> Option<Violation> {
    if version < Version::Minor(19) {
        return None;
    }
    let (of_pod, names, kinds) = seccomp_setters(pod);
    if !of_pod && names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not set securityContext.seccompProfile.type to {}",
        setters(of_pod, &names),
        quoted(&kinds)
    );
    Violation::new("seccompProfile", detail)
}

/// Who sets another profile than the runtime's or one of the node, and which.
pub(super) fn seccomp_setters(pod: &Value) -> (bool, Vec<&str>, Vec<&str>) {
    const AT: &str = "/securityContext/seccompProfile/type";
    let bad = |kind: &str| !matches!(kind, "" | "RuntimeDefault" | "Localhost");
    let of_pod = pod.pointer("/spec").map_or("", |spec| text(spec, AT));
    let names = named(pod, |container| bad(text(container, AT)));
    let kinds = containers(pod).map(|container| text(container, AT));
    let kinds = set(std::iter::once(of_pod)
        .chain(kinds)
        .filter(|kind| bad(kind)));
    (bad(of_pod), names, kinds)
}

pub(super) fn sysctls(pod: &Value, version: Version) -> Option<Violation> {
    let allowed = |name: &str| {
        let known = SYSCTLS.iter().find(|(known, _)| *known == name);
        known.is_some_and(|(_, since)| version >= Version::Minor(*since))
    };
    let all = items(pod, "/spec/securityContext/sysctls").iter();
    let bad = all.map(|sysctl| text(sysctl, "/name"));
    let bad: Vec<&str> = bad.filter(|name| !allowed(name)).collect();
    if bad.is_empty() {
        return None;
    }
    Violation::new("forbidden sysctls", bad.join(", "))
}

pub(super) fn windows_host_process(pod: &Value, _: Version) -> Option<Violation> {
    const AT: &str = "/securityContext/windowsOptions/hostProcess";
    let of_pod = flag(pod, &format!("/spec{AT}"));
    let names = named(pod, |container| flag(container, AT));
    if !of_pod && names.is_empty() {
        return None;
    }
    let who = setters(of_pod, &names);
    Violation::new(
        "hostProcess",
        format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
    )
}
