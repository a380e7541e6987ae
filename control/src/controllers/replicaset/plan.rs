//! The pure part: which pods are ours, how many to make or delete, what status to write.

use super::rank;
use crate::controllers::runtime::lean::Pod;
use crate::controllers::runtime::{meta, pod};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1;
use std::sync::Arc;
use std::time::Duration;

/// The most pods that one pass creates or deletes.
pub const BURST: usize = 500;

/// What to do about the number of pods.
#[derive(Debug, PartialEq)]
pub enum Scale {
    /// The number is right.
    Keep,
    /// Make so many more.
    Create(usize),
    /// Delete these.
    Delete(Vec<Arc<Pod>>),
}

/// Compares wanted and actual. `siblings` are all active pods of the same workload.
pub fn scale(rs: &ReplicaSet, owned: &[Arc<Pod>], siblings: &[Arc<Pod>]) -> Scale {
    let wanted = usize::try_from(replicas(rs)).unwrap_or(0);
    if meta::is_deleting(&rs.metadata) || wanted == owned.len() {
        Scale::Keep
    } else if wanted > owned.len() {
        Scale::Create((wanted - owned.len()).min(BURST))
    } else {
        let count = (owned.len() - wanted).min(BURST);
        Scale::Delete(rank::victims(owned.to_vec(), siblings, count))
    }
}

/// `spec.replicas`, one when absent.
pub fn replicas(rs: &ReplicaSet) -> i32 {
    rs.spec.replicas.unwrap_or(1)
}

/// The failure of a scaling attempt, as a condition shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// `FailedCreate` or `FailedDelete`.
    pub reason: &'static str,
    /// The server's words.
    pub message: String,
}

/// The status that the pods amount to.
pub fn status(
    rs: &ReplicaSet,
    pods: &[Arc<Pod>],
    failure: Option<&Failure>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let min_ready = rs.spec.min_ready_seconds.unwrap_or(0);
    let count = |test: &dyn Fn(&Pod) -> bool| some(pods.iter().filter(|pod| test(pod)).count());
    ReplicaSetStatus {
        replicas: i32::try_from(pods.len()).unwrap_or(i32::MAX),
        fully_labeled_replicas: count(&|pod| fully_labeled(rs, pod)),
        ready_replicas: count(&pod::is_ready),
        available_replicas: count(&|pod| {
            pod::until_available(pod, min_ready, now).is_some_and(|d| d.is_zero())
        }),
        observed_generation: rs.metadata.generation,
        conditions: conditions(rs, failure, now),
        ..ReplicaSetStatus::default()
    }
}

/// Zero is written as absence, as Kubernetes does.
fn some(count: usize) -> Option<i32> {
    i32::try_from(count).ok().filter(|count| *count > 0)
}

fn fully_labeled(rs: &ReplicaSet, pod: &Pod) -> bool {
    let template = rs
        .spec
        .template
        .as_ref()
        .and_then(|template| template.metadata.as_ref());
    let wanted = template.and_then(|meta| meta.labels.as_ref());
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    wanted.is_none_or(|wanted| meta::selects(wanted, &labels))
}

fn conditions(
    rs: &ReplicaSet,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let old = rs
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    let before = old
        .iter()
        .find(|condition| condition.type_.as_deref() == Some("ReplicaFailure"))
        .cloned();
    let mut conditions: Vec<_> = old
        .into_iter()
        .filter(|c| c.type_.as_deref() != Some("ReplicaFailure"))
        .collect();
    if let Some(failure) = failure {
        conditions.push(failed(before, failure, now));
    }
    (!conditions.is_empty()).then_some(conditions)
}

/// A failure that lasts keeps its first message: refusals differ in the names that were tried, and a
/// status that changes with each attempt would be the news that causes the next.
fn failed(
    before: Option<ReplicaSetCondition>,
    failure: &Failure,
    now: Timestamp,
) -> ReplicaSetCondition {
    let before = before.filter(|c| c.status.as_deref() == Some("True"));
    let since = before.as_ref().and_then(|c| c.last_transition_time.clone());
    let same = before.filter(|c| c.reason.as_deref() == Some(failure.reason));
    same.unwrap_or_else(|| ReplicaSetCondition {
        type_: Some("ReplicaFailure".into()),
        status: Some("True".into()),
        reason: Some(failure.reason.into()),
        message: Some(failure.message.clone()),
        last_transition_time: since.or(Some(crate::controllers::runtime::time(now))),
    })
}

/// When the next ready pod becomes available by time alone.
pub fn next_available(rs: &ReplicaSet, pods: &[Arc<Pod>], now: Timestamp) -> Option<Duration> {
    let min_ready = rs.spec.min_ready_seconds.unwrap_or(0);
    let waits = pods
        .iter()
        .filter_map(|pod| pod::until_available(pod, min_ready, now));
    waits
        .filter(|wait| !wait.is_zero())
        .min()
        .and_then(|wait| Duration::try_from(wait).ok())
}

/// The pod that `rs` makes; the server completes its name.
pub fn new_pod(rs: &ReplicaSet) -> v1::Pod {
    let template = rs.spec.template.clone().unwrap_or_default();
    let mut metadata = template.metadata.unwrap_or_default();
    metadata.name = None;
    metadata.namespace = rs.metadata.namespace.clone();
    metadata.generate_name = Some(generate_name(
        rs.metadata.name.as_deref().unwrap_or_default(),
    ));
    metadata.owner_references = Some(vec![meta::controller_ref(rs)]);
    v1::Pod {
        metadata,
        spec: template.spec,
        status: None,
    }
}

/// `generateName` takes 63 characters at most, five of which the server adds.
fn generate_name(name: &str) -> String {
    let kept: String = name.chars().take(57).collect();
    format!("{}-", kept.trim_end_matches(['-', '.']))
}
