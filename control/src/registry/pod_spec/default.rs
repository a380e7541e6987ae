//! What a pod is when its manifest does not say.

use naru_core::names::defaults;
use serde_json::{Map, Value, json};

use super::{CONTAINER_LISTS, container, volume};
use crate::registry::value::{child, default, default_text, flag, int, list_mut, put, text};

/// Defaults of a Pod: those of a template, and those that only make sense for a pod itself.
pub(in crate::registry) fn pod_defaults(pod: &mut Value) {
    let Some(spec) = child(pod, "spec") else {
        return;
    };
    spec_defaults(spec);
    default(spec, "enableServiceLinks", true);
    let host_network = flag(spec, "/hostNetwork");
    for field in ["initContainers", "containers"] {
        for container in list_mut(spec, &format!("/{field}")) {
            requests_from_limits(container);
            container::resize_policies(container);
            if host_network {
                host_ports(container);
            }
        }
    }
}

/// Defaults of a pod template.
pub(in crate::registry) fn template_defaults(template: &mut Value) {
    if let Some(spec) = child(template, "spec") {
        spec_defaults(spec);
    }
}

fn spec_defaults(spec: &mut Value) {
    default_text(spec, "restartPolicy", "Always");
    default_text(spec, "dnsPolicy", "ClusterFirst");
    default_text(spec, "schedulerName", defaults::SCHEDULER);
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "securityContext", Map::new());
    service_account(spec);
    for field in CONTAINER_LISTS {
        for container in list_mut(spec, &format!("/{field}")) {
            container::set_defaults(container);
        }
    }
    for volume in list_mut(spec, "/volumes") {
        volume::set_defaults(volume);
    }
}

/// The account's name stands in two fields, of which the older one is `serviceAccount`.
fn service_account(spec: &mut Value) {
    let name = match text(spec, "/serviceAccountName") {
        "" => text(spec, "/serviceAccount"),
        name => name,
    };
    if !name.is_empty() {
        let name = Value::from(name);
        put(spec, "serviceAccount", Some(name.clone()));
        put(spec, "serviceAccountName", Some(name));
    }
}

/// A container that may use so much is taken to want so much.
fn requests_from_limits(container: &mut Value) {
    let limits = container
        .pointer("/resources/limits")
        .and_then(Value::as_object)
        .cloned();
    let Some(limits) = limits.filter(|limits| !limits.is_empty()) else {
        return;
    };
    if let Some(resources) = child(container, "resources")
        && let Some(requests) = child(resources, "requests")
    {
        limits
            .into_iter()
            .for_each(|(resource, limit)| default(requests, &resource, limit));
    }
}

/// On the node's own network a container port is a port of the node.
fn host_ports(container: &mut Value) {
    for port in list_mut(container, "/ports") {
        if let Some(number) = int(port, "/containerPort")
            && int(port, "/hostPort").unwrap_or(0) == 0
        {
            put(port, "hostPort", Some(json!(number)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_pod_gets_every_default() {
        let mut pod = json!({"spec": {"containers": [{"name": "a", "image": "busybox"}]}});
        pod_defaults(&mut pod);
        let expected = json!({"spec": {
            "restartPolicy": "Always",
            "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler",
            "terminationGracePeriodSeconds": 30,
            "securityContext": {},
            "enableServiceLinks": true,
            "containers": [{
                "name": "a",
                "image": "busybox",
                "imagePullPolicy": "Always",
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "resources": {},
            }],
        }});
        assert_eq!(pod, expected);
    }

    #[test]
    fn requests_default_to_limits_in_pods_only() {
        let manifest = json!({"spec": {"containers": [{"resources": {
            "limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": "100m"}}}]}});
        let mut pod = manifest.clone();
        pod_defaults(&mut pod);
        let resources = json!({"limits": {"cpu": "500m", "memory": "1Gi"},
            "requests": {"cpu": "100m", "memory": "1Gi"}});
        assert_eq!(pod["spec"]["containers"][0]["resources"], resources);
        let mut template = manifest;
        template_defaults(&mut template);
        let requests = &template["spec"]["containers"][0]["resources"]["requests"];
        assert_eq!(*requests, json!({"cpu": "100m"}));
    }

    #[test]
    fn host_network_pods_use_the_ports_of_the_node() {
        let mut pod = json!({"spec": {"hostNetwork": true, "serviceAccountName": "robot",
            "containers": [{"ports": [{"containerPort": 80}]}]}});
        pod_defaults(&mut pod);
        let ports = json!([{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]);
        assert_eq!(pod["spec"]["containers"][0]["ports"], ports);
        assert_eq!(pod["spec"]["serviceAccount"], "robot");
    }
}
