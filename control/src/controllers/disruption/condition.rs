//! Condition `DisruptionAllowed`.

use jiff::Timestamp;
use k8s_openapi::api::policy::v1::PodDisruptionBudgetStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::controllers::runtime::time;

const TYPE: &str = "DisruptionAllowed";

/// What the condition says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Somebody may go.
    Sufficient,
    /// Nobody may.
    Insufficient,
    /// Nobody may, because it could not be counted.
    Failed(&'a str),
}

/// The conditions of `status` with this verdict on the generation that it has observed. It keeps its
/// time while it stays true or false, and the others are left as they are.
pub fn set(
    status: &PodDisruptionBudgetStatus,
    verdict: Verdict<'_>,
    now: Timestamp,
) -> Vec<Condition> {
    let (value, reason, message) = match verdict {
        Verdict::Sufficient => ("True", "SufficientPods", ""),
        Verdict::Insufficient => ("False", "InsufficientPods", ""),
        Verdict::Failed(why) => ("False", "SyncFailed", why),
    };
    let mut conditions = status.conditions.clone().unwrap_or_default();
    let place = conditions.iter().position(|it| it.type_ == TYPE);
    let since = place
        .map(|place| &conditions[place])
        .filter(|had| had.status == value)
        .map(|had| had.last_transition_time.clone());
    let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let condition = Condition {
        type_: TYPE.into(),
        status: value.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: status.observed_generation,
        last_transition_time: since.unwrap_or_else(|| time(whole)),
    };
    match place {
        Some(place) => conditions[place] = condition,
        None => conditions.push(condition),
    }
    conditions
}
