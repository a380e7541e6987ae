//! Containers: their defaults, and the image names from which one of them follows.

use serde_json::{Map, Value, json};

use crate::registry::value::{default, default_text, list, list_mut, present, put, text};

/// Fills in the defaults of one container.
pub(super) fn set_defaults(container: &mut Value) {
    let policy = if is_latest(text(container, "/image")) {
        "Always"
    } else {
        "IfNotPresent"
    };
    default_text(container, "imagePullPolicy", policy);
    default_text(container, "terminationMessagePath", "/dev/termination-log");
    default_text(container, "terminationMessagePolicy", "File");
    default(container, "resources", Map::new());
    for port in list_mut(container, "/ports") {
        default_text(port, "protocol", "TCP");
    }
    for variable in list_mut(container, "/env") {
        field_version(variable.pointer_mut("/valueFrom/fieldRef"));
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe) {
            probe_defaults(probe);
        }
    }
    for hook in ["/lifecycle/postStart/httpGet", "/lifecycle/preStop/httpGet"] {
        http_defaults(container.pointer_mut(hook));
    }
}

/// A container goes on while an amount changes that it asks for, unless it says otherwise.
pub(in crate::registry) fn resize_policies(container: &mut Value) {
    for resource in ["cpu", "memory"] {
        let asks = |what| present(container, &format!("/resources/{what}/{resource}"));
        let said = list(container, "/resizePolicy")
            .iter()
            .any(|policy| text(policy, "/resourceName") == resource);
        if said || !(asks("requests") || asks("limits")) {
            continue;
        }
        let policy = json!({"resourceName": resource, "restartPolicy": "NotRequired"});
        match container
            .get_mut("resizePolicy")
            .and_then(Value::as_array_mut)
        {
            Some(policies) => policies.push(policy),
            None => put(container, "resizePolicy", Some(json!([policy]))),
        }
    }
}

fn probe_defaults(probe: &mut Value) {
    default(probe, "timeoutSeconds", 1);
    default(probe, "periodSeconds", 10);
    default(probe, "successThreshold", 1);
    default(probe, "failureThreshold", 3);
    http_defaults(probe.get_mut("httpGet"));
    if let Some(grpc) = probe.get_mut("grpc") {
        default(grpc, "service", "");
    }
}

fn http_defaults(action: Option<&mut Value>) {
    if let Some(action) = action {
        default_text(action, "path", "/");
        default_text(action, "scheme", "HTTP");
    }
}

/// A reference to a field of the pod reads it as v1 unless it says otherwise.
pub(super) fn field_version(reference: Option<&mut Value>) {
    if let Some(reference) = reference {
        default_text(reference, "apiVersion", "v1");
    }
}

/// Whether an image name means whatever is newest: no tag and no digest, or the tag `latest`.
fn is_latest(image: &str) -> bool {
    if let Some((name, _)) = image.split_once('@') {
        return tag(name) == Some("latest");
    }
    matches!(tag(image), None | Some("latest"))
}

/// The tag of an image name without digest; a colon before the last slash belongs to a port.
fn tag(name: &str) -> Option<&str> {
    let (head, tail) = name.rsplit_once(':')?;
    (!head.is_empty() && !tail.contains('/')).then_some(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_can_change_without_a_restart() {
        let mut container = json!({"resources": {"limits": {"memory": "1Gi"}, "requests": {"cpu": "1"}},
            "resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]});
        resize_policies(&mut container);
        let once = container.clone();
        resize_policies(&mut container);
        assert_eq!(container, once);
        let policies = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"},
            {"resourceName": "cpu", "restartPolicy": "NotRequired"}]);
        assert_eq!(container["resizePolicy"], policies);
        let mut silent = json!({"resources": {}});
        resize_policies(&mut silent);
        assert_eq!(silent, json!({"resources": {}}));
    }

    #[test]
    fn the_pull_policy_follows_the_tag() {
        let cases = [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("registry:5000/nginx", "Always"),
            ("registry:5000/a/nginx:1", "IfNotPresent"),
            ("nginx@sha256:0123", "IfNotPresent"),
            ("nginx:latest@sha256:0123", "Always"),
        ];
        for (image, policy) in cases {
            let mut container = json!({"image": image});
            set_defaults(&mut container);
            assert_eq!(container["imagePullPolicy"], policy, "{image}");
        }
    }

    #[test]
    fn probes_and_hooks_are_completed() {
        let mut container = json!({
            "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 5},
            "readinessProbe": {"grpc": {"port": 1}},
            "lifecycle": {"preStop": {"httpGet": {"port": 80, "path": "/bye"}}},
            "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        });
        set_defaults(&mut container);
        let probe = json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
            "timeoutSeconds": 1, "periodSeconds": 5, "successThreshold": 1, "failureThreshold": 3});
        assert_eq!(container["livenessProbe"], probe);
        assert_eq!(container["readinessProbe"]["grpc"]["service"], "");
        let hook = json!({"port": 80, "path": "/bye", "scheme": "HTTP"});
        assert_eq!(container["lifecycle"]["preStop"]["httpGet"], hook);
        assert_eq!(
            container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"],
            "v1"
        );
    }
}
