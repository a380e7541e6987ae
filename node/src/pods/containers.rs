//! The containers of a spec, whatever list they stand in: pure.
//!
//! Ephemeral containers are containers like others to whoever starts, names or describes them; what
//! makes them different (they start once, and nobody waits for them) is in [`super::plan`] and
//! [`super::report`].

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod};

use super::plan::spec;

/// All containers of a pod: those that make it up, those that prepare it, those that look into it.
pub fn all(pod: &Pod) -> impl Iterator<Item = Cow<'_, Container>> {
    let spec = spec(pod);
    let lasting = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let looking = spec.ephemeral_containers.iter().flatten();
    lasting
        .map(Cow::Borrowed)
        .chain(looking.map(ephemeral).map(Cow::Owned))
}

/// The container of this name.
pub fn find<'a>(pod: &'a Pod, name: &str) -> Option<Cow<'a, Container>> {
    all(pod).find(|container| container.name == name)
}

/// An ephemeral container as a container. Its name for the target is left out: see [`target`].
pub fn ephemeral(container: &EphemeralContainer) -> Container {
    let container = container.clone();
    Container {
        name: container.name,
        image: container.image,
        image_pull_policy: container.image_pull_policy,
        command: container.command,
        args: container.args,
        working_dir: container.working_dir,
        env: container.env,
        env_from: container.env_from,
        volume_mounts: container.volume_mounts,
        volume_devices: container.volume_devices,
        security_context: container.security_context,
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        tty: container.tty,
        termination_message_path: container.termination_message_path,
        termination_message_policy: container.termination_message_policy,
        ..Container::default()
    }
}

/// The container whose processes the ephemeral container `name` wants to see.
pub fn target<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let mut all = spec(pod).ephemeral_containers.iter().flatten();
    let container = all.find(|container| container.name == name)?;
    let target = container.target_container_name.as_deref();
    target.filter(|target| !target.is_empty())
}

/// The list in which a container stands, as the API names it.
pub fn list_of(pod: &Pod, name: &str) -> &'static str {
    let spec = spec(pod);
    let mut init = spec.init_containers.iter().flatten();
    let mut ephemeral = spec.ephemeral_containers.iter().flatten();
    if init.any(|container| container.name == name) {
        "initContainers"
    } else if ephemeral.any(|container| container.name == name) {
        "ephemeralContainers"
    } else {
        "containers"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {}, "spec": {
            "containers": [{"name": "web"}], "initContainers": [{"name": "first"}],
            "ephemeralContainers": [
                {"name": "look", "image": "busybox", "stdin": true, "tty": true,
                    "command": ["sh"], "env": [{"name": "A", "value": "b"}],
                    "targetContainerName": "web"},
                {"name": "listen", "targetContainerName": ""}]}}))
        .unwrap()
    }

    #[test]
    fn a_container_is_found_in_every_list() {
        let pod = pod();
        let lists = ["web", "first", "look"].map(|name| {
            assert_eq!(find(&pod, name).unwrap().name, name);
            list_of(&pod, name)
        });
        assert_eq!(
            lists,
            ["containers", "initContainers", "ephemeralContainers"]
        );
        assert!(find(&pod, "nobody").is_none());
    }

    #[test]
    fn an_ephemeral_container_keeps_what_it_says() {
        let pod = pod();
        let look = find(&pod, "look").unwrap();
        assert_eq!(look.image.as_deref(), Some("busybox"));
        assert_eq!((look.stdin, look.tty), (Some(true), Some(true)));
        assert_eq!(look.env.as_ref().unwrap()[0].name, "A");
        assert_eq!(target(&pod, "look"), Some("web"));
        assert_eq!((target(&pod, "listen"), target(&pod, "web")), (None, None));
    }
}
