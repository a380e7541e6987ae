//! The conditions of a node: pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use naru_cri::v1;

/// Below this part of the whole, memory or disk is short.
const SHORT: f64 = 0.05;
/// Above this part of the limit, processes are too many.
const CROWDED: f64 = 0.95;

/// What the node is able to do at this moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// What is wrong with the container runtime.
    pub runtime: Option<String>,
    /// `NAME://VERSION`; empty while the runtime is away.
    pub runtime_version: String,
    /// What is wrong with the pod network.
    pub network: Option<String>,
    /// Free and total bytes of memory.
    pub memory: (u64, u64),
    /// Free and total bytes of the disk with the daemon's state.
    pub disk: (u64, u64),
    /// Processes, and how many there may be.
    pub pids: (u64, u64),
}

impl Observation {
    /// Pods can run here.
    pub fn is_ready(&self) -> bool {
        self.runtime.is_none() && self.network.is_none()
    }
}

/// What the runtime's status says is wrong, if anything.
pub fn runtime_fault(status: Result<v1::StatusResponse, naru_cri::Error>) -> Option<String> {
    let conditions = match status {
        Ok(response) => response.status.unwrap_or_default().conditions,
        Err(error) => return Some(format!("container runtime is down: {error}")),
    };
    let down = conditions.into_iter().find(|condition| !condition.status)?;
    Some(format!(
        "container runtime: {} is false: {} {}",
        down.r#type, down.reason, down.message
    ))
}

struct Verdict {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

/// All conditions; a transition time changes only when the truth does.
pub fn conditions(
    seen: &Observation,
    known: &[NodeCondition],
    now: Timestamp,
) -> Vec<NodeCondition> {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    verdicts(seen)
        .into_iter()
        .map(|verdict| condition(verdict, known, now))
        .collect()
}

fn condition(verdict: Verdict, known: &[NodeCondition], now: Timestamp) -> NodeCondition {
    let truth = if verdict.holds { "True" } else { "False" };
    let old = known
        .iter()
        .find(|old| old.type_ == verdict.kind && old.status == truth);
    NodeCondition {
        type_: verdict.kind.to_owned(),
        status: truth.to_owned(),
        reason: Some(verdict.reason.to_owned()),
        message: Some(verdict.message),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: old
            .and_then(|old| old.last_transition_time.clone())
            .or(Some(Time(now))),
    }
}

fn verdicts(seen: &Observation) -> [Verdict; 5] {
    let short = |(free, total): (u64, u64)| total > 0 && (free as f64) < total as f64 * SHORT;
    let crowded = seen.pids.1 > 0 && seen.pids.0 as f64 > seen.pids.1 as f64 * CROWDED;
    let choose = |bad: bool, kind, words: [(&'static str, &str); 2]| {
        let (reason, message) = words[usize::from(bad)];
        Verdict {
            kind,
            holds: bad,
            reason,
            message: message.to_owned(),
        }
    };
    [
        choose(
            seen.network.is_some(),
            "NetworkUnavailable",
            [
                ("DataPathIsUp", "the data path is programmed"),
                ("DataPathIsDown", "the data path is not programmed"),
            ],
        ),
        choose(
            short(seen.memory),
            "MemoryPressure",
            [
                (
                    "KubeletHasSufficientMemory",
                    "kubelet has sufficient memory available",
                ),
                (
                    "KubeletHasInsufficientMemory",
                    "kubelet has insufficient memory available",
                ),
            ],
        ),
        choose(
            short(seen.disk),
            "DiskPressure",
            [
                ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ],
        ),
        choose(
            crowded,
            "PIDPressure",
            [
                (
                    "KubeletHasSufficientPID",
                    "kubelet has sufficient PID available",
                ),
                (
                    "KubeletHasInsufficientPID",
                    "kubelet has insufficient PID available",
                ),
            ],
        ),
        ready(seen),
    ]
}

fn ready(seen: &Observation) -> Verdict {
    let faults: Vec<&str> = [&seen.runtime, &seen.network]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    match faults.is_empty() {
        true => Verdict {
            kind: "Ready",
            holds: true,
            reason: "KubeletReady",
            message: "kubelet is posting ready status".to_owned(),
        },
        false => Verdict {
            kind: "Ready",
            holds: false,
            reason: "KubeletNotReady",
            message: faults.join("; "),
        },
    }
}

/// Whether `stored` lacks one of `own` or gives it another status; foreign types do not count.
pub fn differ(stored: &[NodeCondition], own: &[NodeCondition]) -> bool {
    own.iter().any(|own| {
        let stored = stored.iter().find(|stored| stored.type_ == own.type_);
        stored.is_none_or(|stored| stored.status != own.status)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Observation {
        Observation {
            memory: (50, 100),
            disk: (50, 100),
            pids: (1, 100),
            ..Observation::default()
        }
    }

    fn truth(list: &[NodeCondition], kind: &str) -> String {
        list.iter()
            .find(|c| c.type_ == kind)
            .unwrap()
            .status
            .clone()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_healthy_node_is_ready_and_under_no_pressure() {
        let list = conditions(&healthy(), &[], at(1));
        assert_eq!(truth(&list, "Ready"), "True");
        for kind in [
            "MemoryPressure",
            "DiskPressure",
            "PIDPressure",
            "NetworkUnavailable",
        ] {
            assert_eq!(truth(&list, kind), "False");
        }
    }

    #[test]
    fn runtime_or_network_faults_make_it_not_ready() {
        let mut seen = healthy();
        seen.network = Some("datapath: no tcx".into());
        let list = conditions(&seen, &[], at(1));
        assert_eq!(truth(&list, "Ready"), "False");
        assert_eq!(truth(&list, "NetworkUnavailable"), "True");
        let seen = Observation {
            runtime: Some("down".into()),
            ..healthy()
        };
        assert_eq!(truth(&conditions(&seen, &[], at(1)), "Ready"), "False");
    }

    #[test]
    fn shortage_is_pressure() {
        let seen = Observation {
            memory: (1, 100),
            disk: (2, 100),
            pids: (99, 100),
            ..healthy()
        };
        let list = conditions(&seen, &[], at(1));
        for kind in ["MemoryPressure", "DiskPressure", "PIDPressure"] {
            assert_eq!(truth(&list, kind), "True", "{kind}");
        }
        assert_eq!(truth(&list, "Ready"), "True");
    }

    #[test]
    fn transition_times_move_only_with_the_truth() {
        let first = conditions(&healthy(), &[], at(1));
        let second = conditions(&healthy(), &first, at(9));
        assert_eq!(second[4].last_transition_time, Some(Time(at(1))));
        assert_eq!(second[4].last_heartbeat_time, Some(Time(at(9))));
        let seen = Observation {
            runtime: Some("down".into()),
            ..healthy()
        };
        let third = conditions(&seen, &second, at(20));
        assert_eq!(third[4].last_transition_time, Some(Time(at(20))));
    }

    #[test]
    fn the_runtimes_own_conditions_are_read() {
        let response = |ready| v1::StatusResponse {
            status: Some(v1::RuntimeStatus {
                conditions: vec![v1::RuntimeCondition {
                    r#type: "NetworkReady".into(),
                    status: ready,
                    reason: "NetworkPluginNotReady".into(),
                    message: "no config".into(),
                }],
            }),
            ..v1::StatusResponse::default()
        };
        assert_eq!(runtime_fault(Ok(response(true))), None);
        assert!(
            runtime_fault(Ok(response(false)))
                .unwrap()
                .contains("NetworkReady is false")
        );
    }

    #[test]
    fn a_condition_that_the_control_plane_took_away_differs() {
        let own = conditions(&healthy(), &[], at(1));
        assert!(!differ(&own, &own));
        let mut stored = own.clone();
        stored[0].status = "Unknown".to_owned();
        assert!(differ(&stored, &own));
        assert!(differ(&[], &own));
    }
}
