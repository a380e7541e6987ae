use jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::pods::memory::{ProbeResults, Retry, StartFailure};
use crate::pods::observed::{Exit, RunState, Sandbox};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn pod(spec: serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec
    }))
    .unwrap()
}

fn simple(policy: &str) -> Pod {
    pod(json!({"restartPolicy": policy, "containers": [{"name": "a"}, {"name": "b"}]}))
}

fn sandbox(id: &str, attempt: u32, ready: bool) -> Sandbox {
    Sandbox {
        id: id.into(),
        attempt,
        ready,
        created_at: 0,
        ips: Vec::new(),
    }
}

fn container(name: &str, attempt: u32, state: RunState) -> Container {
    Container {
        id: format!("{name}{attempt}"),
        sandbox: "s0".into(),
        name: name.into(),
        attempt,
        image: String::new(),
        image_ref: String::new(),
        state,
    }
}

fn running() -> RunState {
    RunState::Running { since: at(0) }
}

fn exited(code: i32, finished: i64) -> RunState {
    RunState::Exited(Exit {
        started_at: at(0),
        finished_at: at(finished),
        code,
        reason: String::new(),
        message: String::new(),
    })
}

fn ready_memory() -> Memory {
    Memory {
        volumes: Volumes::Ready,
        ..Memory::default()
    }
}

fn in_sandbox(containers: Vec<Container>) -> Observed {
    Observed {
        sandboxes: vec![sandbox("s0", 0, true)],
        containers,
    }
}

fn step(from: Lifecycle, pod: &Pod, observed: &Observed, memory: &Memory) -> (Lifecycle, Plan) {
    from.step(View {
        pod,
        observed,
        memory,
        now: at(100),
    })
}

fn start_of(name: &str, attempt: u32) -> Action {
    Action::Start {
        container: name.into(),
        attempt,
        sandbox: "s0".into(),
    }
}

fn deleted(mut pod: Pod, grace: i64) -> Pod {
    pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
        at(100),
    ));
    pod.metadata.deletion_grace_period_seconds = Some(grace);
    pod
}

/// A pod that the API was told to have started at second 40, with so many seconds to live.
fn limited(seconds: i64) -> Pod {
    let mut pod = pod(json!({"activeDeadlineSeconds": seconds, "containers": [{"name": "a"}]}));
    pod.status = serde_json::from_value(json!({"startTime": at(40).to_string()})).unwrap();
    pod
}

#[test]
fn a_pod_ends_when_its_time_is_up_and_is_looked_at_then() {
    let running = in_sandbox(vec![container("a", 0, running())]);
    let early = step(Lifecycle::Syncing, &limited(61), &running, &ready_memory());
    assert_eq!((early.0, early.1.wake), (Lifecycle::Syncing, Some(at(101))));
    assert!(early.1.actions.is_empty());
    let (state, plan) = step(Lifecycle::Syncing, &limited(60), &running, &ready_memory());
    assert_eq!(state, Lifecycle::Ending);
    let Action::Stop { reason, grace, .. } = &plan.actions[0] else {
        panic!("{:?}", plan.actions);
    };
    assert_eq!((*reason, grace.as_secs()), (StopReason::PodEnds, 30));
    // One that never got as far as a container has nothing to end.
    let waiting = Observed::default();
    let (state, _) = step(
        Lifecycle::Syncing,
        &limited(60),
        &waiting,
        &Memory::default(),
    );
    assert_eq!(state, Lifecycle::Resting);
}

#[test]
fn a_new_pod_gets_volumes_and_sandbox_at_once() {
    let (state, plan) = step(
        Lifecycle::Syncing,
        &simple("Always"),
        &Observed::default(),
        &Memory::default(),
    );
    assert_eq!(state, Lifecycle::Syncing);
    assert_eq!(
        plan.actions,
        [Action::PrepareVolumes, Action::CreateSandbox { attempt: 0 }]
    );
}

#[test]
fn what_is_under_way_is_not_planned_again() {
    let mut memory = Memory::default();
    memory.running.insert(Action::PrepareVolumes);
    memory.running.insert(Action::CreateSandbox { attempt: 0 });
    let (_, plan) = step(
        Lifecycle::Syncing,
        &simple("Always"),
        &Observed::default(),
        &memory,
    );
    assert!(plan.actions.is_empty());
}

#[test]
fn containers_start_one_after_the_other_in_order() {
    let pod = simple("Always");
    let (_, plan) = step(
        Lifecycle::Syncing,
        &pod,
        &in_sandbox(vec![]),
        &ready_memory(),
    );
    assert_eq!(plan.actions, [start_of("a", 0)]);
    let mut memory = ready_memory();
    memory.running.insert(start_of("a", 0));
    let (_, plan) = step(Lifecycle::Syncing, &pod, &in_sandbox(vec![]), &memory);
    assert!(plan.actions.is_empty());
    let observed = in_sandbox(vec![container("a", 0, running())]);
    let (_, plan) = step(Lifecycle::Syncing, &pod, &observed, &ready_memory());
    assert_eq!(plan.actions, [start_of("b", 0)]);
}

#[test]
fn no_container_starts_without_its_volumes() {
    let (_, plan) = step(
        Lifecycle::Syncing,
        &simple("Always"),
        &in_sandbox(vec![]),
        &Memory::default(),
    );
    assert_eq!(plan.actions, [Action::PrepareVolumes]);
}

#[test]
fn a_failed_start_holds_back_only_its_own_container() {
    let mut memory = ready_memory();
    let failed = memory.container("a");
    failed.retry.attempt(at(99));
    failed.failure = Some(StartFailure {
        reason: "ErrImagePull",
        message: String::new(),
        at: at(99),
    });
    let (_, plan) = step(
        Lifecycle::Syncing,
        &simple("Always"),
        &in_sandbox(vec![]),
        &memory,
    );
    assert_eq!(plan.actions, [start_of("b", 0)]);
    assert_eq!(plan.wake, Some(at(109)));
}

#[test]
fn init_containers_run_in_order_before_the_others() {
    let pod = pod(
        json!({"restartPolicy": "Always", "containers": [{"name": "a"}],
        "initContainers": [{"name": "i"}, {"name": "j"}]}),
    );
    let plan_of = |containers| {
        step(
            Lifecycle::Syncing,
            &pod,
            &in_sandbox(containers),
            &ready_memory(),
        )
        .1
    };
    assert_eq!(plan_of(vec![]).actions, [start_of("i", 0)]);
    assert!(
        plan_of(vec![container("i", 0, running())])
            .actions
            .is_empty()
    );
    let done = container("i", 0, exited(0, 50));
    assert_eq!(plan_of(vec![done.clone()]).actions, [start_of("j", 0)]);
    let again = container("i", 0, exited(1, 50));
    assert_eq!(plan_of(vec![again]).actions, [start_of("i", 1)]);
    let both = vec![done, container("j", 0, exited(0, 60))];
    assert_eq!(plan_of(both).actions, [start_of("a", 0)]);
}

#[test]
fn a_sidecar_lets_the_others_start_once_it_has_started() {
    let pod = pod(
        json!({"restartPolicy": "Never", "containers": [{"name": "a"}],
        "initContainers": [{"name": "i", "restartPolicy": "Always", "startupProbe": {"exec": {}}}]}),
    );
    let observed = in_sandbox(vec![container("i", 0, running())]);
    let (_, plan) = step(Lifecycle::Syncing, &pod, &observed, &ready_memory());
    assert!(plan.actions.is_empty());
    let mut memory = ready_memory();
    memory.probes.insert(
        "i0".into(),
        ProbeResults {
            startup: Some(true),
            ..Default::default()
        },
    );
    let (_, plan) = step(Lifecycle::Syncing, &pod, &observed, &memory);
    assert_eq!(plan.actions, [start_of("a", 0)]);
}

#[test]
fn restart_policy_decides_about_ended_containers() {
    for (policy, code, restarts) in [
        ("Always", 0, true),
        ("Always", 1, true),
        ("OnFailure", 0, false),
        ("OnFailure", 1, true),
        ("Never", 1, false),
    ] {
        let observed = in_sandbox(vec![
            container("a", 0, exited(code, 50)),
            container("b", 0, running()),
        ]);
        let (_, plan) = step(
            Lifecycle::Syncing,
            &simple(policy),
            &observed,
            &ready_memory(),
        );
        assert_eq!(
            plan.actions == [start_of("a", 1)],
            restarts,
            "{policy} {code}"
        );
    }
}

#[test]
fn a_crash_waits_for_its_back_off() {
    let mut memory = ready_memory();
    memory.container("a").crash.attempt(at(50));
    let observed = in_sandbox(vec![
        container("a", 1, exited(1, 95)),
        container("b", 0, running()),
    ]);
    let (_, plan) = step(Lifecycle::Syncing, &simple("Always"), &observed, &memory);
    assert!(plan.actions.is_empty());
    assert_eq!(plan.wake, Some(at(105)));
    assert_eq!(plan.crash_waits["a"], at(105));
}

#[test]
fn a_dead_sandbox_is_replaced_and_its_containers_follow() {
    let dead = Observed {
        sandboxes: vec![sandbox("s0", 0, false)],
        containers: vec![
            container("a", 0, exited(137, 50)),
            container("b", 0, exited(0, 50)),
        ],
    };
    let (_, plan) = step(
        Lifecycle::Syncing,
        &simple("Always"),
        &dead,
        &ready_memory(),
    );
    assert_eq!(plan.actions, [Action::CreateSandbox { attempt: 1 }]);
    let fresh = Observed {
        sandboxes: vec![sandbox("s1", 1, true), sandbox("s0", 0, false)],
        containers: dead.containers,
    };
    let (_, plan) = step(
        Lifecycle::Syncing,
        &simple("Always"),
        &fresh,
        &ready_memory(),
    );
    let expected = Action::Start {
        container: "a".into(),
        attempt: 1,
        sandbox: "s1".into(),
    };
    assert_eq!(plan.actions, [expected]);
    let (_, plan) = step(
        Lifecycle::Syncing,
        &simple("OnFailure"),
        &fresh,
        &ready_memory(),
    );
    assert!(matches!(&plan.actions[..], [Action::Start { container, .. }] if container == "a"));
}

#[test]
fn a_failed_liveness_probe_stops_the_container() {
    let pod = pod(json!({"terminationGracePeriodSeconds": 7, "containers":
        [{"name": "a", "livenessProbe": {"exec": {}}}]}));
    let mut memory = ready_memory();
    memory.probes.insert(
        "a0".into(),
        ProbeResults {
            liveness: Some(false),
            ..Default::default()
        },
    );
    let observed = in_sandbox(vec![container("a", 0, running())]);
    let (_, plan) = step(Lifecycle::Syncing, &pod, &observed, &memory);
    let [Action::Stop { grace, reason, .. }] = &plan.actions[..] else {
        panic!("{plan:?}")
    };
    assert_eq!((grace.as_secs(), *reason), (7, StopReason::Liveness));
}

#[test]
fn a_deleted_pod_ends_containers_then_sandboxes_then_itself() {
    let pod = deleted(simple("Always"), 5);
    let alive = in_sandbox(vec![container("a", 0, running())]);
    let (state, plan) = step(Lifecycle::Syncing, &pod, &alive, &ready_memory());
    assert_eq!(state, Lifecycle::Ending);
    assert!(matches!(&plan.actions[..], [Action::Stop { grace, .. }] if grace.as_secs() == 5));
    let dead = in_sandbox(vec![container("a", 0, exited(0, 90))]);
    let (state, plan) = step(state, &pod, &dead, &ready_memory());
    assert_eq!(state, Lifecycle::Clearing);
    assert_eq!(plan.actions, [Action::StopSandbox { id: "s0".into() }]);
    let stopped = Observed {
        sandboxes: vec![sandbox("s0", 0, false)],
        ..dead
    };
    let (state, plan) = step(state, &pod, &stopped, &ready_memory());
    assert_eq!(
        (state, plan.actions),
        (Lifecycle::Clearing, vec![Action::ReleaseVolumes])
    );
    let (state, plan) = step(state, &pod, &stopped, &Memory::default());
    assert_eq!(state, Lifecycle::Removing);
    assert_eq!(plan.actions, [Action::RemoveSandbox { id: "s0".into() }]);
    let (state, plan) = step(state, &pod, &Observed::default(), &Memory::default());
    assert_eq!(
        (state, plan.actions),
        (Lifecycle::Removing, vec![Action::Cleanup])
    );
    let mut cleaned = Memory::default();
    cleaned.retries.insert("Cleanup", Retry::default());
    let (state, plan) = step(state, &pod, &Observed::default(), &cleaned);
    assert_eq!(
        (state, plan.actions),
        (Lifecycle::Gone, vec![Action::DeleteObject])
    );
}

#[test]
fn a_shorter_grace_overtakes_a_longer_stop() {
    let alive = in_sandbox(vec![container("a", 0, running())]);
    let mut memory = ready_memory();
    let (state, plan) = step(
        Lifecycle::Syncing,
        &deleted(simple("Always"), 30),
        &alive,
        &memory,
    );
    memory.running.extend(plan.actions);
    let (_, plan) = step(state, &deleted(simple("Always"), 30), &alive, &memory);
    assert!(plan.actions.is_empty());
    let (_, plan) = step(state, &deleted(simple("Always"), 0), &alive, &memory);
    assert!(matches!(&plan.actions[..], [Action::Stop { grace, .. }] if grace.is_zero()));
}

#[test]
fn a_finished_pod_rests_until_it_is_deleted() {
    let pod = simple("Never");
    let ended = vec![
        container("a", 0, exited(0, 50)),
        container("b", 0, exited(1, 50)),
    ];
    let observed = in_sandbox(ended.clone());
    let (state, plan) = step(Lifecycle::Syncing, &pod, &observed, &ready_memory());
    assert_eq!(state, Lifecycle::Clearing);
    assert_eq!(plan.actions, [Action::StopSandbox { id: "s0".into() }]);
    let stopped = Observed {
        sandboxes: vec![sandbox("s0", 0, false)],
        containers: ended,
    };
    let (state, plan) = step(state, &pod, &stopped, &Memory::default());
    assert_eq!((state, plan), (Lifecycle::Resting, Plan::default()));
    let (state, _) = step(state, &deleted(pod, 30), &stopped, &Memory::default());
    assert_eq!(state, Lifecycle::Removing);
}

#[test]
fn a_pod_that_the_api_calls_failed_never_starts_again() {
    let mut pod = simple("Always");
    pod.status = serde_json::from_value(json!({"phase": "Failed"})).unwrap();
    let (state, plan) = step(
        Lifecycle::Syncing,
        &pod,
        &Observed::default(),
        &Memory::default(),
    );
    assert_eq!((state, plan), (Lifecycle::Resting, Plan::default()));
}

#[test]
fn only_the_last_two_attempts_stay() {
    let observed = in_sandbox(vec![
        container("a", 2, running()),
        container("b", 0, running()),
        container("a", 1, exited(1, 50)),
        container("a", 0, exited(1, 40)),
    ]);
    let (_, plan) = step(
        Lifecycle::Syncing,
        &simple("Always"),
        &observed,
        &ready_memory(),
    );
    assert_eq!(plan.actions, [Action::RemoveContainer { id: "a0".into() }]);
}

#[test]
fn a_failed_action_waits_before_its_next_attempt() {
    let mut memory = ready_memory();
    memory
        .retries
        .entry("CreateSandbox")
        .or_default()
        .fail(at(100), "no address".into());
    let (_, plan) = step(
        Lifecycle::Syncing,
        &simple("Always"),
        &Observed::default(),
        &memory,
    );
    assert!(plan.actions.is_empty());
    assert_eq!(plan.wake, Some(at(100) + SignedDuration::from_millis(500)));
}

#[test]
fn grace_is_the_deletions_then_the_specs_then_half_a_minute() {
    let own = pod(json!({"terminationGracePeriodSeconds": 7, "containers": []}));
    assert_eq!(grace(&own).as_secs(), 7);
    assert_eq!(grace(&deleted(own, 0)).as_secs(), 0);
    assert_eq!(grace(&simple("Always")).as_secs(), 30);
}

#[test]
fn an_ephemeral_container_starts_once_and_waits_for_nobody() {
    let pod = pod(
        json!({"initContainers": [{"name": "first"}], "containers": [{"name": "a"}],
        "ephemeralContainers": [{"name": "look"}]}),
    );
    let memory = ready_memory();
    let first = container("first", 0, running());
    let started = |container: Option<Container>| {
        let all = container.into_iter().chain([first.clone()]).collect();
        let (_, plan) = step(Lifecycle::Syncing, &pod, &in_sandbox(all), &memory);
        plan.actions
    };
    let start = Action::Start {
        container: "look".into(),
        attempt: 0,
        sandbox: "s0".into(),
    };
    assert_eq!(started(None), std::slice::from_ref(&start));
    let made = container("look", 0, RunState::Created);
    assert_eq!(started(Some(made)), [start]);
    for state in [running(), exited(0, 50), exited(1, 50), RunState::Unknown] {
        assert_eq!(started(Some(container("look", 0, state))), []);
    }
    let mut lost = container("look", 0, exited(137, 50));
    lost.sandbox = "older".into();
    assert_eq!(started(Some(lost)), []);
}

#[test]
fn a_pod_is_over_although_somebody_looks_into_it() {
    let pod = pod(
        json!({"restartPolicy": "Never", "containers": [{"name": "a"}],
        "ephemeralContainers": [{"name": "look"}]}),
    );
    let observed = in_sandbox(vec![
        container("a", 0, exited(0, 50)),
        container("look", 0, running()),
    ]);
    let (next, plan) = step(Lifecycle::Syncing, &pod, &observed, &ready_memory());
    assert_eq!(next, Lifecycle::Ending);
    let stopped =
        matches!(&plan.actions[..], [Action::Stop { container, .. }] if container == "look");
    assert!(stopped, "{:?}", plan.actions);
}

#[test]
fn a_container_that_ended_to_be_resized_starts_again_at_once() {
    let pod = pod(json!({"restartPolicy": "OnFailure", "containers": [{"name": "a"}]}));
    let observed = in_sandbox(vec![container("a", 0, exited(0, 99))]);
    let mut memory = ready_memory();
    let (next, _) = step(Lifecycle::Syncing, &pod, &observed, &memory);
    assert_ne!(next, Lifecycle::Syncing, "without it the pod is over");
    memory.resize.ended.insert("a0".into());
    let (next, plan) = step(Lifecycle::Syncing, &pod, &observed, &memory);
    assert_eq!(next, Lifecycle::Syncing);
    let start = Action::Start {
        container: "a".into(),
        attempt: 1,
        sandbox: "s0".into(),
    };
    assert_eq!(plan.actions, [start]);
}
