//! TaintNodesByCondition, PodTopologyLabels, and RuntimeClass as far as no node runs one.

use super::*;
use support::eventually;
use support::http::MERGE_PATCH;

const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/namespaces/default/pods";
const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";

#[tokio::test]
async fn a_new_node_takes_no_pods_until_it_is_ready() {
    let control = Control::start(&[]).await;
    let made = create(&control, NODES, &json!({"metadata": {"name": "n1"}})).await;
    let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    assert_eq!(made["spec"]["taints"], json!([taint]));
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True",
        "reason": "KubeletReady", "lastHeartbeatTime": jiff::Timestamp::now().to_string()}]}});
    let status = format!("{NODES}/n1/status");
    control
        .patch(&status, MERGE_PATCH, &ready)
        .await
        .expect(200);
    eventually("the taint goes", || async {
        let node = control.get(&format!("{NODES}/n1")).await.expect(200);
        let taints = node["spec"]["taints"].as_array().map_or(0, Vec::len);
        (taints == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_pod_gets_the_zone_and_region_of_its_node() {
    let control = Control::start(&[]).await;
    let node = json!({"metadata": {"name": "n1", "labels": {ZONE: "z1", REGION: "r1", "a": "b"}}});
    create(&control, NODES, &node).await;
    create(&control, PODS, &alone("bound")).await;
    let mut own = alone("own");
    own["metadata"]["labels"] = json!({ZONE: "mine"});
    create(&control, PODS, &own).await;
    for name in ["bound", "own"] {
        let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n1"}});
        create(&control, &format!("{PODS}/{name}/binding"), &binding).await;
    }
    let mut placed = alone("placed");
    placed["spec"]["nodeName"] = "n1".into();
    create(&control, PODS, &placed).await;
    for (name, labels) in [
        ("bound", json!({ZONE: "z1", REGION: "r1"})),
        ("own", json!({ZONE: "mine", REGION: "r1"})),
        ("placed", json!({ZONE: "z1", REGION: "r1"})),
    ] {
        let pod = control.get(&format!("{PODS}/{name}")).await.expect(200);
        assert_eq!(pod["metadata"]["labels"], labels, "{name}");
    }
    let mut nowhere = alone("nowhere");
    nowhere["spec"]["nodeName"] = "none".into();
    let nowhere = create(&control, PODS, &nowhere).await;
    assert!(nowhere["metadata"].get("labels").is_none());
}

#[tokio::test]
async fn no_pod_claims_the_cost_of_a_class_that_it_does_not_name() {
    let control = Control::start(&[]).await;
    let mut costly = pod("costly");
    costly["spec"]["overhead"] = json!({"cpu": "1"});
    let refused = control.post(PODS, &costly).await;
    let why = refused.refused(403, "Forbidden");
    assert!(
        why.contains("Overhead set without corresponding RuntimeClass"),
        "{why}"
    );
}
