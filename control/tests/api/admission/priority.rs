//! Priority.

use super::*;

const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn of(name: &str, class: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["priorityClassName"] = class.into();
    pod
}

#[tokio::test]
async fn a_pod_gets_the_priority_of_its_class() {
    let control = Control::start(&[]).await;
    let plain = create(&control, PODS, &pod("a")).await;
    assert_eq!(plain["spec"]["priority"], 0);
    assert_eq!(plain["spec"]["preemptionPolicy"], "PreemptLowerPriority");
    let class = json!({"metadata": {"name": "high"}, "value": 7, "globalDefault": true,
        "preemptionPolicy": "Never"});
    create(&control, CLASSES, &class).await;
    let made = create(&control, PODS, &pod("b")).await;
    assert_eq!(made["spec"]["priorityClassName"], "high");
    assert_eq!(made["spec"]["priority"], 7);
    assert_eq!(made["spec"]["preemptionPolicy"], "Never");
    let critical = create(&control, PODS, &of("c", "system-node-critical")).await;
    assert_eq!(critical["spec"]["priority"], 2_000_001_000);
    let why = control
        .post(PODS, &of("d", "none"))
        .await
        .refused(403, "Forbidden");
    assert!(
        why.contains("no PriorityClass with name none was found"),
        "{why}"
    );
    let second = json!({"metadata": {"name": "other"}, "value": 1, "globalDefault": true});
    let why = control
        .post(CLASSES, &second)
        .await
        .refused(403, "Forbidden");
    assert!(
        why.contains("PriorityClass high is already marked as default"),
        "{why}"
    );
}

#[tokio::test]
async fn a_pod_may_be_replaced_by_what_its_writer_knows_of_it() {
    let control = Control::start(&[]).await;
    let made = create(&control, PODS, &pod("a")).await;
    let mut mine = made.clone();
    let spec = mine["spec"].as_object_mut().unwrap();
    spec.remove("priority");
    spec.remove("preemptionPolicy");
    mine["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    mine["metadata"]["labels"] = json!({"a": "b"});
    let done = control.put(&format!("{PODS}/a"), &mine).await.expect(200);
    assert_eq!(done["spec"]["priority"], 0);
}
