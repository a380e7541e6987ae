//! The one word in which a table sums up a pod: the first container that has something to say,
//! init containers first, else the phase; a deletion overrides both.

use serde_json::Value;

use crate::registry::age::{duration, seconds};
use crate::registry::value::{int, list, present, text};

/// What a table row says about a pod's containers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// Containers that are ready.
    pub ready: usize,
    /// Containers that count: the ordinary ones and the restartable init containers.
    pub total: usize,
    /// The word for the state.
    pub reason: String,
    /// Restarts, with the time since the last one.
    pub restarts: String,
}

/// Restarts counted while walking the containers.
#[derive(Default)]
struct Restarts {
    count: i64,
    last: Option<i64>,
}

impl Restarts {
    fn add(&mut self, container: &Value) {
        self.count += restart_count(container);
        let finished = seconds(text(container, "/lastState/terminated/finishedAt"));
        self.last = self.last.max(finished);
    }

    fn text(&self, now: i64) -> String {
        match self.last {
            Some(last) if self.count > 0 => {
                format!("{} ({} ago)", self.count, duration(now - last))
            }
            _ => self.count.to_string(),
        }
    }
}

fn restart_count(container: &Value) -> i64 {
    int(container, "/restartCount").unwrap_or(0)
}

/// Sums up a pod as of `now` (seconds since the epoch).
pub(super) fn summary(pod: &Value, now: i64) -> Summary {
    let sidecars = list(pod, "/spec/initContainers")
        .iter()
        .filter(|spec| restartable(spec))
        .count();
    let total = list(pod, "/spec/containers").len() + sidecars;
    let mut reason = base_reason(pod);
    let mut restarts = Restarts::default();
    let mut ready = 0;
    let waiting_for_init = init_reason(pod, &mut restarts, &mut ready);
    let initialized = condition(pod, "Initialized");
    match waiting_for_init {
        Some(init) if !initialized => reason = init,
        _ => {
            // Restarts of finished init containers no longer matter; those of sidecars do.
            restarts = Restarts::default();
            sidecar_restarts(pod, &mut restarts);
            main_reason(pod, &mut reason, &mut restarts, &mut ready);
        }
    }
    deletion_reason(pod, &mut reason);
    Summary {
        ready,
        total,
        reason,
        restarts: restarts.text(now),
    }
}

fn base_reason(pod: &Value) -> String {
    let gated = list(pod, "/status/conditions").iter().any(|condition| {
        text(condition, "/type") == "PodScheduled"
            && text(condition, "/reason") == "SchedulingGated"
    });
    match (text(pod, "/status/reason"), gated) {
        ("", true) => "SchedulingGated".to_owned(),
        ("", false) => text(pod, "/status/phase").to_owned(),
        (reason, _) => reason.to_owned(),
    }
}

fn restartable(container_spec: &Value) -> bool {
    text(container_spec, "/restartPolicy") == "Always"
}

fn condition(pod: &Value, kind: &str) -> bool {
    let mut conditions = list(pod, "/status/conditions").iter();
    conditions.any(|c| text(c, "/type") == kind && text(c, "/status") == "True")
}

/// The spec of the init container that a status belongs to.
fn init_spec<'a>(pod: &'a Value, status: &Value) -> Option<&'a Value> {
    let name = text(status, "/name");
    list(pod, "/spec/initContainers")
        .iter()
        .find(|spec| text(spec, "/name") == name)
}

/// What the first unfinished init container says; counts ready sidecars on the way.
fn init_reason(pod: &Value, restarts: &mut Restarts, ready: &mut usize) -> Option<String> {
    let total = list(pod, "/spec/initContainers").len();
    for (index, status) in list(pod, "/status/initContainerStatuses")
        .iter()
        .enumerate()
    {
        restarts.add(status);
        if int(status, "/state/terminated/exitCode") == Some(0) {
            continue;
        }
        let sidecar = init_spec(pod, status).is_some_and(restartable);
        if sidecar && status["started"] == true {
            *ready += usize::from(status["ready"] == true);
            continue;
        }
        return Some(init_word(status, index, total));
    }
    None
}

fn init_word(status: &Value, index: usize, total: usize) -> String {
    let waiting = text(status, "/state/waiting/reason");
    if present(status, "/state/terminated") {
        format!("Init:{}", terminated_word(status))
    } else if !waiting.is_empty() && waiting != "PodInitializing" {
        format!("Init:{waiting}")
    } else {
        format!("Init:{index}/{total}")
    }
}

fn terminated_word(status: &Value) -> String {
    let signal = int(status, "/state/terminated/signal").unwrap_or(0);
    let exit_code = int(status, "/state/terminated/exitCode").unwrap_or(0);
    match text(status, "/state/terminated/reason") {
        "" if signal != 0 => format!("Signal:{signal}"),
        "" => format!("ExitCode:{exit_code}"),
        reason => reason.to_owned(),
    }
}

fn sidecar_restarts(pod: &Value, restarts: &mut Restarts) {
    for status in list(pod, "/status/initContainerStatuses") {
        if init_spec(pod, status).is_some_and(restartable) {
            restarts.add(status);
        }
    }
}

/// Walks the containers backwards, so that the first one with something to say has the last word.
fn main_reason(pod: &Value, reason: &mut String, restarts: &mut Restarts, ready: &mut usize) {
    let mut running = false;
    for status in list(pod, "/status/containerStatuses").iter().rev() {
        restarts.add(status);
        let waiting = text(status, "/state/waiting/reason");
        if !waiting.is_empty() {
            *reason = waiting.to_owned();
        } else if present(status, "/state/terminated") {
            *reason = terminated_word(status);
        } else if status["ready"] == true && present(status, "/state/running") {
            running = true;
            *ready += 1;
        }
    }
    if reason == "Completed" && running {
        let ready = condition(pod, "Ready");
        *reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

fn deletion_reason(pod: &Value, reason: &mut String) {
    if !present(pod, "/metadata/deletionTimestamp") {
        return;
    }
    if text(pod, "/status/reason") == "NodeLost" {
        *reason = "Unknown".to_owned();
    } else if !matches!(text(pod, "/status/phase"), "Failed" | "Succeeded") {
        *reason = "Terminating".to_owned();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_000;

    fn pod(status: Value) -> Value {
        json!({
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}],
                     "initContainers": [{"name": "i"}, {"name": "j"}]},
            "status": status,
        })
    }

    #[track_caller]
    fn case(status: Value, word: &str, ready: usize, restarts: &str) {
        let found = summary(&pod(status), NOW);
        let expected = Summary {
            ready,
            total: 2,
            reason: word.to_owned(),
            restarts: restarts.to_owned(),
        };
        assert_eq!(found, expected);
    }

    fn initialized() -> Value {
        json!([{"type": "Initialized", "status": "True"}])
    }

    #[test]
    fn the_phase_is_the_word_until_containers_report() {
        case(json!({"phase": "Pending"}), "Pending", 0, "0");
        case(
            json!({"phase": "Failed", "reason": "Evicted"}),
            "Evicted",
            0,
            "0",
        );
    }

    #[test]
    fn running_containers_are_counted() {
        let running = json!({"ready": true, "restartCount": 0, "state": {"running": {}}});
        case(
            json!({"phase": "Running", "conditions": initialized(),
                   "containerStatuses": [running, running]}),
            "Running",
            2,
            "0",
        );
    }

    #[test]
    fn the_first_container_in_trouble_gives_the_word() {
        case(
            json!({"phase": "Running", "conditions": initialized(), "containerStatuses": [
                {"restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                 "lastState": {"terminated": {"exitCode": 1, "finishedAt": "1970-01-01T00:16:30Z"}}},
                {"restartCount": 0, "state": {"waiting": {"reason": "ErrImagePull"}}}]}),
            "CrashLoopBackOff",
            0,
            "2 (10s ago)",
        );
    }

    #[test]
    fn an_end_without_reason_shows_signal_or_code() {
        let ended = |state: Value| {
            json!({"phase": "Failed", "conditions": initialized(), "containerStatuses": [
                {"restartCount": 0, "state": {"terminated": state}}]})
        };
        case(ended(json!({"exitCode": 3})), "ExitCode:3", 0, "0");
        case(
            ended(json!({"exitCode": 137, "signal": 9})),
            "Signal:9",
            0,
            "0",
        );
        case(
            ended(json!({"exitCode": 0, "reason": "Completed"})),
            "Completed",
            0,
            "0",
        );
    }

    #[test]
    fn a_finished_container_beside_a_running_one_is_not_the_end() {
        case(
            json!({"phase": "Running", "conditions": initialized(), "containerStatuses": [
                {"restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
                {"ready": true, "restartCount": 0, "state": {"running": {}}}]}),
            "NotReady",
            1,
            "0",
        );
    }

    #[test]
    fn init_containers_come_first() {
        let first_running = json!({"phase": "Pending", "initContainerStatuses": [
            {"name": "i", "restartCount": 0, "state": {"running": {}}},
            {"name": "j", "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}}]});
        case(first_running, "Init:0/2", 0, "0");
        let second = |state: Value| {
            json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "i", "restartCount": 0, "state": {"terminated": {"exitCode": 0}}},
                {"name": "j", "restartCount": 1, "state": state}]})
        };
        case(
            second(json!({"waiting": {"reason": "PodInitializing"}})),
            "Init:1/2",
            0,
            "1",
        );
        case(
            second(json!({"waiting": {"reason": "ImagePullBackOff"}})),
            "Init:ImagePullBackOff",
            0,
            "1",
        );
        case(
            second(json!({"terminated": {"exitCode": 2, "reason": "Error"}})),
            "Init:Error",
            0,
            "1",
        );
        case(
            second(json!({"terminated": {"exitCode": 2}})),
            "Init:ExitCode:2",
            0,
            "1",
        );
    }

    #[test]
    fn deletion_overrides() {
        let mut deleted = pod(json!({"phase": "Running"}));
        deleted["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:00Z");
        assert_eq!(summary(&deleted, NOW).reason, "Terminating");
        deleted["status"]["reason"] = json!("NodeLost");
        assert_eq!(summary(&deleted, NOW).reason, "Unknown");
    }
}
