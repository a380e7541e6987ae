//! Writes a pod's status to the API: only what changed, always the newest, never in the way.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::names::PodId;

/// Reason that the node lifecycle controller gives when it takes Ready from a silent node's pods.
const NODE_NOT_READY: &str = "NodeNotReady";

const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Follows the wanted status until its sender is dropped; `known` is what the API has.
///
/// What the control plane said of the pod while this node was silent is overwritten as soon as
/// `stored`, the object as the API has it, shows it.
pub async fn run(
    client: Client,
    pod: PodId,
    mut known: PodStatus,
    mut wanted: watch::Receiver<Option<PodStatus>>,
    mut stored: watch::Receiver<Arc<Pod>>,
) {
    let mut delay = FIRST_DELAY;
    loop {
        if let Some(said) = said_in_silence(&stored.borrow_and_update()) {
            known = said;
        }
        let status = wanted.borrow_and_update().clone();
        if let Some(status) = status.filter(|status| *status != known) {
            match write(&client, &pod, &known, &status).await {
                Ok(()) => (known, delay) = (status, FIRST_DELAY),
                Err(error) if is_gone(&error) => known = status,
                Err(error) => {
                    tracing::warn!(pod = pod.describe(), %error, "status not written");
                    // Newer news ends the pause: it may be the last.
                    let _ = tokio::time::timeout(delay, wanted.changed()).await;
                    delay = (delay * 2).min(LONGEST_DELAY);
                    continue;
                }
            }
        }
        let go_on = tokio::select! {
            changed = wanted.changed() => changed,
            changed = stored.changed() => changed,
        };
        if go_on.is_err() {
            return;
        }
    }
}

/// The stored status, when the node lifecycle controller had the last word on it.
fn said_in_silence(pod: &Pod) -> Option<PodStatus> {
    let status = pod.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    conditions
        .any(|condition| condition.reason.as_deref() == Some(NODE_NOT_READY))
        .then(|| status.clone())
}

/// Writes one status over a known one.
///
/// # Errors
/// Whatever the API answers.
pub async fn write(
    client: &Client,
    pod: &PodId,
    known: &PodStatus,
    status: &PodStatus,
) -> Result<(), kube::Error> {
    let Some(patch) = patch(pod, known, status) else {
        return Ok(());
    };
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    api.patch_status(&pod.name, &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    Ok(())
}

/// The object is not there any more, or another one has taken its name.
pub fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409))
}

/// A merge patch of the fields that differ; `None` when none does. The UID in it makes the API
/// refuse a patch meant for a pod of the same name that is gone.
fn patch(pod: &PodId, known: &PodStatus, status: &PodStatus) -> Option<Value> {
    let (before, after) = (fields(known), fields(status));
    let mut changed = Map::new();
    for (key, value) in &after {
        if before.get(key) != Some(value) {
            changed.insert(key.clone(), value.clone());
        }
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        changed.insert(key.clone(), Value::Null);
    }
    (!changed.is_empty()).then(|| json!({"metadata": {"uid": pod.uid}, "status": changed}))
}

fn fields(status: &PodStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_said_in_silence_overrules_what_is_known() {
        let pod = |reason: &str| {
            let condition = json!({"type": "Ready", "status": "False", "reason": reason});
            let pod = json!({"metadata": {}, "status": {"conditions": [condition]}});
            serde_json::from_value::<Pod>(pod).unwrap()
        };
        let silent = pod(NODE_NOT_READY);
        assert_eq!(said_in_silence(&silent), silent.status);
        assert_eq!(said_in_silence(&pod("ContainersNotReady")), None);
    }

    #[test]
    fn only_differences_are_sent_and_vanished_fields_are_nulled() {
        let pod = PodId {
            namespace: "n".into(),
            name: "p".into(),
            uid: "u".into(),
        };
        let known = PodStatus {
            phase: Some("Pending".into()),
            reason: Some("x".into()),
            host_ip: Some("192.0.2.1".into()),
            ..PodStatus::default()
        };
        let status = PodStatus {
            phase: Some("Running".into()),
            reason: None,
            ..known.clone()
        };
        assert_eq!(
            patch(&pod, &known, &status).unwrap(),
            json!({"metadata": {"uid": "u"}, "status": {"phase": "Running", "reason": null}})
        );
        assert_eq!(patch(&pod, &known, &known), None);
    }
}
