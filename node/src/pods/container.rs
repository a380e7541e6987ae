//! From a container of the spec to the runtime's description of it: pure.

use std::collections::HashMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, Pod, PodSecurityContext, SeccompProfile, SecurityContext,
};
use naru_cri::v1;

use super::expand::expand;
use super::names::{self, PodId};
use super::plan::spec;
use super::resources::linux_resources;
use super::sandbox::namespaces;

/// Where a container's last words go unless it says otherwise.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

/// What hides the machine from containers that aren't privileged.
const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READ_ONLY: [&str; 6] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/sys/fs/cgroup",
];

/// What a start has found out before the container is described.
#[derive(Debug)]
pub struct Resolved {
    /// Restart count.
    pub attempt: u32,
    /// The image's id in the runtime.
    pub image: String,
    /// The environment, in order.
    pub env: Vec<(String, String)>,
    /// Mounts of volumes, hosts file and last words.
    pub mounts: Vec<v1::Mount>,
    /// The node's memory in bytes.
    pub memory_capacity: i64,
    /// The runtime's id of the container whose processes this one sees.
    pub target: Option<String>,
}

/// The runtime's description of one attempt of a container.
pub fn container_config(
    pod: &Pod,
    container: &Container,
    resolved: Resolved,
) -> v1::ContainerConfig {
    let id = PodId::of(pod);
    let lookup: HashMap<&str, &str> = resolved
        .env
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let words = |list: &Option<Vec<String>>| -> Vec<String> {
        let list = list.iter().flatten();
        list.map(|word| expand(word, |name| lookup.get(name).copied()))
            .collect()
    };
    let path = container
        .termination_message_path
        .as_deref()
        .unwrap_or(TERMINATION_LOG);
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata {
            name: container.name.clone(),
            attempt: resolved.attempt,
        }),
        image: Some(v1::ImageSpec {
            image: resolved.image.clone(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..v1::ImageSpec::default()
        }),
        command: words(&container.command),
        args: words(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        labels: id.labels(Some(&container.name)).into_iter().collect(),
        annotations: HashMap::from([(names::TERMINATION_PATH.to_owned(), path.to_owned())]),
        log_path: names::relative_log(&container.name, resolved.attempt),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(linux_resources(
                spec(pod),
                container,
                resolved.memory_capacity,
            )),
            security_context: Some(security(pod, container, resolved.target)),
        }),
        mounts: resolved.mounts,
        envs: resolved
            .env
            .into_iter()
            .map(|(key, value)| v1::KeyValue {
                key,
                value: value.into_bytes(),
            })
            .collect(),
        devices: Vec::new(),
    }
}

/// The container's own security settings over the pod's.
fn security(
    pod: &Pod,
    container: &Container,
    target: Option<String>,
) -> v1::LinuxContainerSecurityContext {
    let empty = PodSecurityContext::default();
    let of_pod = spec(pod).security_context.as_ref().unwrap_or(&empty);
    let own = container.security_context.clone().unwrap_or_default();
    let privileged = own.privileged == Some(true);
    let unmasked = privileged || own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| match unmasked {
        true => Vec::new(),
        false => list.iter().map(|path| (*path).to_owned()).collect(),
    };
    let groups = of_pod.fs_group.into_iter();
    let groups = groups.chain(of_pod.supplemental_groups.iter().flatten().copied());
    let int64 = |value: Option<i64>| value.map(|value| v1::Int64Value { value });
    v1::LinuxContainerSecurityContext {
        capabilities: Some(capabilities(own.capabilities.as_ref())),
        privileged,
        namespace_options: Some(joined(namespaces(spec(pod)), target)),
        run_as_user: int64(own.run_as_user.or(of_pod.run_as_user)),
        run_as_group: int64(own.run_as_group.or(of_pod.run_as_group)),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups.collect(),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        seccomp: Some(seccomp(&own, of_pod, privileged)),
        ..v1::LinuxContainerSecurityContext::default()
    }
}

/// The namespaces of a container that looks at another one: the processes are that one's, unless all
/// of the pod have theirs in common.
fn joined(own: v1::NamespaceOption, target: Option<String>) -> v1::NamespaceOption {
    match target {
        Some(target_id) if own.pid() == v1::NamespaceMode::Container => v1::NamespaceOption {
            pid: v1::NamespaceMode::Target as i32,
            target_id,
            ..own
        },
        _ => own,
    }
}

fn capabilities(wanted: Option<&Capabilities>) -> v1::Capability {
    let list = |names: Option<&Vec<String>>| names.cloned().unwrap_or_default();
    v1::Capability {
        add_capabilities: list(wanted.and_then(|wanted| wanted.add.as_ref())),
        drop_capabilities: list(wanted.and_then(|wanted| wanted.drop.as_ref())),
        add_ambient_capabilities: Vec::new(),
    }
}

/// Without a profile a container is unconfined, as Kubernetes has it.
fn seccomp(
    own: &SecurityContext,
    pod: &PodSecurityContext,
    privileged: bool,
) -> v1::SecurityProfile {
    use v1::security_profile::ProfileType;
    let profile: Option<&SeccompProfile> = own
        .seccomp_profile
        .as_ref()
        .or(pod.seccomp_profile.as_ref());
    let kind = match profile.map(|profile| profile.type_.as_str()) {
        _ if privileged => ProfileType::Unconfined,
        Some("RuntimeDefault") => ProfileType::RuntimeDefault,
        Some("Localhost") => ProfileType::Localhost,
        _ => ProfileType::Unconfined,
    };
    v1::SecurityProfile {
        profile_type: kind as i32,
        localhost_ref: profile
            .and_then(|p| p.localhost_profile.clone())
            .unwrap_or_default(),
    }
}

/// The mount of one host path.
pub fn mount(container_path: &str, host_path: &Path, readonly: bool) -> v1::Mount {
    v1::Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.to_string_lossy().into_owned(),
        readonly,
        ..v1::Mount::default()
    }
}

/// A demand on the user of a container that the image does not meet; it is asked before a start.
///
/// # Errors
/// `runAsNonRoot` with user 0, or with a user known by name only.
pub fn check_non_root(
    pod: &Pod,
    container: &Container,
    image_uid: Option<i64>,
    image_user: &str,
) -> Result<(), String> {
    let of_pod = spec(pod).security_context.as_ref();
    let own = container.security_context.as_ref();
    let demanded = own
        .and_then(|own| own.run_as_non_root)
        .or(of_pod.and_then(|pod| pod.run_as_non_root))
        .unwrap_or(false);
    let user = own
        .and_then(|own| own.run_as_user)
        .or(of_pod.and_then(|pod| pod.run_as_user));
    match user.or(image_uid) {
        _ if !demanded => Ok(()),
        Some(0) => Err("container has runAsNonRoot and image will run as root".to_owned()),
        Some(_) => Ok(()),
        None if image_user.is_empty() => {
            Err("container has runAsNonRoot and image will run as root".to_owned())
        }
        None => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pod_spec: serde_json::Value) -> v1::ContainerConfig {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": pod_spec
        }))
        .unwrap();
        let resolved = Resolved {
            attempt: 3,
            image: "sha256:1".into(),
            env: vec![("WHO".into(), "me".into())],
            mounts: Vec::new(),
            memory_capacity: 1 << 30,
            target: None,
        };
        container_config(&pod, &spec(&pod).containers[0], resolved)
    }

    #[test]
    fn commands_are_expanded_and_logs_follow_the_attempt() {
        let config = config(serde_json::json!({"containers": [
            {"name": "c", "image": "i", "command": ["echo", "$(WHO)"], "args": ["$(NOBODY)"]}]}));
        assert_eq!(config.command, ["echo", "me"]);
        assert_eq!(config.args, ["$(NOBODY)"]);
        assert_eq!(config.log_path, "c/3.log");
        assert_eq!(config.labels[names::CONTAINER_NAME], "c");
    }

    #[test]
    fn own_security_settings_win_over_the_pods() {
        let config = config(serde_json::json!({
            "securityContext": {"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3},
            "containers": [{"name": "c", "securityContext": {"runAsUser": 9,
                "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}, "readOnlyRootFilesystem": true}}]}));
        let security = config.linux.unwrap().security_context.unwrap();
        assert_eq!(security.run_as_user.unwrap().value, 9);
        assert_eq!(security.run_as_group.unwrap().value, 2);
        assert_eq!(security.supplemental_groups, [3]);
        assert!(security.readonly_rootfs && !security.masked_paths.is_empty());
        assert_eq!(security.capabilities.unwrap().drop_capabilities, ["ALL"]);
    }

    #[test]
    fn privileged_containers_see_the_whole_machine() {
        let config = config(serde_json::json!({"containers": [
            {"name": "c", "securityContext": {"privileged": true}}]}));
        let security = config.linux.unwrap().security_context.unwrap();
        assert!(security.privileged && security.masked_paths.is_empty());
    }

    #[test]
    fn a_debugger_joins_the_processes_of_its_target_or_of_all() {
        let joined = |pod_spec: serde_json::Value| {
            let spec = serde_json::from_value(pod_spec).unwrap();
            let options = joined(namespaces(&spec), Some("id".into()));
            (options.pid(), options.target_id)
        };
        use v1::NamespaceMode::{Node, Pod, Target};
        let own = joined(serde_json::json!({"containers": []}));
        assert_eq!(own, (Target, "id".to_owned()));
        let shared = serde_json::json!({"containers": [], "shareProcessNamespace": true});
        assert_eq!(joined(shared), (Pod, String::new()));
        let host = serde_json::json!({"containers": [], "hostPID": true});
        assert_eq!(joined(host), (Node, String::new()));
    }

    #[test]
    fn non_root_is_checked_against_the_image() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {}, "spec":
            {"securityContext": {"runAsNonRoot": true}, "containers": [{"name": "c"}]}}))
        .unwrap();
        let container = &spec(&pod).containers[0];
        assert!(check_non_root(&pod, container, Some(0), "").is_err());
        assert!(check_non_root(&pod, container, None, "www").is_err());
        assert!(check_non_root(&pod, container, Some(33), "").is_ok());
    }
}
