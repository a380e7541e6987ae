//! The status of a Deployment, with the conditions that `kubectl rollout status` reads.

use super::bounds::bounds;
use super::names::{actual, available, replicas, total, wanted};
use crate::controllers::runtime::time;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use kube::ResourceExt;
use std::sync::Arc;

/// What a condition says, before it gets its times.
#[derive(Debug, Clone)]
pub struct Verdict {
    kind: &'static str,
    status: &'static str,
    reason: String,
    message: String,
}

impl Verdict {
    /// A `Progressing` condition.
    pub fn progressing(status: &'static str, reason: &str, message: String) -> Self {
        Verdict {
            kind: "Progressing",
            status,
            reason: reason.into(),
            message,
        }
    }

    fn available(yes: bool) -> Self {
        let (status, reason, message) = match yes {
            true => (
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
            ),
            false => (
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            ),
        };
        Verdict {
            kind: "Available",
            status,
            reason: reason.into(),
            message: message.into(),
        }
    }
}

/// The condition of type `kind` in `status`.
pub fn find<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status
        .conditions
        .as_ref()?
        .iter()
        .find(|condition| condition.type_.as_deref() == Some(kind))
}

fn reason<'a>(status: &'a DeploymentStatus, kind: &str) -> &'a str {
    find(status, kind)
        .and_then(|condition| condition.reason.as_deref())
        .unwrap_or_default()
}

/// Writes a condition unless status and reason are there already; the transition time moves only
/// with the status.
pub fn set(status: &mut DeploymentStatus, verdict: Verdict, now: Timestamp) {
    let before = find(status, verdict.kind).cloned();
    let same = before
        .as_ref()
        .filter(|old| old.status.as_deref() == Some(verdict.status));
    if same.is_some_and(|old| old.reason.as_deref() == Some(&verdict.reason)) {
        return;
    }
    put(
        status,
        verdict,
        same.and_then(|old| old.last_transition_time.clone())
            .map(|at| at.0),
        now,
    );
}

fn put(status: &mut DeploymentStatus, verdict: Verdict, since: Option<Timestamp>, now: Timestamp) {
    remove(status, verdict.kind);
    status
        .conditions
        .get_or_insert_default()
        .push(DeploymentCondition {
            type_: Some(verdict.kind.into()),
            status: Some(verdict.status.into()),
            reason: Some(verdict.reason),
            message: Some(verdict.message),
            last_update_time: Some(time(now)),
            last_transition_time: Some(time(since.unwrap_or(now))),
        });
}

fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = status.conditions.as_mut() {
        conditions.retain(|condition| condition.type_.as_deref() != Some(kind));
    }
}

/// The counts and the `Available` condition. `base` carries the conditions that were set before.
pub fn count(
    deployment: &Deployment,
    base: &DeploymentStatus,
    all: &[Arc<ReplicaSet>],
    new: Option<&ReplicaSet>,
    now: Timestamp,
) -> DeploymentStatus {
    let sets = || all.iter().map(AsRef::as_ref);
    let usable = total(sets(), available);
    let missing = (total(sets(), wanted) - usable).max(0);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: positive(total(sets(), actual)),
        updated_replicas: positive(new.map_or(0, actual)),
        ready_replicas: positive(total(sets(), ready)),
        available_replicas: positive(usable),
        unavailable_replicas: positive(missing),
        collision_count: base.collision_count,
        conditions: base.conditions.clone(),
        ..DeploymentStatus::default()
    };
    let enough = usable >= replicas(deployment) - bounds(deployment).unavailable;
    set(&mut status, Verdict::available(enough), now);
    status
}

fn ready(rs: &ReplicaSet) -> i32 {
    rs.status
        .as_ref()
        .and_then(|status| status.ready_replicas)
        .unwrap_or(0)
}

/// Zero is written as absence, as Kubernetes does.
fn positive(count: i32) -> Option<i32> {
    (count > 0).then_some(count)
}

/// The deadline for progress, if the Deployment has one.
fn deadline(deployment: &Deployment) -> Option<SignedDuration> {
    let seconds = deployment
        .spec
        .progress_deadline_seconds
        .filter(|seconds| *seconds != i32::MAX)?;
    Some(SignedDuration::from_secs(i64::from(seconds)))
}

/// Whether progress is reported at all.
pub fn has_deadline(deployment: &Deployment) -> bool {
    deadline(deployment).is_some()
}

/// Whether every wanted pod is new, available, and alone.
pub fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let goal = replicas(deployment);
    let counts = [
        status.updated_replicas,
        status.replicas,
        status.available_replicas,
    ];
    let seen =
        status.observed_generation.unwrap_or(0) >= deployment.metadata.generation.unwrap_or(0);
    seen && counts.iter().all(|count| count.unwrap_or(0) == goal)
}

fn has_progressed(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let old = |status: &DeploymentStatus| {
        status.replicas.unwrap_or(0) - status.updated_replicas.unwrap_or(0)
    };
    after.updated_replicas.unwrap_or(0) > before.updated_replicas.unwrap_or(0)
        || old(after) < old(before)
        || after.ready_replicas.unwrap_or(0) > before.ready_replicas.unwrap_or(0)
        || after.available_replicas.unwrap_or(0) > before.available_replicas.unwrap_or(0)
}

/// Adds `Progressing` and `ReplicaFailure` of a roll-out to `status`.
pub fn judge(
    deployment: &Deployment,
    status: &mut DeploymentStatus,
    all: &[Arc<ReplicaSet>],
    new: Option<&ReplicaSet>,
    now: Timestamp,
) {
    judge_progress(deployment, status, new, now);
    match all.iter().find_map(|rs| replica_failure(rs)) {
        Some(failure) => set(status, failure, now),
        None => remove(status, "ReplicaFailure"),
    }
}

fn judge_progress(
    deployment: &Deployment,
    status: &mut DeploymentStatus,
    new: Option<&ReplicaSet>,
    now: Timestamp,
) {
    if !has_deadline(deployment) {
        return remove(status, "Progressing");
    }
    let before = deployment.status.clone().unwrap_or_default();
    let done = status.replicas == status.updated_replicas
        && reason(&before, "Progressing") == "NewReplicaSetAvailable";
    if done && reason(status, "Progressing") == "NewReplicaSetAvailable" {
        return;
    }
    let subject = match new {
        Some(new) => format!("ReplicaSet \"{}\"", new.name_any()),
        None => format!("Deployment \"{}\"", deployment.name_any()),
    };
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        set(
            status,
            Verdict::progressing("True", "NewReplicaSetAvailable", message),
            now,
        );
    } else if has_progressed(&before, status) {
        let verdict = Verdict::progressing(
            "True",
            "ReplicaSetUpdated",
            format!("{subject} is progressing."),
        );
        let since = find(status, "Progressing").filter(|old| old.status.as_deref() == Some("True"));
        let since = since
            .and_then(|old| old.last_transition_time.clone())
            .map(|at| at.0);
        put(status, verdict, since, now);
    } else if overdue(deployment, status, now) {
        let message = format!("{subject} has timed out progressing.");
        set(
            status,
            Verdict::progressing("False", "ProgressDeadlineExceeded", message),
            now,
        );
    }
}

/// When the deadline passes; `None` when no clock runs.
fn due(deployment: &Deployment, status: &DeploymentStatus) -> Option<Timestamp> {
    let limit = deadline(deployment)?;
    let condition = find(status, "Progressing")?;
    if matches!(
        condition.reason.as_deref(),
        Some("NewReplicaSetAvailable" | "DeploymentPaused")
    ) {
        return None;
    }
    condition
        .last_update_time
        .as_ref()
        .and_then(|at| at.0.checked_add(limit).ok())
}

fn overdue(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> bool {
    due(deployment, status).is_some_and(|due| due < now)
}

/// How long until the roll-out must be judged again.
pub fn next_deadline(
    deployment: &Deployment,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<std::time::Duration> {
    if is_complete(deployment, status)
        || reason(status, "Progressing") == "ProgressDeadlineExceeded"
    {
        return None;
    }
    let wait = due(deployment, status)?.duration_since(now) + SignedDuration::from_secs(1);
    Some(std::time::Duration::try_from(wait.max(SignedDuration::from_secs(1))).unwrap_or_default())
}

fn replica_failure(rs: &ReplicaSet) -> Option<Verdict> {
    let conditions = rs.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions
        .iter()
        .find(|condition| condition.type_.as_deref() == Some("ReplicaFailure"))?;
    Some(Verdict {
        kind: "ReplicaFailure",
        status: "True",
        reason: failure.reason.clone().unwrap_or_default(),
        message: failure.message.clone().unwrap_or_default(),
    })
}

/// `Progressing` of a Deployment that was paused or resumed since it was last written.
pub fn note_pause(deployment: &Deployment, status: &mut DeploymentStatus, now: Timestamp) {
    let current = reason(status, "Progressing").to_owned();
    if !has_deadline(deployment) || current == "ProgressDeadlineExceeded" {
        return;
    }
    let paused = deployment.spec.paused == Some(true);
    if paused && current != "DeploymentPaused" {
        set(
            status,
            Verdict::progressing("Unknown", "DeploymentPaused", "Deployment is paused".into()),
            now,
        );
    } else if !paused && current == "DeploymentPaused" {
        set(
            status,
            Verdict::progressing(
                "Unknown",
                "DeploymentResumed",
                "Deployment is resumed".into(),
            ),
            now,
        );
    }
}
