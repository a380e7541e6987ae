use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::*;
use crate::pods::memory;
use crate::pods::observed::Observed;
use crate::pods::plan::spec;

fn requirements(cpu: &str, memory: &str) -> ResourceRequirements {
    let amounts = json!({"cpu": cpu, "memory": memory});
    serde_json::from_value(json!({"requests": amounts, "limits": amounts})).unwrap()
}

fn pod(policies: serde_json::Value) -> Pod {
    serde_json::from_value(
        json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"containers": [{"name": "a", "resizePolicy": policies,
            "resources": {"limits": {"cpu": "1", "memory": "1Mi"}}}]}}),
    )
    .unwrap()
}

fn running() -> Container {
    Container {
        id: "a0".into(),
        sandbox: "s".into(),
        name: "a".into(),
        attempt: 0,
        image: String::new(),
        image_ref: String::new(),
        state: RunState::Running {
            since: Timestamp::UNIX_EPOCH,
        },
    }
}

fn memory(given: ResourceRequirements, has: ResourceRequirements) -> memory::Memory {
    memory::Memory {
        resize: Memory {
            given: Some(Given::from([("a".to_owned(), given)])),
            has: BTreeMap::from([("a0".to_owned(), has)]),
            ..Memory::default()
        },
        ..memory::Memory::default()
    }
}

fn with<T>(pod: &Pod, memory: &memory::Memory, see: impl FnOnce(View<'_>) -> T) -> T {
    let observed = Observed {
        sandboxes: Vec::new(),
        containers: vec![running()],
    };
    see(View {
        pod,
        observed: &observed,
        memory,
        now: Timestamp::UNIX_EPOCH,
    })
}

#[test]
fn a_container_is_brought_to_what_it_was_given_by_its_policy() {
    let pod = pod(
        json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"},
        {"resourceName": "cpu", "restartPolicy": "NotRequired"}]),
    );
    let next = |given, has| {
        with(&pod, &memory(given, has), |view| {
            step(view, &spec(&pod).containers[0], &running())
        })
    };
    let before = || requirements("1", "1Mi");
    assert_eq!(next(before(), before()), None);
    assert_eq!(
        next(requirements("2", "1Mi"), before()),
        Some(Step::InPlace)
    );
    assert_eq!(
        next(requirements("1", "2Mi"), before()),
        Some(Step::Restart)
    );
    assert_eq!(
        next(requirements("2", "2Mi"), before()),
        Some(Step::Restart)
    );
    // The same amount in other words restarts nothing.
    let same = requirements("1000m", "1024Ki");
    assert_eq!(next(same, before()), Some(Step::InPlace));
}

#[test]
fn conditions_tell_what_a_resize_waits_for() {
    let pod = pod(json!([]));
    let told = |memory: &memory::Memory| with(&pod, memory, conditions);
    let before = || requirements("1", "1Mi");
    let mut memory = memory(before(), before());
    assert_eq!(told(&memory), []);
    memory.resize.refused = Some(Refusal::Infeasible {
        resource: "cpu",
        requested: 9000,
        capacity: 2000,
    });
    let pending = told(&memory);
    assert_eq!(pending.len(), 1);
    assert_eq!(
        (pending[0].0, pending[0].1),
        ("PodResizePending", "Infeasible")
    );
    memory.resize.refused = None;
    memory
        .resize
        .has
        .insert("a0".into(), requirements("2", "1Mi"));
    let going = ("PodResizeInProgress", "", String::new());
    assert_eq!(told(&memory), [going]);
    memory.resize.failure = Some("busy".into());
    let failed = ("PodResizeInProgress", "Error", "busy".to_owned());
    assert_eq!(told(&memory), [failed]);
}

#[test]
fn what_was_given_is_what_the_api_was_told() {
    let mut pod = pod(json!([]));
    assert_eq!(given::adopted(&pod), given::wanted(&pod));
    pod.status = serde_json::from_value(json!({"containerStatuses": [{
        "name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0,
        "containerID": "containerd://a0", "allocatedResources": {"cpu": "500m"},
        "resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "250m"}}}]}))
    .unwrap();
    let given = given::adopted(&pod);
    let amount = |list: &Option<BTreeMap<String, _>>| {
        let list: &BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity> =
            list.as_ref().unwrap();
        list["cpu"].0.clone()
    };
    assert_eq!(amount(&given["a"].requests), "500m");
    assert_eq!(amount(&given["a"].limits), "2");
    let has = given::told(&pod, "a0").unwrap();
    assert_eq!(amount(&has.requests), "250m");
    assert!(given::told(&pod, "a1").is_none());
    let granted = given::granted(&pod, &given);
    assert_eq!(given::wanted(&granted), given);
}
