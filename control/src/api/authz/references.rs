//! The objects that a pod refers to: pure.

use serde_json::Value;

use crate::api::value::{items, text};

/// Names of what one pod needs from its namespace.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct References<'a> {
    secrets: Vec<&'a str>,
    config_maps: Vec<&'a str>,
    account: &'a str,
}

impl<'a> References<'a> {
    /// Those of a pod.
    pub(super) fn of(pod: &'a Value) -> Self {
        let mut references = Self {
            account: text(pod, "/spec/serviceAccountName"),
            ..Self::default()
        };
        for secret in items(pod, "/spec/imagePullSecrets") {
            references.secrets.push(text(secret, "/name"));
        }
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            for container in items(pod, &format!("/spec/{list}")) {
                references.add_environment(container);
            }
        }
        for volume in items(pod, "/spec/volumes") {
            references.add_volume(volume);
        }
        references
    }

    /// Whether the pod needs that object.
    pub(super) fn has(&self, plural: &str, name: &str) -> bool {
        match plural {
            "secrets" => self.secrets.contains(&name),
            "configmaps" => self.config_maps.contains(&name),
            "serviceaccounts" => self.account == name,
            _ => false,
        }
    }

    fn add_environment(&mut self, container: &'a Value) {
        for source in items(container, "/envFrom") {
            self.config_maps.push(text(source, "/configMapRef/name"));
            self.secrets.push(text(source, "/secretRef/name"));
        }
        for variable in items(container, "/env") {
            let map = text(variable, "/valueFrom/configMapKeyRef/name");
            self.config_maps.push(map);
            self.secrets
                .push(text(variable, "/valueFrom/secretKeyRef/name"));
        }
    }

    fn add_volume(&mut self, volume: &'a Value) {
        self.config_maps.push(text(volume, "/configMap/name"));
        for source in items(volume, "/projected/sources") {
            self.config_maps.push(text(source, "/configMap/name"));
            self.secrets.push(text(source, "/secret/name"));
        }
        // Every kind of volume names its Secret in one of three ways.
        for source in volume.as_object().into_iter().flatten().map(|(_, it)| it) {
            for pointer in [
                "/secretName",
                "/secretRef/name",
                "/nodePublishSecretRef/name",
            ] {
                self.secrets.push(text(source, pointer));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_found_wherever_they_hide() {
        let pod = json!({"spec": {
            "serviceAccountName": "robot",
            "imagePullSecrets": [{"name": "s1"}],
            "initContainers": [{"envFrom": [{"configMapRef": {"name": "m1"}}]}],
            "containers": [{"env": [
                {"valueFrom": {"secretKeyRef": {"name": "s2", "key": "k"}}},
                {"valueFrom": {"configMapKeyRef": {"name": "m2", "key": "k"}}}]}],
            "ephemeralContainers": [{"envFrom": [{"secretRef": {"name": "s3"}}]}],
            "volumes": [
                {"name": "a", "secret": {"secretName": "s4"}},
                {"name": "b", "configMap": {"name": "m3"}},
                {"name": "c", "projected": {"sources": [
                    {"secret": {"name": "s5"}}, {"configMap": {"name": "m4"}}]}},
                {"name": "d", "csi": {"nodePublishSecretRef": {"name": "s6"}}}]}});
        let references = References::of(&pod);
        for name in ["s1", "s2", "s3", "s4", "s5", "s6"] {
            assert!(references.has("secrets", name), "{name}");
            assert!(!references.has("configmaps", name), "{name}");
        }
        for name in ["m1", "m2", "m3", "m4"] {
            assert!(references.has("configmaps", name), "{name}");
        }
        assert!(references.has("serviceaccounts", "robot"));
        assert!(!references.has("serviceaccounts", "default"));
        assert!(!references.has("services", "robot"));
    }
}
