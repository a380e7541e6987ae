//! Questions about pods that several controllers ask.

use jiff::{SignedDuration, Timestamp};

use super::lean::{Phase, Pod};

/// Whether the pod will run no more: `Succeeded` or `Failed`.
pub fn is_finished(pod: &Pod) -> bool {
    matches!(pod.status.phase, Phase::Succeeded | Phase::Failed)
}

/// Whether deletion has begun.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether the pod counts for its owner: neither finished nor terminating.
pub fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_terminating(pod)
}

/// Whether condition `Ready` is true.
pub fn is_ready(pod: &Pod) -> bool {
    pod.status.readiness.is_ready
}

/// When the pod became ready, if it is.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    pod.status.readiness.since.filter(|_| is_ready(pod))
}

/// How long until the pod has been ready for `min_ready` seconds: zero when it is available now,
/// `None` when it is not ready.
pub fn until_available(pod: &Pod, min_ready: i32, now: Timestamp) -> Option<SignedDuration> {
    if !is_ready(pod) {
        return None;
    }
    if min_ready <= 0 {
        return Some(SignedDuration::ZERO);
    }
    let since = ready_since(pod)?;
    let due = since + SignedDuration::from_secs(i64::from(min_ready));
    Some(due.duration_since(now).max(SignedDuration::ZERO))
}

/// The node the pod is bound to, empty before binding.
pub fn node_name(pod: &Pod) -> &str {
    pod.spec.node_name.as_deref().unwrap_or_default()
}
