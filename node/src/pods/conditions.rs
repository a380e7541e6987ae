//! The conditions of a pod that the node owns; those of others are kept as they are.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::plan::{View, is_sidecar, spec};
use super::report::whole_second;
use super::resize;

/// What a condition says now, before its times are known.
struct Verdict {
    kind: &'static str,
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Verdict {
    fn yes(kind: &'static str) -> Self {
        Self {
            kind,
            holds: true,
            reason: None,
            message: None,
        }
    }

    fn no(kind: &'static str, reason: &'static str, message: Option<String>) -> Self {
        Self {
            kind,
            holds: false,
            reason: Some(reason),
            message,
        }
    }
}

/// The kinds that the node owns.
const OWN: [&str; 7] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "PodResizePending",
    "PodResizeInProgress",
];

/// The node's own conditions as last reported, and everybody else's as the API has them.
pub fn adopt_foreign(reported: Option<&[PodCondition]>, pod: &Pod) -> Vec<PodCondition> {
    let is_own = |condition: &&PodCondition| OWN.contains(&condition.type_.as_str());
    let api = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    let own = reported.into_iter().flatten().filter(is_own);
    let foreign = api
        .into_iter()
        .flatten()
        .filter(|condition| !is_own(condition));
    own.chain(foreign).cloned().collect()
}

/// All conditions of `status`, with the node's own brought up to date; a condition's transition
/// time changes only when its truth does.
pub fn update(view: View<'_>, status: &PodStatus) -> Vec<PodCondition> {
    let containers = containers_ready(view, status);
    let ready = ready(view, status, &containers);
    let sandbox = view.observed.sandbox().is_some_and(|sandbox| sandbox.ready);
    let verdicts = [
        match sandbox {
            true => Verdict::yes("PodReadyToStartContainers"),
            false => Verdict {
                reason: None,
                ..Verdict::no("PodReadyToStartContainers", "", None)
            },
        },
        initialized(view, status),
        ready,
        containers,
        Verdict::yes("PodScheduled"),
    ];
    let mut conditions = status.conditions.clone().unwrap_or_default();
    for verdict in verdicts {
        set(&mut conditions, verdict, view);
    }
    let resize = resize::conditions(view);
    conditions.retain(|condition| {
        let kind = condition.type_.as_str();
        !kind.starts_with("PodResize") || resize.iter().any(|(told, ..)| *told == kind)
    });
    for (kind, reason, message) in resize {
        let verdict = Verdict {
            reason: Some(reason).filter(|reason| !reason.is_empty()),
            message: Some(message).filter(|message| !message.is_empty()),
            ..Verdict::yes(kind)
        };
        set(&mut conditions, verdict, view);
    }
    // One order, whoever wrote first: another order would read as another status.
    conditions.sort_by_key(|condition| !OWN.contains(&condition.type_.as_str()));
    conditions
}

fn set(conditions: &mut Vec<PodCondition>, verdict: Verdict, view: View<'_>) {
    let truth = if verdict.holds { "True" } else { "False" };
    let old = conditions
        .iter_mut()
        .find(|condition| condition.type_ == verdict.kind);
    let since = old
        .as_ref()
        .filter(|old| old.status == truth)
        .and_then(|old| old.last_transition_time.clone())
        .unwrap_or_else(|| Time(whole_second(view.now)));
    let fresh = PodCondition {
        type_: verdict.kind.to_owned(),
        status: truth.to_owned(),
        reason: verdict.reason.map(ToOwned::to_owned),
        message: verdict.message,
        last_transition_time: Some(since),
        observed_generation: view.pod.metadata.generation,
        ..PodCondition::default()
    };
    match old {
        Some(old) => *old = fresh,
        None => conditions.push(fresh),
    }
}

fn is_over(status: &PodStatus) -> Option<&'static str> {
    match status.phase.as_deref() {
        Some("Succeeded") => Some("PodCompleted"),
        Some("Failed") => Some("PodFailed"),
        _ => None,
    }
}

fn containers_ready(view: View<'_>, status: &PodStatus) -> Verdict {
    if let Some(reason) = is_over(status) {
        return Verdict::no("ContainersReady", reason, None);
    }
    let specs = spec(view.pod);
    let sidecars = specs
        .init_containers
        .iter()
        .flatten()
        .filter(|c| is_sidecar(c));
    let unready: Vec<&str> = sidecars
        .chain(&specs.containers)
        .filter(|c| !status_of(status, c).is_some_and(|s| s.ready))
        .map(|c| c.name.as_str())
        .collect();
    match unready.as_slice() {
        [] => Verdict::yes("ContainersReady"),
        names => Verdict::no(
            "ContainersReady",
            "ContainersNotReady",
            Some(format!(
                "containers with unready status: [{}]",
                names.join(" ")
            )),
        ),
    }
}

fn status_of<'a>(status: &'a PodStatus, container: &Container) -> Option<&'a ContainerStatus> {
    let init = status.init_container_statuses.iter().flatten();
    let main = status.container_statuses.iter().flatten();
    init.chain(main).find(|s| s.name == container.name)
}

fn ready(view: View<'_>, status: &PodStatus, containers: &Verdict) -> Verdict {
    if !containers.holds {
        return Verdict {
            kind: "Ready",
            holds: false,
            reason: containers.reason,
            message: containers.message.clone(),
        };
    }
    let gates = spec(view.pod).readiness_gates.iter().flatten();
    let closed: Vec<_> = gates
        .map(|gate| gate.condition_type.as_str())
        .filter(|gate| !holds(status, gate))
        .map(|gate| {
            format!("corresponding condition of pod readiness gate \"{gate}\" does not hold")
        })
        .collect();
    match closed.is_empty() {
        true => Verdict::yes("Ready"),
        false => Verdict::no("Ready", "ReadinessGatesNotReady", Some(closed.join(", "))),
    }
}

fn holds(status: &PodStatus, kind: &str) -> bool {
    status
        .conditions
        .iter()
        .flatten()
        .any(|c| c.type_ == kind && c.status == "True")
}

fn initialized(view: View<'_>, status: &PodStatus) -> Verdict {
    let incomplete: Vec<&str> = spec(view.pod)
        .init_containers
        .iter()
        .flatten()
        .filter(|init| !is_initialized(status, init))
        .map(|init| init.name.as_str())
        .collect();
    match incomplete.as_slice() {
        [] => Verdict::yes("Initialized"),
        names => Verdict::no(
            "Initialized",
            "ContainersNotInitialized",
            Some(format!(
                "containers with incomplete status: [{}]",
                names.join(" ")
            )),
        ),
    }
}

fn is_initialized(status: &PodStatus, init: &Container) -> bool {
    let Some(found) = status_of(status, init) else {
        return false;
    };
    if is_sidecar(init) {
        found.started == Some(true)
    } else {
        found.ready
    }
}
