//! What a budget's pods come to, as a pure function of the budget, its pods and the time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};

use super::condition::{self, Verdict};
use crate::controllers::runtime::fraction::scaled;
use crate::controllers::runtime::lean::Pod;
use crate::controllers::runtime::pod;

/// How long a pod counts as missing because somebody was allowed to evict it: if its deletion has
/// not begun by then, it won't.
pub const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

/// What is to be said of a budget.
#[derive(Debug)]
pub struct Plan {
    /// Its status.
    pub status: PodDisruptionBudgetStatus,
    /// Pods whose eviction was allowed, and which are still there.
    pub overdue: Vec<Arc<Pod>>,
    /// When the next of those that may still go is overdue.
    pub again: Option<Duration>,
}

/// What a budget's bound is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Nothing: it has no bound.
    None,
    /// The pods that are there.
    Pods,
    /// The pods that their controllers want.
    Scale,
}

impl Basis {
    /// What `budget` is measured by.
    pub fn of(budget: &PodDisruptionBudget) -> Basis {
        let spec = budget.spec.as_ref();
        let most = spec.and_then(|spec| spec.max_unavailable.as_ref());
        let least = spec.and_then(|spec| spec.min_available.as_ref());
        match (most, least) {
            (Some(_), _) | (None, Some(IntOrString::String(_))) => Basis::Scale,
            (None, Some(IntOrString::Int(_))) => Basis::Pods,
            (None, None) => Basis::None,
        }
    }
}

/// Whom a budget selects: an empty selector everybody, an absent one nobody (`None`).
pub fn selector(budget: &PodDisruptionBudget) -> Option<Selector> {
    let selector = budget.spec.as_ref()?.selector.clone()?;
    Selector::try_from(selector).ok()
}

/// Whether a selector matches a pod.
pub fn matches(selector: &Selector, pod: &Pod) -> bool {
    selector.matches(pod.labels())
}

/// Whether a budget selects a pod of its namespace.
pub fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    selector(budget).is_some_and(|selector| matches(&selector, pod))
}

/// Counts `pods`, of which there should be `expected`.
pub fn plan(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    expected: i32,
    now: Timestamp,
) -> Plan {
    let old = budget.status.clone().unwrap_or_default();
    let desired = desired(budget, expected);
    let notes = Notes::read(old.disrupted_pods.as_ref(), pods, now);
    let healthy = pods.iter().filter(|pod| {
        let goes = pod::is_terminating(pod) || notes.kept.contains_key(&pod.name_any());
        pod::is_ready(pod) && !goes
    });
    let healthy = i32::try_from(healthy.count()).unwrap_or(i32::MAX);
    // While none is known of, the first ones must not be evicted before they are counted.
    let allowed = if expected > 0 {
        healthy.saturating_sub(desired).max(0)
    } else {
        0
    };
    let verdict = if allowed > 0 {
        Verdict::Sufficient
    } else {
        Verdict::Insufficient
    };
    let mut status = PodDisruptionBudgetStatus {
        conditions: old.conditions,
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        disrupted_pods: Some(notes.kept).filter(|kept| !kept.is_empty()),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected),
        observed_generation: budget.metadata.generation,
    };
    status.conditions = Some(condition::set(&status, verdict, now));
    Plan {
        status,
        overdue: notes.overdue,
        again: notes.again,
    }
}

/// What is said of a budget that could not be counted: as before, but nobody may go.
pub fn failed(
    budget: &PodDisruptionBudget,
    why: &str,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let mut status = budget.status.clone().unwrap_or_default();
    status.disruptions_allowed = Some(0);
    status.conditions = Some(condition::set(&status, Verdict::Failed(why), now));
    status
}

/// How many pods must be healthy where there should be `expected`. Part of a pod counts as one, of
/// those that must be there as of those that may be missing.
fn desired(budget: &PodDisruptionBudget, expected: i32) -> i32 {
    let spec = budget.spec.as_ref();
    let most = spec.and_then(|spec| spec.max_unavailable.as_ref());
    let least = spec.and_then(|spec| spec.min_available.as_ref());
    match (most, least) {
        (Some(most), _) => expected.saturating_sub(scaled(most, expected, true)).max(0),
        (None, Some(least)) => scaled(least, expected, true),
        (None, None) => 0,
    }
}

/// The pods whose eviction was allowed.
#[derive(Default)]
struct Notes {
    /// Those that still have time to go, and since when.
    kept: BTreeMap<String, Time>,
    overdue: Vec<Arc<Pod>>,
    again: Option<Duration>,
}

impl Notes {
    /// Sorts them: who is gone or going is no longer noted.
    fn read(noted: Option<&BTreeMap<String, Time>>, pods: &[Arc<Pod>], now: Timestamp) -> Notes {
        let mut notes = Notes::default();
        let Some(noted) = noted else {
            return notes;
        };
        for pod in pods.iter().filter(|pod| !pod::is_terminating(pod)) {
            let name = pod.name_any();
            let Some(since) = noted.get(&name) else {
                continue;
            };
            let left = (since.0 + DELETION_TIMEOUT).duration_since(now);
            match Duration::try_from(left).ok().filter(|left| !left.is_zero()) {
                None => notes.overdue.push(pod.clone()),
                Some(left) => {
                    notes.again = Some(notes.again.map_or(left, |sooner| sooner.min(left)));
                    notes.kept.insert(name, since.clone());
                }
            }
        }
        notes
    }
}
