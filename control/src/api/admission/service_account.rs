//! Every pod runs as a service account and, unless it declines, finds that account's token, the
//! cluster's authority and its own namespace under a well-known path.

use serde_json::{Value, json};

use crate::api::server::Server;
use crate::api::value::{items, namespace, object, text};

/// Where containers find the credentials.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Seconds that a mounted token is valid; the node renews it.
const TOKEN_SECONDS: i64 = 3607;
/// Octal 0644.
const DEFAULT_MODE: i64 = 420;

pub(super) fn complete(server: &Server, pod: &mut Value) {
    let spec = object(pod, "spec");
    let name = match spec.get("serviceAccountName").and_then(Value::as_str) {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => "default".to_owned(),
    };
    spec.insert("serviceAccountName".into(), name.clone().into());
    spec.insert("serviceAccount".into(), name.clone().into());
    let account = server.stored("serviceaccounts", Some(namespace(pod)), &name);
    if wants_token(pod, account.as_ref()) {
        mount_token(pod);
    }
}

/// The pod decides, then its account; the default is yes. A mirror of a static pod gets none.
fn wants_token(pod: &Value, account: Option<&Value>) -> bool {
    let flag = |value: Option<&Value>| value.and_then(Value::as_bool);
    let of_pod = flag(pod.pointer("/spec/automountServiceAccountToken"));
    let of_account = flag(account.and_then(|it| it.get("automountServiceAccountToken")));
    let mirror = pod
        .pointer("/metadata/annotations/kubernetes.io~1config.mirror")
        .is_some();
    !mirror && of_pod.or(of_account).unwrap_or(true)
}

fn mount_token(pod: &mut Value) {
    let existing = items(pod, "/spec/volumes").iter().find_map(|volume| {
        let name = text(volume, "/name");
        name.starts_with("kube-api-access-")
            .then(|| name.to_owned())
    });
    let volume = existing.clone().unwrap_or_else(volume_name);
    let mut used = false;
    for containers in ["containers", "initContainers"] {
        let list = pod["spec"]
            .get_mut(containers)
            .and_then(Value::as_array_mut);
        for container in list.into_iter().flatten() {
            used |= mount(container, &volume);
        }
    }
    if used && existing.is_none() {
        let spec = object(pod, "spec");
        let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
        if let Some(volumes) = volumes.as_array_mut() {
            volumes.push(token_volume(&volume));
        }
    }
}

/// Mounts the volume unless the container has something else at that path.
fn mount(container: &mut Value, volume: &str) -> bool {
    let taken = items(container, "/volumeMounts").iter();
    if taken
        .clone()
        .any(|mount| text(mount, "/mountPath") == MOUNT_PATH)
        || !container.is_object()
    {
        return false;
    }
    let mount = json!({"name": volume, "mountPath": MOUNT_PATH, "readOnly": true});
    match container
        .get_mut("volumeMounts")
        .and_then(Value::as_array_mut)
    {
        Some(mounts) => mounts.push(mount),
        None => container["volumeMounts"] = json!([mount]),
    }
    true
}

fn volume_name() -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("kube-api-access-{}", &random[..5])
}

fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": DEFAULT_MODE, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_container_gets_the_token_once() {
        let mut pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}],
            "initContainers": [{"name": "i"}]}});
        mount_token(&mut pod);
        let once = pod.clone();
        mount_token(&mut pod);
        assert_eq!(pod, once);
        assert_eq!(items(&pod, "/spec/volumes").len(), 1);
        for container in [
            "/spec/containers/0",
            "/spec/containers/1",
            "/spec/initContainers/0",
        ] {
            let path = text(&pod, &format!("{container}/volumeMounts/0/mountPath"));
            assert_eq!(path, MOUNT_PATH);
        }
    }

    #[test]
    fn the_pod_decides_before_its_account() {
        let pod = |flag: Value| json!({"spec": {"automountServiceAccountToken": flag}});
        let account = json!({"automountServiceAccountToken": false});
        assert!(wants_token(&pod(true.into()), Some(&account)));
        assert!(!wants_token(&pod(Value::Null), Some(&account)));
        assert!(wants_token(&pod(Value::Null), None));
        assert!(!wants_token(&pod(false.into()), None));
    }
}
