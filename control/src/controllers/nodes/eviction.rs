//! When a pod must leave its node.
//!
//! Guarantees: the time a pod may stay is counted from when the taint was added, so a restart of
//! the control plane neither forgives nor hurries; while no node at all is ready nobody is evicted
//! for unreadiness, since then it is more likely the control plane that is cut off.

use crate::controllers::runtime::lean::Pod;
use crate::controllers::runtime::{pod, taints};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Taint};
use naru_core::names::taints::{NOT_READY, UNREACHABLE};
use std::time::Duration;

/// What happens to a pod because of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Stay,
    /// To be judged again in this time.
    Wait(Duration),
    /// Deleted, with its grace period.
    Evict,
    /// Removed at once: its node is gone and nobody else will.
    Remove,
}

const CUT_OFF: Duration = Duration::from_secs(5);

/// Judges a pod. `node` is absent when no such node exists; `any_ready` is asked
/// only when it matters.
pub fn judge(
    pod: &Pod,
    node: Option<&Node>,
    any_ready: impl Fn() -> bool,
    now: Timestamp,
) -> Verdict {
    if pod::node_name(pod).is_empty() {
        return Verdict::Stay;
    }
    let Some(node) = node else {
        return Verdict::Remove;
    };
    if pod::is_terminating(pod) || pod::is_finished(pod) {
        return Verdict::Stay;
    }
    let expelling = taints::of(node)
        .iter()
        .filter(|taint| taint.effect == taints::NO_EXECUTE);
    let verdicts = expelling.map(|taint| under(pod, taint, &any_ready, now));
    verdicts.fold(Verdict::Stay, sooner)
}

fn under(pod: &Pod, taint: &Taint, any_ready: impl Fn() -> bool, now: Timestamp) -> Verdict {
    let mut covering = taints::tolerations(pod)
        .iter()
        .filter(|toleration| taints::tolerates(toleration, taint))
        .peekable();
    let doubtful = || [NOT_READY, UNREACHABLE].contains(&taint.key.as_str()) && !any_ready();
    if covering.peek().is_none() {
        return if doubtful() {
            Verdict::Wait(CUT_OFF)
        } else {
            Verdict::Evict
        };
    }
    let Some(seconds) = covering
        .filter_map(|toleration| toleration.toleration_seconds)
        .min()
    else {
        return Verdict::Stay;
    };
    let since = taint.time_added.as_ref().map_or(now, |at| at.0);
    let left = (since + SignedDuration::from_secs(seconds.clamp(0, 1 << 32))).duration_since(now);
    match Duration::try_from(left).ok().filter(|left| !left.is_zero()) {
        Some(left) => Verdict::Wait(left),
        None if doubtful() => Verdict::Wait(CUT_OFF),
        None => Verdict::Evict,
    }
}

fn sooner(one: Verdict, other: Verdict) -> Verdict {
    match (one, other) {
        (Verdict::Evict, _) | (_, Verdict::Evict) => Verdict::Evict,
        (Verdict::Wait(a), Verdict::Wait(b)) => Verdict::Wait(a.min(b)),
        (Verdict::Stay, other) => other,
        (one, _) => one,
    }
}
