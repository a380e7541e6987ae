//! The objects that every cluster has, and what follows from them and from the server's flags.

use super::*;

#[tokio::test]
async fn every_cluster_has_the_objects_of_kubernetes_and_keeps_them() {
    let control = Control::start(&[]).await;
    let all = control.get(&schemas("")).await.expect(200);
    let mut found = names(&all);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "catch-all",
            "exempt",
            "global-default",
            "kube-controller-manager",
            "kube-scheduler",
            "kube-system-service-accounts",
            "probes",
            "service-accounts",
            "system-leader-election",
            "system-node-high",
            "system-nodes"
        ]
    );
    let all = control.get(&levels("")).await.expect(200);
    let mut found = names(&all);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "catch-all",
            "exempt",
            "global-default",
            "leader-election",
            "node-high",
            "system",
            "workload-high",
            "workload-low"
        ]
    );
    // The mandatory ones cannot be changed, the others only if their annotation says so.
    let more = json!({"spec": {"limited": {"nominalConcurrencyShares": 77}}});
    let why = control
        .patch(&levels("catch-all"), MERGE_PATCH, &more)
        .await;
    let why = why.refused(422, "Invalid");
    assert!(
        why.contains("spec of 'catch-all' must equal the fixed value"),
        "{why}"
    );
    let mut own = more.clone();
    own["metadata"] = json!({"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}});
    control
        .patch(&levels("workload-low"), MERGE_PATCH, &own)
        .await
        .expect(200);
    control
        .patch(&levels("system"), MERGE_PATCH, &more)
        .await
        .expect(200);
    for path in [schemas("catch-all"), levels("exempt"), levels("node-high")] {
        control.delete(&path, &Value::Null).await.expect(200);
    }
    let shares = async |name: &str| {
        let level = control.get(&levels(name)).await.expect(200);
        level["spec"]["limited"]["nominalConcurrencyShares"].as_u64()
    };
    eventually("what was deleted and changed is as it was", || async {
        let there = async |path: String| control.get(&path).await.code == 200;
        let all = there(schemas("catch-all")).await
            && there(levels("exempt")).await
            && there(levels("node-high")).await;
        (all && shares("system").await == Some(30)).then_some(())
    })
    .await;
    assert_eq!(shares("workload-low").await, Some(77));
}

#[tokio::test]
async fn an_answer_says_by_which_schema_and_level_it_came() {
    let control = Control::start(&[]).await;
    permit(&control).await;
    let account = "system:serviceaccount:kube-system:dns";
    for (user, schema, level) in [
        ("anna", "global-default", "global-default"),
        ("system:kube-scheduler", "kube-scheduler", "workload-high"),
        (account, "kube-system-service-accounts", "workload-high"),
    ] {
        let client = control.client_as(user).await;
        belongs(&control, &client, schema, level).await;
    }
    belongs(&control, &control.client, "exempt", "exempt").await;
    // Refusals say it too.
    let anna = control.client_as("anna").await;
    let refused = get(&anna, "/api/v1/secrets").await;
    assert_eq!(refused.code, 403);
    assert!(refused.headers.contains_key(SCHEMA) && refused.headers.contains_key(LEVEL));
    let unknown = control.shown(json!({})).await;
    let refused = get(&unknown, MAPS).await;
    assert_eq!(refused.code, 401);
    assert!(refused.headers.contains_key(SCHEMA));
}

#[tokio::test]
async fn a_changed_schema_acts_without_a_restart() {
    let control = Control::start(&[]).await;
    permit(&control).await;
    let anna = control.client_as("anna").await;
    belongs(&control, &anna, "global-default", "global-default").await;
    create(
        &control,
        &schemas(""),
        &schema("mine", "system", 60, &["anna"]),
    )
    .await;
    belongs(&control, &anna, "mine", "system").await;
    let other = json!({"spec": {"priorityLevelConfiguration": {"name": "workload-low"}}});
    control
        .patch(&schemas("mine"), MERGE_PATCH, &other)
        .await
        .expect(200);
    belongs(&control, &anna, "mine", "workload-low").await;
    // One that leads nowhere says so and is passed over.
    let nowhere = json!({"spec": {"priorityLevelConfiguration": {"name": "nowhere"}}});
    control
        .patch(&schemas("mine"), MERGE_PATCH, &nowhere)
        .await
        .expect(200);
    belongs(&control, &anna, "global-default", "global-default").await;
    let dangling = async |status: &str, reason: &str| {
        eventually("the condition", || async {
            let schema = control.get(&schemas("mine")).await.expect(200);
            let condition = &schema["status"]["conditions"][0];
            let is = condition["type"] == "Dangling" && condition["status"] == status;
            (is && condition["reason"] == reason).then_some(())
        })
        .await;
    };
    dangling("True", "NotFound").await;
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = control
        .send(Method::GET, &schemas("mine"), &accept, "")
        .await;
    let table = table.expect(200);
    let columns = table["columnDefinitions"].as_array().unwrap().iter();
    let columns: Vec<_> = columns.map(|it| it["name"].as_str().unwrap()).collect();
    let expected = [
        "Name",
        "PriorityLevel",
        "MatchingPrecedence",
        "DistinguisherMethod",
        "Age",
        "MissingPL",
    ];
    assert_eq!(columns, expected);
    let cells = &table["rows"][0]["cells"];
    assert_eq!((&cells[1], &cells[5]), (&json!("nowhere"), &json!("True")));
    let reject = json!({"type": "Reject"});
    create(&control, &levels(""), &level("nowhere", 5, &reject)).await;
    dangling("False", "Found").await;
    belongs(&control, &anna, "mine", "nowhere").await;
}

#[tokio::test]
async fn the_control_planes_own_requests_are_told_from_others() {
    let (control, _, _) = shop(&queue(8, 1, 5)).await;
    let holder = Slow::start(&control, "anna", "").await;
    counts(&control, "shop", 1, 0).await;
    // The namespace controller and the account controller do their work meanwhile.
    control.namespace("new").await;
    let path = "/api/v1/namespaces/new/serviceaccounts/default";
    eventually("the account is made", || async {
        (control.get(path).await.code == 200).then_some(())
    })
    .await;
    let figures = figures(&control, "workload-high").await;
    assert_ne!(figures["DispatchedRequests"], "0");
    assert_eq!(holder.release().await, 201);
}

#[tokio::test]
async fn without_fairness_there_are_two_plain_limits() {
    let control = Control::start(&[
        "--enable-priority-and-fairness=false",
        "--max-requests-inflight=0",
        "--max-mutating-requests-inflight=1",
    ])
    .await;
    permit(&control).await;
    let anna = control.client_as("anna").await;
    // The control plane's own parts write now and then, too.
    let holder = eventually("there is a place", || Slow::awaited(&control, "anna")).await;
    let refused = ask(&anna, Method::POST, MAPS, &map("more")).await;
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(!refused.headers.contains_key(SCHEMA));
    refused.refused(429, "TooManyRequests");
    get(&anna, MAPS).await.expect(200);
    create(&control, MAPS, &map("by-admin")).await;
    assert_eq!(holder.release().await, 201);
    assert_eq!(get(&control.client, &schemas("exempt")).await.code, 404);
}

#[test]
fn seats_that_add_up_to_nothing_are_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_naru-control"))
        .args(["serve", "--advertise-address", "192.0.2.1"])
        .args([
            "--max-requests-inflight=0",
            "--max-mutating-requests-inflight=0",
        ])
        .arg("--data-dir")
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(!done.status.success());
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("must add up to something positive"), "{said}");
}
