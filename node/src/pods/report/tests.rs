use serde_json::json;

use super::*;
use crate::pods::memory::{Memory, ProbeResults};
use crate::pods::observed::{Observed, Sandbox};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn pod(spec: serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec
    }))
    .unwrap()
}

fn container(name: &str, attempt: u32, state: RunState) -> Container {
    Container {
        id: format!("{name}{attempt}"),
        sandbox: "s".into(),
        name: name.into(),
        attempt,
        image: "img".into(),
        image_ref: "sha256:1".into(),
        state,
    }
}

fn running() -> RunState {
    RunState::Running { since: at(10) }
}

fn exited(code: i32) -> RunState {
    RunState::Exited(Exit {
        started_at: at(10),
        finished_at: at(95),
        code,
        reason: if code == 0 {
            "Completed".into()
        } else {
            "Error".into()
        },
        message: String::new(),
    })
}

fn observed(containers: Vec<Container>) -> Observed {
    let ips = vec!["10.244.1.2".parse().unwrap()];
    let sandbox = Sandbox {
        id: "s".into(),
        attempt: 0,
        ready: true,
        created_at: 0,
        ips,
    };
    Observed {
        sandboxes: vec![sandbox],
        containers,
    }
}

fn report(pod: &Pod, observed: &Observed, memory: &Memory, over: bool) -> PodStatus {
    report_after(
        pod,
        observed,
        memory,
        over,
        &pod.status.clone().unwrap_or_default(),
        at(100),
    )
}

fn report_after(
    pod: &Pod,
    observed: &Observed,
    memory: &Memory,
    over: bool,
    before: &PodStatus,
    now: Timestamp,
) -> PodStatus {
    let facts = Facts {
        node_ips: &["192.0.2.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        runtime: "containerd",
        over,
        before,
        last_words: &|_| None,
    };
    pod_status(
        View {
            pod,
            observed,
            memory,
            now,
        },
        &facts,
    )
}

fn condition<'a>(
    status: &'a PodStatus,
    kind: &str,
) -> &'a k8s_openapi::api::core::v1::PodCondition {
    status
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == kind)
        .unwrap()
}

fn first(status: &PodStatus) -> &ContainerStatus {
    &status.container_statuses.as_ref().unwrap()[0]
}

#[test]
fn a_pod_without_containers_yet_is_pending_and_creating() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let status = report(&pod, &Observed::default(), &Memory::default(), false);
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    let waiting = first(&status)
        .state
        .as_ref()
        .unwrap()
        .waiting
        .as_ref()
        .unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("ContainerCreating"));
    assert_eq!(condition(&status, "Ready").status, "False");
    assert_eq!(condition(&status, "PodScheduled").status, "True");
    assert_eq!(status.start_time, Some(Time(at(100))));
    assert_eq!(status.pod_ip, None);
}

#[test]
fn a_running_pod_has_addresses_ids_and_is_ready() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let status = report(
        &pod,
        &observed(vec![container("a", 3, running())]),
        &Memory::default(),
        false,
    );
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.pod_ip.as_deref(), Some("10.244.1.2"));
    let hosts = status
        .host_ips
        .iter()
        .flatten()
        .map(|host| host.ip.as_str());
    assert_eq!(hosts.collect::<Vec<_>>(), ["192.0.2.1", "fd00::1"]);
    assert_eq!(
        first(&status).container_id.as_deref(),
        Some("containerd://a3")
    );
    assert_eq!(
        (first(&status).restart_count, first(&status).ready),
        (3, true)
    );
    assert_eq!(condition(&status, "Ready").status, "True");
}

#[test]
fn readiness_and_startup_probes_hold_a_pod_back() {
    let pod = pod(json!({"containers":
        [{"name": "a", "readinessProbe": {"exec": {}}, "startupProbe": {"exec": {}}}]}));
    let seen = observed(vec![container("a", 0, running())]);
    let mut memory = Memory::default();
    let status = report(&pod, &seen, &memory, false);
    assert_eq!(
        (first(&status).started, first(&status).ready),
        (Some(false), false)
    );
    assert_eq!(
        condition(&status, "ContainersReady").message.as_deref(),
        Some("containers with unready status: [a]")
    );
    let results = ProbeResults {
        startup: Some(true),
        ..ProbeResults::default()
    };
    memory.probes.insert("a0".into(), results);
    assert!(!first(&report(&pod, &seen, &memory, false)).ready);
    memory.probes.insert(
        "a0".into(),
        ProbeResults {
            readiness: Some(true),
            ..results
        },
    );
    assert!(first(&report(&pod, &seen, &memory, false)).ready);
}

#[test]
fn a_crash_loop_shows_as_such_with_its_last_exit() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let mut memory = Memory::default();
    memory.container("a").crash.attempt(at(90));
    let status = report(
        &pod,
        &observed(vec![container("a", 1, exited(2))]),
        &memory,
        false,
    );
    let state = first(&status).state.as_ref().unwrap();
    let waiting = state.waiting.as_ref().unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    assert_eq!(
        waiting.message.as_deref(),
        Some("back-off 10s restarting failed container=a pod=p_n(u)")
    );
    let last = first(&status)
        .last_state
        .as_ref()
        .unwrap()
        .terminated
        .as_ref()
        .unwrap();
    assert_eq!(last.exit_code, 2);
    assert_eq!(status.phase.as_deref(), Some("Running"));
}

#[test]
fn a_restart_that_is_under_way_is_no_back_off() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let mut memory = Memory::default();
    memory.container("a").crash.attempt(at(96));
    memory.running.insert(crate::pods::plan::Action::Start {
        container: "a".into(),
        attempt: 1,
        sandbox: "s".into(),
    });
    let status = report(
        &pod,
        &observed(vec![container("a", 0, exited(2))]),
        &memory,
        false,
    );
    let state = first(&status).state.as_ref().unwrap();
    assert_eq!(state.terminated.as_ref().unwrap().exit_code, 2);
}

#[test]
fn a_failed_pull_shows_the_error_then_the_back_off() {
    let pod = pod(json!({"containers": [{"name": "a", "image": "x"}]}));
    let mut memory = Memory::default();
    let failure = |second| StartFailure {
        reason: "ErrImagePull",
        message: "no".into(),
        at: at(second),
    };
    let reason = |memory: &Memory| {
        let status = report(&pod, &observed(vec![]), memory, false);
        first(&status)
            .state
            .clone()
            .unwrap()
            .waiting
            .unwrap()
            .reason
            .unwrap()
    };
    memory.container("a").failure = Some(failure(99));
    assert_eq!(reason(&memory), "ErrImagePull");
    memory.container("a").failure = Some(failure(90));
    assert_eq!(reason(&memory), "ImagePullBackOff");
}

#[test]
fn phases_of_ended_pods_follow_policy_and_codes() {
    for (policy, codes, phase) in [
        ("Never", [0, 0], "Succeeded"),
        ("Never", [0, 1], "Failed"),
        ("OnFailure", [0, 0], "Succeeded"),
        ("OnFailure", [0, 1], "Running"),
        ("Always", [0, 0], "Running"),
    ] {
        let pod =
            pod(json!({"restartPolicy": policy, "containers": [{"name": "a"}, {"name": "b"}]}));
        let seen = observed(vec![
            container("a", 0, exited(codes[0])),
            container("b", 0, exited(codes[1])),
        ]);
        let status = report(&pod, &seen, &Memory::default(), false);
        assert_eq!(status.phase.as_deref(), Some(phase), "{policy} {codes:?}");
    }
}

#[test]
fn a_deleted_pod_that_has_ended_never_says_running() {
    let pod = pod(json!({"restartPolicy": "Always", "containers": [{"name": "a"}]}));
    let status = report(
        &pod,
        &observed(vec![container("a", 0, exited(143))]),
        &Memory::default(),
        true,
    );
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    let status = report(
        &pod,
        &observed(vec![container("a", 0, exited(0))]),
        &Memory::default(),
        true,
    );
    assert_eq!(status.phase.as_deref(), Some("Succeeded"));
    assert_eq!(
        condition(&status, "Ready").reason.as_deref(),
        Some("PodCompleted")
    );
}

#[test]
fn init_containers_gate_initialisation() {
    let pod = pod(json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]}));
    let status = report(
        &pod,
        &observed(vec![container("i", 0, running())]),
        &Memory::default(),
        false,
    );
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(condition(&status, "Initialized").status, "False");
    let waiting = first(&status)
        .state
        .as_ref()
        .unwrap()
        .waiting
        .as_ref()
        .unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("PodInitializing"));
    let status = report(
        &pod,
        &observed(vec![container("i", 0, exited(0))]),
        &Memory::default(),
        false,
    );
    assert_eq!(condition(&status, "Initialized").status, "True");
}

#[test]
fn transition_times_move_only_with_the_truth_and_foreign_conditions_stay() {
    let mut pod = pod(json!({"containers": [{"name": "a"}]}));
    pod.status = serde_json::from_value(json!({"conditions":
        [{"type": "example.org/gate", "status": "True"}]}))
    .unwrap();
    let seen = observed(vec![container("a", 0, running())]);
    let memory = Memory::default();
    let one = report(&pod, &seen, &memory, false);
    let two = report_after(&pod, &seen, &memory, false, &one, at(200));
    assert_eq!(one, two);
    assert_eq!(condition(&two, "example.org/gate").status, "True");
    let gone = report_after(&pod, &observed(vec![]), &memory, false, &two, at(300));
    assert_eq!(
        condition(&gone, "Ready").last_transition_time,
        Some(Time(at(300)))
    );
}

#[test]
fn host_network_pods_have_the_nodes_address() {
    let pod = pod(json!({"hostNetwork": true, "containers": [{"name": "a"}]}));
    let mut seen = observed(vec![container("a", 0, running())]);
    seen.sandboxes[0].ips.clear();
    assert_eq!(
        report(&pod, &seen, &Memory::default(), false)
            .pod_ip
            .as_deref(),
        Some("192.0.2.1")
    );
}

#[test]
fn a_pod_whose_time_is_up_has_failed_for_that_reason() {
    let mut limited = pod(json!({"activeDeadlineSeconds": 60, "containers": [{"name": "a"}]}));
    limited.status = serde_json::from_value(json!({"startTime": at(40).to_string()})).unwrap();
    let ended = observed(vec![container("a", 0, exited(0))]);
    let status = report(&limited, &ended, &Memory::default(), true);
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
    // Until the last container has ended the pod runs.
    let ending = observed(vec![container("a", 0, running())]);
    let status = report(&limited, &ending, &Memory::default(), true);
    assert_eq!(
        (status.phase.as_deref(), status.reason),
        (Some("Running"), None)
    );
    // An end that was reported before stays as it was.
    limited.status.as_mut().unwrap().phase = Some("Succeeded".into());
    let status = report(&limited, &ended, &Memory::default(), true);
    assert_eq!(
        (status.phase.as_deref(), status.reason),
        (Some("Succeeded"), None)
    );
}

#[test]
fn ephemeral_containers_are_told_and_change_nothing_else() {
    let pod = pod(json!({"containers": [{"name": "a"}], "initContainers": [],
        "ephemeralContainers": [{"name": "look", "image": "busybox"}]}));
    let main = container("a", 0, running());
    let look = |state: Option<RunState>, memory: &Memory| {
        let look = state.map(|state| container("look", 0, state));
        let all = look.into_iter().chain([main.clone()]).collect();
        let status = report(&pod, &observed(all), memory, false);
        assert_eq!(status.phase.as_deref(), Some("Running"));
        let ready =
            |c: &k8s_openapi::api::core::v1::PodCondition| c.type_ == "Ready" && c.status == "True";
        assert!(status.conditions.unwrap().iter().any(ready));
        status.ephemeral_container_statuses.unwrap().remove(0)
    };
    let memory = Memory::default();
    let waiting = look(None, &memory);
    assert_eq!(waiting.image, "busybox");
    let reason = |status: ContainerStatus| status.state.unwrap().waiting.unwrap().reason;
    assert_eq!(reason(waiting).as_deref(), Some("ContainerCreating"));
    let mut failed = Memory::default();
    failed.container("look").failure = Some(StartFailure {
        reason: "ErrImagePull",
        message: "no such image".into(),
        at: at(99),
    });
    let pulling = look(None, &failed);
    assert_eq!(reason(pulling).as_deref(), Some("ErrImagePull"));
    let running = look(Some(running()), &memory);
    assert!(running.state.unwrap().running.is_some());
    assert!(!running.ready && running.started.is_none());
    // It ended badly, and that is that.
    let ended = look(Some(exited(1)), &failed);
    assert_eq!(ended.state.unwrap().terminated.unwrap().exit_code, 1);
    assert_eq!(ended.restart_count, 0);
}
