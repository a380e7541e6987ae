//! The status of a pod as the API shows it: pure, from the same view as the plan.

mod ephemeral;

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{
    Container as ContainerSpec, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodIP, PodStatus, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions;
use super::memory::{ContainerMemory, StartFailure};
use super::observed::{Container, Exit, RunState};
use super::plan::{View, crash_wait, is_overdue, is_sidecar, is_started, restart_policy, spec};
use super::resources::qos_class;

/// How long a failed pull shows as itself before it shows as a back-off.
pub const ERROR_SHOWN: SignedDuration = SignedDuration::from_secs(2);

/// Why a pod failed whose time was up, as the API words it.
pub const OVERDUE: (&str, &str) = (
    "DeadlineExceeded",
    "Pod was active on the node longer than the specified deadline",
);

/// What a status says beyond the pod itself.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Addresses of the node, the first one first.
    pub node_ips: &'a [IpAddr],
    /// Name of the runtime, the scheme of container ids.
    pub runtime: &'a str,
    /// The pod has ended or is past the point of return: no container starts any more.
    pub over: bool,
    /// The status last reported, or the API's when there is none yet.
    pub before: &'a PodStatus,
    /// Last words of ended containers, by container id.
    pub last_words: &'a dyn Fn(&Container) -> Option<String>,
}

/// The whole status; what others own (their conditions) is kept from the object.
pub fn pod_status(view: View<'_>, facts: &Facts<'_>) -> PodStatus {
    let before = facts.before.clone();
    let init = spec(view.pod).init_containers.iter().flatten();
    let init: Vec<_> = init
        .map(|c| container_status(view, facts, c, true))
        .collect();
    let main: Vec<_> = spec(view.pod)
        .containers
        .iter()
        .map(|c| container_status(view, facts, c, false))
        .collect();
    let phase = phase(view, facts, &init, &main);
    let ips = addresses(view, facts.node_ips);
    let host_ips = facts.node_ips.iter().map(ToString::to_string);
    let mut status = PodStatus {
        phase: Some(phase.to_owned()),
        host_ip: host_ips.clone().next(),
        host_ips: Some(host_ips.map(|ip| HostIP { ip }).collect()),
        pod_ip: ips
            .first()
            .map(ToString::to_string)
            .or(before.pod_ip.clone()),
        pod_ips: pod_ips(&ips).or(before.pod_ips.clone()),
        start_time: before
            .start_time
            .clone()
            .or(Some(Time(whole_second(view.now)))),
        qos_class: before
            .qos_class
            .clone()
            .or(Some(qos_class(spec(view.pod)).to_owned())),
        init_container_statuses: Some(init).filter(|list| !list.is_empty()),
        container_statuses: Some(main).filter(|list| !list.is_empty()),
        ephemeral_container_statuses: ephemeral::statuses(view, facts),
        observed_generation: view.pod.metadata.generation,
        conditions: Some(conditions::adopt_foreign(
            before.conditions.as_deref(),
            view.pod,
        )),
        ..before
    };
    if phase == "Failed" && facts.before.phase.as_deref() != Some("Failed") && is_overdue(view) {
        let (reason, message) = OVERDUE;
        status.reason = Some(reason.to_owned());
        status.message = Some(message.to_owned());
    }
    status.conditions = Some(conditions::update(view, &status));
    status
}

/// The API knows seconds; keeping less would make every comparison fail.
pub(super) fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn addresses(view: View<'_>, node_ips: &[IpAddr]) -> Vec<IpAddr> {
    let host = spec(view.pod).host_network == Some(true);
    match view.observed.sandbox() {
        Some(_) if host => node_ips.to_vec(),
        Some(sandbox) => sandbox.ips.clone(),
        None => Vec::new(),
    }
}

fn pod_ips(ips: &[IpAddr]) -> Option<Vec<PodIP>> {
    let list: Vec<_> = ips.iter().map(|ip| PodIP { ip: ip.to_string() }).collect();
    Some(list).filter(|list| !list.is_empty())
}

/// One word for the whole pod.
fn phase(
    view: View<'_>,
    facts: &Facts<'_>,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
) -> &'static str {
    match facts.before.phase.as_deref() {
        Some("Succeeded") => return "Succeeded",
        Some("Failed") => return "Failed",
        _ => {}
    }
    let never_ran = |s: &ContainerStatus| waiting(s).is_some() && last_exit(s).is_none();
    let running = main.iter().filter(|s| is_running(s)).count();
    if facts.over && running == 0 {
        return if main.iter().all(succeeded) && !main.is_empty() && !is_overdue(view) {
            "Succeeded"
        } else {
            "Failed"
        };
    }
    if restart_policy(view.pod) == "Never" && failed_init(view, init) {
        return "Failed";
    }
    if main.is_empty() || main.iter().any(never_ran) {
        return "Pending";
    }
    if running > 0 || main.iter().any(|s| waiting(s).is_some()) {
        return "Running";
    }
    match restart_policy(view.pod) {
        "Always" => "Running",
        _ if main.iter().all(succeeded) => "Succeeded",
        "Never" => "Failed",
        _ => "Running",
    }
}

fn failed_init(view: View<'_>, init: &[ContainerStatus]) -> bool {
    let specs = spec(view.pod).init_containers.iter().flatten();
    init.iter()
        .zip(specs)
        .any(|(status, spec)| !is_sidecar(spec) && exit_code(status).is_some_and(|code| code != 0))
}

fn waiting(status: &ContainerStatus) -> Option<&ContainerStateWaiting> {
    status.state.as_ref()?.waiting.as_ref()
}

fn last_exit(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    status.last_state.as_ref()?.terminated.as_ref()
}

fn exit_code(status: &ContainerStatus) -> Option<i32> {
    Some(status.state.as_ref()?.terminated.as_ref()?.exit_code)
}

fn succeeded(status: &ContainerStatus) -> bool {
    exit_code(status) == Some(0)
}

fn is_running(status: &ContainerStatus) -> bool {
    status
        .state
        .as_ref()
        .is_some_and(|state| state.running.is_some())
}

fn container_status(
    view: View<'_>,
    facts: &Facts<'_>,
    container: &ContainerSpec,
    init: bool,
) -> ContainerStatus {
    let newest = view.observed.newest(&container.name);
    let shown = newest.filter(|c| c.state != RunState::Created);
    let state = match shown {
        Some(newest) => state(view, facts, container, newest),
        None => waits(waiting_reason(view, container, init)),
    };
    let is_waiting = state.waiting.is_some();
    let last = match newest {
        Some(newest) if is_waiting && newest.exit().is_some() => Some(newest),
        Some(_) => view.observed.previous(&container.name),
        None => None,
    };
    let started = newest.is_some_and(|c| is_started(view.memory, container, c));
    let done = init
        && shown
            .and_then(Container::exit)
            .is_some_and(|exit| exit.code == 0);
    ContainerStatus {
        name: container.name.clone(),
        image: newest
            .map(|c| c.image.clone())
            .filter(|image| !image.is_empty())
            .unwrap_or_else(|| container.image.clone().unwrap_or_default()),
        image_id: newest.map(|c| c.image_ref.clone()).unwrap_or_default(),
        container_id: newest.map(|c| format!("{}://{}", facts.runtime, c.id)),
        restart_count: newest.map_or(0, |c| i32::try_from(c.attempt).unwrap_or(i32::MAX)),
        ready: if init && !is_sidecar(container) {
            done
        } else {
            is_ready(view, container, newest)
        },
        started: Some(started),
        last_state: last
            .and_then(Container::exit)
            .zip(last)
            .map(|(exit, container)| terminated(facts, container, exit)),
        allocated_resources: given(view, &container.name).and_then(|given| given.requests.clone()),
        // Of a container that runs it is said also that there is nothing to say.
        resources: shown
            .filter(|c| matches!(c.state, RunState::Running { .. }))
            .and_then(|c| view.memory.resize.has.get(&c.id).cloned()),
        state: Some(state),
        ..ContainerStatus::default()
    }
}

fn given<'a>(view: View<'a>, name: &str) -> Option<&'a ResourceRequirements> {
    view.memory.resize.given.as_ref()?.get(name)
}

fn is_ready(view: View<'_>, container: &ContainerSpec, newest: Option<&Container>) -> bool {
    let Some(newest) = newest.filter(|c| is_started(view.memory, container, c)) else {
        return false;
    };
    let probed = view
        .memory
        .probes
        .get(&newest.id)
        .copied()
        .unwrap_or_default();
    container.readiness_probe.is_none() || probed.readiness == Some(true)
}

fn state(
    view: View<'_>,
    facts: &Facts<'_>,
    container: &ContainerSpec,
    newest: &Container,
) -> ContainerState {
    match &newest.state {
        RunState::Running { since } => ContainerState {
            running: Some(ContainerStateRunning {
                started_at: Some(Time(whole_second(*since))),
            }),
            ..ContainerState::default()
        },
        RunState::Exited(exit) => match restart_waits(view, facts, container, newest) {
            Some(waiting) => waits(waiting),
            None => terminated(facts, newest, exit),
        },
        RunState::Created | RunState::Unknown => waits(("ContainerCreating", String::new())),
    }
}

/// An ended container that will start again shows why it waits, once it does.
fn restart_waits(
    view: View<'_>,
    facts: &Facts<'_>,
    container: &ContainerSpec,
    newest: &Container,
) -> Option<(&'static str, String)> {
    if facts.over || view.memory.is_starting(&container.name) {
        return None;
    }
    let memory = view.memory.containers.get(&container.name)?;
    if let Some(failure) = &memory.failure {
        return Some(failure_reason(container, failure, view.now));
    }
    let will_restart = is_sidecar(container)
        || match restart_policy(view.pod) {
            "Never" => false,
            "OnFailure" => newest.exit().is_some_and(|exit| exit.code != 0),
            _ => true,
        };
    crash_wait(view, &container.name, newest).filter(|_| will_restart)?;
    Some((
        "CrashLoopBackOff",
        crash_message(view.pod, container, memory),
    ))
}

fn crash_message(pod: &Pod, container: &ContainerSpec, memory: &ContainerMemory) -> String {
    let id = super::names::PodId::of(pod);
    format!(
        "back-off {} restarting failed container={} pod={}",
        human(memory.crash.delay()),
        container.name,
        id.describe()
    )
}

fn human(delay: SignedDuration) -> String {
    match delay.as_secs() {
        seconds if seconds >= 60 => format!("{}m{}s", seconds / 60, seconds % 60),
        seconds => format!("{seconds}s"),
    }
}

fn waiting_reason(view: View<'_>, container: &ContainerSpec, init: bool) -> (&'static str, String) {
    let failure = view
        .memory
        .containers
        .get(&container.name)
        .and_then(|m| m.failure.as_ref());
    match failure {
        Some(failure) => failure_reason(container, failure, view.now),
        None if !init
            && spec(view.pod)
                .init_containers
                .as_ref()
                .is_some_and(|i| !i.is_empty()) =>
        {
            ("PodInitializing", String::new())
        }
        None if init => ("PodInitializing", String::new()),
        None => ("ContainerCreating", String::new()),
    }
}

/// A failed pull shows as itself first and as a back-off while it waits.
fn failure_reason(
    container: &ContainerSpec,
    failure: &StartFailure,
    now: Timestamp,
) -> (&'static str, String) {
    if failure.reason != "ErrImagePull" || now.duration_since(failure.at) < ERROR_SHOWN {
        return (failure.reason, failure.message.clone());
    }
    let image = container.image.as_deref().unwrap_or_default();
    let message = format!(
        "Back-off pulling image \"{image}\": ErrImagePull: {}",
        failure.message
    );
    ("ImagePullBackOff", message)
}

fn waits((reason, message): (&str, String)) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message: Some(message).filter(|message| !message.is_empty()),
        }),
        ..ContainerState::default()
    }
}

fn terminated(facts: &Facts<'_>, container: &Container, exit: &Exit) -> ContainerState {
    let message = (facts.last_words)(container).or_else(|| Some(exit.message.clone()));
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: Some(format!("{}://{}", facts.runtime, container.id)),
            exit_code: exit.code,
            reason: Some(exit.reason.clone()).filter(|reason| !reason.is_empty()),
            message: message.filter(|message| !message.is_empty()),
            started_at: Some(Time(whole_second(exit.started_at))),
            finished_at: Some(Time(whole_second(exit.finished_at))),
            signal: None,
        }),
        ..ContainerState::default()
    }
}

#[cfg(test)]
mod tests;
