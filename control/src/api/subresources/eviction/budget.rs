//! What a budget says to an eviction, and what it is after it.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::status::{Result, Status};
use crate::api::value::{integer, is_deleting, items, name, object, text, timestamp};
use crate::registry::kind::Kind;

/// Evictions that a budget may have allowed and the controller not yet seen, at most.
const MOST_DISRUPTED: usize = 2000;
const CONDITION: &str = "DisruptionAllowed";

/// How a pod may go.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict<'a> {
    /// However it is.
    Free,
    /// As it is now: it counts nowhere, but may get ready meanwhile. With the budget, if there is
    /// one.
    WhileUnready(Option<&'a Value>),
    /// If this budget spares it.
    Spend(&'a Value),
}

/// Whether budgets have a say: a pod that has ended, ends, or never began disrupts nobody.
pub(super) fn is_asked(pod: &Value) -> bool {
    let phase = text(pod, "/status/phase");
    !is_deleting(pod) && !matches!(phase, "Succeeded" | "Failed" | "Pending")
}

/// Judges a pod by the budgets that match it.
///
/// # Errors
/// 500 for several, as in Kubernetes.
pub(super) fn judge<'a>(pod: &Value, budgets: &'a [Value]) -> Result<Verdict<'a>> {
    if !is_asked(pod) {
        let pending = !is_deleting(pod) && text(pod, "/status/phase") == "Pending";
        return Ok(match pending {
            true => Verdict::WhileUnready(None),
            false => Verdict::Free,
        });
    }
    match budgets {
        [] => Ok(Verdict::Free),
        [budget] if !is_ready(pod) && spares_unready(budget) => {
            Ok(Verdict::WhileUnready(Some(budget)))
        }
        [budget] => Ok(Verdict::Spend(budget)),
        _ => Err(Status::failed(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does \
             not support.",
        )),
    }
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = items(pod, "/status/conditions").iter();
    conditions.any(|it| text(it, "/type") == "Ready" && text(it, "/status") == "True")
}

/// Whether a budget lets pods go that are not ready: always by its policy, and else while as many
/// are healthy as must be.
fn spares_unready(budget: &Value) -> bool {
    let count = |pointer| integer(budget, pointer).unwrap_or(0);
    let (healthy, desired) = (
        count("/status/currentHealthy"),
        count("/status/desiredHealthy"),
    );
    text(budget, "/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow"
        || (healthy >= desired && desired > 0)
}

/// The budget after one more eviction.
///
/// # Errors
/// 429 where it allows none or was not counted since it was changed, 403 where the controller has
/// not seen too many.
pub(super) fn spend(kind: &Kind, budget: &Value, pod: &str, now: Timestamp) -> Result<Value> {
    let short = name(budget);
    let count = |pointer| integer(budget, pointer).unwrap_or(0);
    if count("/status/observedGeneration") < count("/metadata/generation") {
        return Err(unsettled(short));
    }
    let disrupted = budget.pointer("/status/disruptedPods");
    if disrupted
        .and_then(Value::as_object)
        .map_or(0, |it| it.len())
        > MOST_DISRUPTED
    {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Status::forbidden_object(kind, short, why));
    }
    let allowed = count("/status/disruptionsAllowed");
    if allowed <= 0 {
        let (desired, healthy) = (
            count("/status/desiredHealthy"),
            count("/status/currentHealthy"),
        );
        let cause = format!(
            "The disruption budget {short} needs {desired} healthy pods and has {healthy} currently"
        );
        return Err(Status::disrupting(cause, None));
    }
    let mut new = budget.clone();
    let status = &mut new["status"];
    status["disruptionsAllowed"] = (allowed - 1).into();
    object(status, "disruptedPods").insert(pod.into(), timestamp(now).into());
    if allowed == 1 {
        exhaust(status, now);
    }
    Ok(new)
}

/// 429: the budget was not counted since it was changed.
pub(super) fn unsettled(budget: &str) -> Status {
    let cause = format!("The disruption budget {budget} is still being processed by the server.");
    Status::disrupting(cause, Some(10))
}

/// 504: others keep writing the budget.
pub(super) fn contended(budget: &str) -> Status {
    let why = format!("couldn't update PodDisruptionBudget {budget:?} due to conflicts");
    Status::timeout(why, 10)
}

/// Says in a status that nobody may go any more.
fn exhaust(status: &mut Value, now: Timestamp) {
    let conditions = items(status, "/conditions");
    let others = conditions
        .iter()
        .filter(|it| text(it, "/type") != CONDITION);
    let had = conditions
        .iter()
        .find(|it| text(it, "/type") == CONDITION && text(it, "/status") == "False");
    let since = had.and_then(|had| had.get("lastTransitionTime")).cloned();
    let condition = json!({"type": CONDITION, "status": "False", "reason": "InsufficientPods",
        "message": "", "observedGeneration": integer(status, "/observedGeneration"),
        "lastTransitionTime": since.unwrap_or_else(|| timestamp(now).into())});
    let conditions: Vec<Value> = others.cloned().chain([condition]).collect();
    status["conditions"] = conditions.into();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Kinds;
    use crate::registry::KINDS;

    fn pod(phase: &str, ready: &str) -> Value {
        json!({"metadata": {"name": "p"}, "status": {"phase": phase,
            "conditions": [{"type": "Ready", "status": ready}]}})
    }

    fn budget(allowed: i64) -> Value {
        json!({"metadata": {"name": "b", "generation": 2}, "spec": {},
            "status": {"observedGeneration": 2, "disruptionsAllowed": allowed,
                "currentHealthy": 4, "desiredHealthy": 3, "expectedPods": 4,
                "conditions": [{"type": "DisruptionAllowed", "status": "True",
                    "reason": "SufficientPods", "message": "", "observedGeneration": 2,
                    "lastTransitionTime": "1970-01-01T00:00:01Z"}]}})
    }

    fn spent(budget: &Value) -> Result<Value> {
        let target = Kinds(KINDS).of("policy", "poddisruptionbudgets").unwrap();
        spend(target.kind, budget, "p", Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn only_pods_that_run_ask() {
        let budgets = [budget(0), budget(0)];
        for phase in ["Succeeded", "Failed"] {
            let verdict = judge(&pod(phase, "False"), &budgets).unwrap();
            assert_eq!(verdict, Verdict::Free, "{phase}");
        }
        let pending = judge(&pod("Pending", "False"), &budgets).unwrap();
        assert_eq!(pending, Verdict::WhileUnready(None));
        let mut going = pod("Running", "True");
        going["metadata"]["deletionTimestamp"] = "1970-01-01T00:00:00Z".into();
        assert_eq!(judge(&going, &budgets).unwrap(), Verdict::Free);
        let running = pod("Running", "True");
        assert_eq!(judge(&running, &budgets).unwrap_err().code, 500);
        assert_eq!(judge(&running, &[]).unwrap(), Verdict::Free);
        let one = &budgets[..1];
        assert_eq!(judge(&running, one).unwrap(), Verdict::Spend(&one[0]));
    }

    #[test]
    fn an_unready_pod_goes_by_the_policy_of_its_budget() {
        let unready = pod("Running", "False");
        let judged = |budget: Value| {
            let budgets = [budget];
            matches!(
                judge(&unready, &budgets).unwrap(),
                Verdict::WhileUnready(Some(_))
            )
        };
        assert!(judged(budget(0)), "as many are healthy as must be");
        let mut short = budget(0);
        short["status"]["currentHealthy"] = 2.into();
        assert!(!judged(short.clone()));
        short["spec"]["unhealthyPodEvictionPolicy"] = "IfHealthyBudget".into();
        assert!(!judged(short.clone()));
        short["spec"]["unhealthyPodEvictionPolicy"] = "AlwaysAllow".into();
        assert!(judged(short));
        let mut none = budget(0);
        none["status"]["desiredHealthy"] = 0.into();
        assert!(
            !judged(none),
            "a budget that needs nobody was not counted yet"
        );
    }

    #[test]
    fn each_eviction_is_taken_off_and_noted_and_the_last_one_is_said() {
        let one = spent(&budget(2)).unwrap();
        assert_eq!(one["status"]["disruptionsAllowed"], 1);
        let noted = json!({"p": "1970-01-01T00:00:00Z"});
        assert_eq!(one["status"]["disruptedPods"], noted);
        assert_eq!(
            one["status"]["conditions"],
            budget(2)["status"]["conditions"]
        );
        let last = spent(&one).unwrap();
        assert_eq!(last["status"]["disruptionsAllowed"], 0);
        let condition = &last["status"]["conditions"][0];
        assert_eq!(condition["reason"], "InsufficientPods");
        assert_eq!(condition["lastTransitionTime"], "1970-01-01T00:00:00Z");
        let refused = spent(&last).unwrap_err();
        assert_eq!(refused.code, 429);
        assert_eq!(
            refused.details.unwrap()["causes"][0]["message"],
            "The disruption budget b needs 3 healthy pods and has 4 currently"
        );
    }

    #[test]
    fn a_budget_that_was_not_counted_and_one_with_too_many_notes_allow_nobody() {
        let mut changed = budget(2);
        changed["metadata"]["generation"] = 3.into();
        let refused = spent(&changed).unwrap_err();
        assert_eq!(refused.details.unwrap()["retryAfterSeconds"], 10);
        let mut full = budget(2);
        for index in 0..=MOST_DISRUPTED {
            full["status"]["disruptedPods"][format!("p{index}")] = "1970-01-01T00:00:00Z".into();
        }
        assert_eq!(spent(&full).unwrap_err().code, 403);
        full["status"]["disruptedPods"]
            .as_object_mut()
            .unwrap()
            .remove("p0");
        assert!(spent(&full).is_ok());
    }
}
