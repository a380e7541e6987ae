//! Evictions and the budgets that they ask.

use super::*;
use futures_util::future::join_all;
use support::eventually;
use support::http::{Answer, MERGE_PATCH};

const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
const REFUSAL: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// A pod that runs on a node without a machine: nobody ends it within its grace period.
async fn running(control: &Control, name: &str, ready: bool) -> Value {
    let mut object = pod(name);
    object["metadata"]["labels"] = json!({"app": "web"});
    object["spec"]["nodeName"] = "n1".into();
    create(control, PODS, &object).await;
    let ready = if ready { "True" } else { "False" };
    told(control, name, "Running", ready).await
}

async fn told(control: &Control, name: &str, phase: &str, ready: &str) -> Value {
    let status = json!({"status": {"phase": phase, "conditions": [{"type": "Ready",
        "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    let path = format!("{PODS}/{name}/status");
    control.patch(&path, MERGE_PATCH, &status).await.expect(200)
}

async fn node(control: &Control) {
    let node = json!({"metadata": {"name": "n1"}});
    create(control, "/api/v1/nodes", &node).await;
}

fn budget(name: &str, spec: Value) -> Value {
    let mut budget = json!({"metadata": {"name": name}, "spec": spec});
    budget["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
    budget
}

/// Waits until the controller says of a budget: healthy, desired, expected, allowed.
async fn counted(control: &Control, name: &str, want: [i64; 4]) -> Value {
    eventually(&format!("{name} is counted as {want:?}"), || async {
        let path = format!("{BUDGETS}/{name}");
        let budget = control.get(&path).await.expect(200);
        let status = &budget["status"];
        let counts = [
            "currentHealthy",
            "desiredHealthy",
            "expectedPods",
            "disruptionsAllowed",
        ];
        let have = counts.map(|count| status[count].as_i64().unwrap_or(-1));
        let seen = status["observedGeneration"] == budget["metadata"]["generation"];
        (seen && have == want).then_some(budget)
    })
    .await
}

async fn evict(control: &Control, name: &str, options: Value) -> Answer {
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": name, "namespace": "default"}, "deleteOptions": options});
    let path = format!("{PODS}/{name}/eviction");
    control.post(&path, &eviction).await
}

fn is_going(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_string()
}

async fn going(control: &Control) -> usize {
    let pods = control.get(PODS).await.expect(200);
    let pods = pods["items"].as_array().unwrap().clone();
    pods.iter().filter(|pod| is_going(pod)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_spent_and_then_refuses_in_words() {
    let control = Control::start(&[]).await;
    node(&control).await;
    for name in ["a", "b", "c"] {
        running(&control, name, true).await;
    }
    create(
        &control,
        BUDGETS,
        &budget("web", json!({"minAvailable": 2})),
    )
    .await;
    let before = counted(&control, "web", [3, 2, 3, 1]).await;
    let condition = &before["status"]["conditions"][0];
    assert_eq!(
        (
            &condition["type"],
            &condition["status"],
            &condition["reason"]
        ),
        (
            &json!("DisruptionAllowed"),
            &json!("True"),
            &json!("SufficientPods")
        )
    );
    // Neither a try nor a refused precondition costs anything.
    let dry = evict(&control, "a", json!({"dryRun": ["All"]})).await;
    dry.expect(201);
    let other = json!({"preconditions": {"uid": "another"}});
    evict(&control, "a", other).await.refused(409, "Conflict");
    let path = format!("{BUDGETS}/web");
    assert_eq!(control.get(&path).await.expect(200), before);
    assert_eq!(going(&control).await, 0);
    let done = evict(&control, "a", json!({})).await.expect(201);
    assert_eq!(
        (&done["status"], &done["code"]),
        (&json!("Success"), &json!(201))
    );
    let gone = control.get(&format!("{PODS}/a")).await.expect(200);
    assert!(is_going(&gone));
    let conditions = gone["status"]["conditions"].as_array().unwrap();
    let told = conditions
        .iter()
        .find(|it| it["type"] == "DisruptionTarget");
    let told = told.expect("it is told");
    assert_eq!(
        (&told["status"], &told["reason"], &told["message"]),
        (
            &json!("True"),
            &json!("EvictionByEvictionAPI"),
            &json!("Eviction API: evicting")
        )
    );
    let after = counted(&control, "web", [2, 2, 3, 0]).await;
    assert_eq!(
        after["status"]["conditions"][0]["reason"],
        "InsufficientPods"
    );
    let refused = evict(&control, "b", json!({})).await;
    assert_eq!(refused.headers.get("retry-after"), None);
    let cause = json!([{"reason": "DisruptionBudget",
        "message": "The disruption budget web needs 2 healthy pods and has 2 currently"}]);
    assert_eq!(refused.body["details"]["causes"], cause);
    assert_eq!(refused.refused(429, "TooManyRequests"), REFUSAL);
    // Who goes already disrupts nobody.
    evict(&control, "a", json!({"gracePeriodSeconds": 0}))
        .await
        .expect(201);
    let after = counted(&control, "web", [2, 2, 2, 0]).await;
    assert_eq!(after["status"].get("disruptedPods"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_evictions_never_take_more_than_there_is() {
    let control = Control::start(&[]).await;
    node(&control).await;
    let names: Vec<String> = (0..64).map(|index| format!("p{index}")).collect();
    for name in &names {
        running(&control, name, true).await;
    }
    create(
        &control,
        BUDGETS,
        &budget("web", json!({"minAvailable": 61})),
    )
    .await;
    counted(&control, "web", [64, 61, 64, 3]).await;
    let all = join_all(names.iter().map(|name| evict(&control, name, json!({})))).await;
    let codes: Vec<u16> = all.iter().map(|it| it.code).collect();
    let count = |code| codes.iter().filter(|it| **it == code).count();
    assert_eq!((count(201), count(429)), (3, 61), "{codes:?}");
    assert_eq!(going(&control).await, 3);
    counted(&control, "web", [61, 61, 64, 0]).await;
    // And where all may go, all go.
    let fewer = json!({"spec": {"minAvailable": 0}});
    let path = format!("{BUDGETS}/web");
    control.patch(&path, MERGE_PATCH, &fewer).await.expect(200);
    counted(&control, "web", [61, 0, 64, 61]).await;
    let all = join_all(names.iter().map(|name| evict(&control, name, json!({})))).await;
    all.iter().for_each(|it| assert_eq!(it.code, 201));
    assert_eq!(going(&control).await, 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_do_not_run_ask_nobody_and_two_budgets_are_one_too_many() {
    let control = Control::start(&[]).await;
    node(&control).await;
    for name in ["a", "done"] {
        running(&control, name, true).await;
    }
    told(&control, "done", "Succeeded", "False").await;
    let mut waiting = alone("waiting");
    waiting["metadata"]["labels"] = json!({"app": "web"});
    create(&control, PODS, &waiting).await;
    let strict = json!({"minAvailable": 3});
    create(&control, BUDGETS, &budget("one", strict.clone())).await;
    counted(&control, "one", [1, 3, 3, 0]).await;
    for name in ["waiting", "done"] {
        evict(&control, name, json!({})).await.expect(201);
        let gone = control.get(&format!("{PODS}/{name}")).await;
        gone.refused(404, "NotFound");
    }
    create(&control, BUDGETS, &budget("two", strict)).await;
    let two = evict(&control, "a", json!({})).await;
    assert_eq!(
        two.refused(500, ""),
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not \
         support."
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unready_pods_go_by_the_policy_of_their_budget() {
    let control = Control::start(&[]).await;
    node(&control).await;
    running(&control, "ready", true).await;
    running(&control, "unready", false).await;
    create(
        &control,
        BUDGETS,
        &budget("web", json!({"minAvailable": 2})),
    )
    .await;
    counted(&control, "web", [1, 2, 2, 0]).await;
    evict(&control, "unready", json!({}))
        .await
        .refused(429, "TooManyRequests");
    let policy = json!({"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}});
    let path = format!("{BUDGETS}/web");
    control.patch(&path, MERGE_PATCH, &policy).await.expect(200);
    evict(&control, "ready", json!({}))
        .await
        .refused(429, "TooManyRequests");
    evict(&control, "unready", json!({})).await.expect(201);
    // As many are healthy as must be: the other policy lets an unready one go, too.
    running(&control, "late", false).await;
    let policy = json!({"spec": {"unhealthyPodEvictionPolicy": null, "minAvailable": 1}});
    control.patch(&path, MERGE_PATCH, &policy).await.expect(200);
    counted(&control, "web", [1, 1, 3, 0]).await;
    evict(&control, "late", json!({})).await.expect(201);
}

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

/// Lets nobody write what was counted, the controller included.
async fn freeze(control: &Control) {
    let policy = json!({"metadata": {"name": "frozen"}, "spec": {
        "validations": [{"expression": "false"}],
        "matchConstraints": {"resourceRules": [{"operations": ["UPDATE"], "apiGroups": ["policy"],
            "apiVersions": ["v1"], "resources": ["poddisruptionbudgets/status"]}]}}});
    let policies = format!("{ADMISSION}/validatingadmissionpolicies");
    create(control, &policies, &policy).await;
    let binding = json!({"metadata": {"name": "frozen"},
        "spec": {"policyName": "frozen", "validationActions": ["Deny"]}});
    let bindings = format!("{ADMISSION}/validatingadmissionpolicybindings");
    create(control, &bindings, &binding).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_counted_asks_for_patience_and_what_was_spent_outlives_the_server() {
    let mut control = Control::start(&[]).await;
    node(&control).await;
    for name in ["a", "b"] {
        running(&control, name, true).await;
    }
    create(
        &control,
        BUDGETS,
        &budget("web", json!({"minAvailable": 1})),
    )
    .await;
    counted(&control, "web", [2, 1, 2, 1]).await;
    freeze(&control).await;
    evict(&control, "a", json!({})).await.expect(201);
    control.restart().await;
    let path = format!("{BUDGETS}/web");
    let noted = control.get(&path).await.expect(200);
    assert_eq!(noted["status"]["disruptionsAllowed"], 0);
    assert!(noted["status"]["disruptedPods"]["a"].is_string());
    let refused = evict(&control, "b", json!({})).await;
    assert_eq!(refused.refused(429, "TooManyRequests"), REFUSAL);
    let fewer = json!({"spec": {"minAvailable": 0}});
    control.patch(&path, MERGE_PATCH, &fewer).await.expect(200);
    let early = evict(&control, "b", json!({})).await;
    assert_eq!(early.headers["retry-after"], "10");
    assert_eq!(early.body["details"]["retryAfterSeconds"], 10);
    let cause = &early.body["details"]["causes"][0]["message"];
    assert_eq!(
        cause,
        "The disruption budget web is still being processed by the server."
    );
    assert_eq!(early.refused(429, "TooManyRequests"), REFUSAL);
    let binding = format!("{ADMISSION}/validatingadmissionpolicybindings/frozen");
    control.delete(&binding, &json!({})).await.expect(200);
    let after = counted(&control, "web", [1, 0, 2, 1]).await;
    assert_eq!(after["status"].get("disruptedPods"), None);
    evict(&control, "b", json!({})).await.expect(201);
}

/// Two ready pods, `NAME-0` and `NAME-1`, that this object controls.
async fn controlled(control: &Control, api: &str, kind: &str, owner: &Value) {
    let meta = &owner["metadata"];
    let name = meta["name"].as_str().unwrap();
    for index in 0..2 {
        let mut object = pod(&format!("{name}-{index}"));
        object["metadata"]["labels"] = json!({"app": name});
        object["metadata"]["ownerReferences"] = json!([{"apiVersion": api, "kind": kind,
            "name": name, "uid": meta["uid"], "controller": true}]);
        object["spec"]["nodeName"] = "n1".into();
        create(control, PODS, &object).await;
        told(control, &format!("{name}-{index}"), "Running", "True").await;
    }
}

fn half(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"maxUnavailable": "50%",
        "selector": {"matchLabels": {"app": name}}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_are_of_what_the_pods_controllers_want_of_whatever_kind() {
    let control = Control::start(&[]).await;
    node(&control).await;
    let set = json!({"metadata": {"name": "set"}, "spec": {"replicas": 3, "serviceName": "s",
        "selector": {"matchLabels": {"app": "set"}},
        "template": {"metadata": {"labels": {"app": "set"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let sets = "/apis/apps/v1/namespaces/default/statefulsets";
    let set = create(&control, sets, &set).await;
    controlled(&control, "apps/v1", "StatefulSet", &set).await;
    create(&control, BUDGETS, &half("set")).await;
    counted(&control, "set", [2, 1, 3, 1]).await;
    // A custom kind with a scale of its own.
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({"metadata": {"name": "boats.naru.test"}, "spec": {
        "group": "naru.test", "scope": "Namespaced", "names": {"plural": "boats", "kind": "Boat"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.seats",
                "statusReplicasPath": ".status.seats"}}}]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    create(&control, definitions, &definition).await;
    let boats = "/apis/naru.test/v1/namespaces/default/boats";
    let boat = json!({"apiVersion": "naru.test/v1", "kind": "Boat", "metadata": {"name": "boat"},
        "spec": {"seats": 8}});
    let boat = eventually("the kind is served", || async {
        let made = control.post(boats, &boat).await;
        (made.code == 201).then_some(made.body)
    })
    .await;
    controlled(&control, "naru.test/v1", "Boat", &boat).await;
    create(&control, BUDGETS, &half("boat")).await;
    counted(&control, "boat", [2, 4, 8, 0]).await;
    // One that has none: nobody may go, and it is said why.
    let map = create(&control, MAPS, &map("map")).await;
    controlled(&control, "v1", "ConfigMap", &map).await;
    let made = control.post(BUDGETS, &half("map")).await;
    assert_eq!(made.warnings(), Vec::<String>::new());
    made.expect(201);
    let why = eventually("the failure is said", || async {
        let budget = control.get(&format!("{BUDGETS}/map")).await.expect(200);
        let condition = &budget["status"]["conditions"][0];
        let failed = condition["reason"] == "SyncFailed";
        failed.then(|| condition["message"].as_str().unwrap().to_owned())
    });
    assert_eq!(
        why.await,
        "configmaps does not implement the scale subresource"
    );
    eventually("an event says it, too", || async {
        let events = control.get("/api/v1/namespaces/default/events").await;
        let events = events.expect(200)["items"].as_array().unwrap().clone();
        let told = |it: &Value| {
            it["reason"] == "CalculateExpectedPodCountFailed"
                && it["involvedObject"]["name"] == "map"
        };
        events.iter().any(told).then_some(())
    })
    .await;
}
