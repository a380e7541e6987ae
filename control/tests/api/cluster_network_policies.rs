//! ClusterNetworkPolicy: there from the start, checked, shown, and still its project's kind.

use super::*;
use support::eventually;
use support::http::MERGE_PATCH;

const DEFINITION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusternetworkpolicies.policy.networking.k8s.io";
const POLICIES: &str = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies";

fn policy(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
        "metadata": {"name": name}, "spec": spec})
}

/// A spec with these rules for ingress and egress.
fn spec(ingress: Value, egress: Value) -> Value {
    json!({"tier": "Admin", "priority": 10, "subject": {"namespaces": {}},
        "ingress": ingress, "egress": egress})
}

#[tokio::test]
async fn the_kind_is_served_from_the_first_request_on() {
    let control = Control::start(&[]).await;
    let list = control.get(POLICIES).await.expect(200);
    assert_eq!(list["kind"], "ClusterNetworkPolicyList");
    let group = "/apis/policy.networking.k8s.io/v1alpha2";
    let resources = control.get(group).await.expect(200);
    let resources = resources["resources"].as_array().unwrap();
    let told: Vec<_> = resources.iter().map(|it| it["name"].clone()).collect();
    assert_eq!(
        told,
        ["clusternetworkpolicies", "clusternetworkpolicies/status"]
    );
    assert_eq!(resources[0]["shortNames"], json!(["cnp"]));
    assert_eq!(resources[0]["namespaced"], false);
}

#[tokio::test]
async fn a_policy_is_shown_by_tier_and_priority_and_keeps_its_status_apart() {
    let control = Control::start(&[]).await;
    let rules = json!([{"name": "no-db", "action": "Deny", "from": [{"namespaces": {}}],
        "protocols": [{"tcp": {"destinationPort": {"range": {"start": 5432, "end": 5433}}}},
            {"udp": {"destinationPort": {"number": 53}}}, {"destinationNamedPort": "db"}]}]);
    let out = json!([{"action": "Pass", "to": [{"networks": ["10.0.0.0/8", "fd00::/8"]},
        {"pods": {"podSelector": {"matchLabels": {"a": "b"}}}}]}]);
    let mut wanted = policy("deny", spec(rules, out));
    let condition = json!({"type": "Known", "status": "True", "reason": "Test", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    wanted["status"] = json!({"conditions": [condition]});
    let made = create(&control, POLICIES, &wanted).await;
    assert_eq!(made["spec"], wanted["spec"]);
    assert_eq!(made["status"], Value::Null);
    assert_eq!(made["metadata"]["generation"], 1);
    let path = format!("{POLICIES}/deny");
    let status = json!({"status": {"conditions": [condition]}, "spec": {"priority": 11}});
    let written = control
        .patch(&format!("{path}/status"), MERGE_PATCH, &status)
        .await
        .expect(200);
    assert_eq!(written["status"]["conditions"][0]["type"], "Known");
    assert_eq!(written["spec"]["priority"], 10);
    assert_eq!(written["metadata"]["generation"], 1);
    let accept = [("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
    let table = control
        .send(http::Method::GET, POLICIES, &accept, "")
        .await
        .expect(200);
    let columns: Vec<_> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].clone())
        .collect();
    assert_eq!(columns, ["Name", "Tier", "Priority", "Age"]);
    let row = &table["rows"][0]["cells"];
    assert_eq!(
        json!([row[0], row[1], row[2]]),
        json!(["deny", "Admin", "10"])
    );
}

#[tokio::test]
async fn what_no_policy_can_say_is_refused_with_the_field_that_says_it() {
    let control = Control::start(&[]).await;
    let rule = |more: Value| {
        let mut rule = json!({"action": "Deny", "to": [{"namespaces": {}}]});
        rule.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        spec(json!([]), json!([rule]))
    };
    let with = |field: &str, value: Value| {
        let mut spec = spec(json!([]), json!([]));
        spec[field] = value;
        spec
    };
    let port = |port: Value| rule(json!({"protocols": [{"tcp": {"destinationPort": port}}]}));
    let many: Vec<_> = (0..26)
        .map(|_| json!({"action": "Deny", "from": [{"namespaces": {}}]}))
        .collect();
    for (spec, told) in [
        (
            with("tier", json!("Platinum")),
            "spec.tier: Unsupported value: \"Platinum\": supported values: \"Admin\", \"Baseline\"",
        ),
        (
            with("priority", json!(1001)),
            "spec.priority: Invalid value: 1001",
        ),
        (
            with("priority", json!(-1)),
            "spec.priority: Invalid value: -1",
        ),
        (with("subject", json!({})), "spec.subject: Invalid value"),
        (
            with(
                "subject",
                json!({"namespaces": {}, "pods": {"podSelector": {}}}),
            ),
            "spec.subject: Invalid value",
        ),
        (
            with("subject", json!({"pods": {"namespaceSelector": {}}})),
            "spec.subject.pods.podSelector: Required value",
        ),
        (with("ingress", many.into()), "spec.ingress: "),
        (rule(json!({"to": []})), "spec.egress[0].to: Invalid value"),
        (
            rule(json!({"to": [{}]})),
            "spec.egress[0].to[0]: Invalid value",
        ),
        (
            rule(json!({"action": "Allow"})),
            "spec.egress[0].action: Unsupported value: \"Allow\"",
        ),
        (
            rule(json!({"name": "x".repeat(101)})),
            "spec.egress[0].name: ",
        ),
        (
            rule(json!({"to": [{"networks": ["10.0.0.0"]}]})),
            "Invalid CIDR format provided",
        ),
        (
            rule(json!({"to": [{"networks": ["10.0.0.0/8", "10.0.0.0/8"]}]})),
            "spec.egress[0].to[0].networks[1]: Duplicate value",
        ),
        (
            rule(json!({"protocols": []})),
            "spec.egress[0].protocols: Invalid value",
        ),
        (
            port(json!({"number": 0})),
            "spec.egress[0].protocols[0].tcp.destinationPort.number: Invalid value: 0",
        ),
        (
            port(json!({"range": {"start": 9, "end": 9}})),
            "Start port must be less than End port",
        ),
        (
            port(json!({"number": 1, "range": {"start": 1, "end": 9}})),
            "spec.egress[0].protocols[0].tcp.destinationPort: Invalid value",
        ),
        (
            with(
                "subject",
                json!({"namespaces": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}),
            ),
            "operator: Unsupported value: \"Near\"",
        ),
    ] {
        let refused = control.post(POLICIES, &policy("bad", spec.clone())).await;
        let message = refused.refused(422, "Invalid");
        assert!(message.contains(told), "{spec}: {message}");
    }
    // Peers of ingress rules have no networks: what is not in the definition is dropped and told.
    let from = spec(
        json!([{"action": "Deny", "from": [{"networks": ["10.0.0.0/8"]}]}]),
        json!([]),
    );
    let path = format!("{POLICIES}?fieldValidation=Strict");
    let refused = control.post(&path, &policy("bad", from)).await;
    let message = refused.refused(400, "BadRequest");
    assert!(message.contains("networks"), "{message}");
    let list = control.get(POLICIES).await.expect(200);
    assert_eq!(list["items"], json!([]));
}

#[tokio::test]
async fn the_projects_own_definition_takes_the_place_of_ours_and_a_removed_one_comes_back() {
    let control = Control::start(&[]).await;
    create(
        &control,
        POLICIES,
        &policy("kept", spec(json!([]), json!([]))),
    )
    .await;
    let newer = json!({"metadata": {"annotations":
        {"policy.networking.k8s.io/bundle-version": "v0.3.0"}}});
    control
        .patch(DEFINITION, MERGE_PATCH, &newer)
        .await
        .expect(200);
    control.get(&format!("{POLICIES}/kept")).await.expect(200);
    let uid = control.get(DEFINITION).await.expect(200)["metadata"]["uid"].clone();
    control.delete(DEFINITION, &json!({})).await.expect(200);
    eventually("the definition is made again, without policies", || async {
        let definition = control.get(DEFINITION).await;
        let list = control.get(POLICIES).await;
        let again = definition.code == 200 && definition.body["metadata"]["uid"] != uid;
        let empty = list.code == 200 && list.body["items"] == json!([]);
        (again && empty).then_some(())
    })
    .await;
}
