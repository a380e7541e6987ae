//! What nodes may, and how anybody learns what they may.

use super::*;
use http::Method;
use kube::Client;
use support::http::{Answer, MERGE_PATCH, send};

const SHOP: &str = "/api/v1/namespaces/shop";

/// A client with a certificate for `user` in `group`.
pub(super) async fn sign(control: &Control, user: &str, group: &str) -> Client {
    let out = control.dir().join(user.replace(':', "-"));
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_naru-control"))
        .args([
            "kubeconfig",
            "--server",
            "https://127.0.0.1",
            "--user",
            user,
        ])
        .args(["--group", group, "--data-dir"])
        .arg(control.dir())
        .arg("--out")
        .arg(&out)
        .status();
    assert!(done.unwrap().success());
    support::client_of(&out, control.port()).await.unwrap()
}

pub(super) async fn ask(client: &Client, method: Method, path: &str, body: &Value) -> Answer {
    let media_type = match method {
        Method::PATCH => MERGE_PATCH,
        _ => "application/json",
    };
    let headers = [("content-type", media_type)];
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    send(client, method, path, &headers, body).await
}

pub(super) async fn get(client: &Client, path: &str) -> Answer {
    ask(client, Method::GET, path, &Value::Null).await
}

/// Two nodes with a pod each; the pod `pK` runs on `nK` as `robotK` and mounts the Secret `sK`.
async fn cluster(control: &Control) {
    control.namespace("shop").await;
    for name in ["s1", "s2", "s3"] {
        let secret = json!({"metadata": {"name": name}});
        create(control, &format!("{SHOP}/secrets"), &secret).await;
    }
    for index in [1, 2] {
        let name = |kind: &str| format!("{kind}{index}");
        let node = json!({"metadata": {"name": name("n")}});
        create(control, "/api/v1/nodes", &node).await;
        let account = json!({"metadata": {"name": name("robot")}});
        create(control, &format!("{SHOP}/serviceaccounts"), &account).await;
        create(control, &format!("{SHOP}/configmaps"), &map(&name("m"))).await;
        let mut pod = pod(&name("p"));
        pod["spec"]["nodeName"] = name("n").into();
        pod["spec"]["serviceAccountName"] = name("robot").into();
        pod["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": name("s")}},
            {"name": "w", "configMap": {"name": name("m")}}]);
        create(control, &format!("{SHOP}/pods"), &pod).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_reads_what_its_pods_name_and_nothing_else() {
    let control = Control::start(&[]).await;
    cluster(&control).await;
    let node = sign(&control, "system:node:n1", "system:nodes").await;
    for (own, foreign) in [
        ("secrets/s1", "secrets/s2"),
        ("configmaps/m1", "configmaps/m2"),
    ] {
        get(&node, &format!("{SHOP}/{own}")).await.expect(200);
        let why = get(&node, &format!("{SHOP}/{foreign}"))
            .await
            .refused(403, "Forbidden");
        assert!(why.contains("nothing to do with node \"n1\""), "{why}");
    }
    get(&node, &format!("{SHOP}/configmaps/kube-root-ca.crt"))
        .await
        .expect(200);
    let selected = |name: &str| format!("{SHOP}/secrets?fieldSelector=metadata.name%3D{name}");
    let list = get(&node, &selected("s1")).await.expect(200);
    assert_eq!(names(&list), ["s1"]);
    for path in [
        selected("s2"),
        selected("s3"),
        format!("{SHOP}/secrets"),
        "/api/v1/secrets".to_owned(),
        "/api/v1/configmaps".to_owned(),
        "/api/v1/secrets?fieldSelector=metadata.name%3Ds1".to_owned(),
        format!("{SHOP}/secrets?watch=1"),
        "/apis/apps/v1/deployments".to_owned(),
    ] {
        let refused = get(&node, &path).await;
        assert_eq!(refused.code, 403, "{path}");
    }
    let watch = format!("{}&watch=1&timeoutSeconds=1", selected("s1"));
    assert_eq!(get(&node, &watch).await.code, 200);
    for path in [
        "/api/v1/pods",
        "/api/v1/nodes",
        "/api/v1/services",
        "/api/v1/namespaces",
        "/apis/discovery.k8s.io/v1/endpointslices",
        "/apis/networking.k8s.io/v1/networkpolicies",
        "/apis/networking.k8s.io/v1/ingresses",
        "/apis/networking.k8s.io/v1/ingressclasses",
        "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
    ] {
        get(&node, path).await.expect(200);
    }
    // What a pod no longer needs is closed again.
    let now = json!({"gracePeriodSeconds": 0});
    control
        .delete(&format!("{SHOP}/pods/p1"), &now)
        .await
        .expect(200);
    let refused = get(&node, &format!("{SHOP}/secrets/s1")).await;
    refused.refused(403, "Forbidden");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_writes_what_is_its_own_and_nothing_else() {
    let control = Control::start(&[]).await;
    cluster(&control).await;
    let node = sign(&control, "system:node:n1", "system:nodes").await;
    let running = json!({"status": {"phase": "Running"}});
    let label = |key: &str| json!({"metadata": {"labels": {key: "x"}}});
    let taint = json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}});
    let lease = |name: &str| json!({"metadata": {"name": name}, "spec": {"holderIdentity": name}});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let named = |name: &str| json!({"metadata": {"name": name}});
    let nodes = "/api/v1/nodes";
    let put = |name: &str| format!("{leases}/{name}");
    let cases = [
        (
            Method::PATCH,
            format!("{SHOP}/pods/p1/status"),
            running.clone(),
            200,
        ),
        (
            Method::PATCH,
            format!("{SHOP}/pods/p2/status"),
            running.clone(),
            403,
        ),
        (Method::PATCH, format!("{SHOP}/pods/p1"), label("a"), 403),
        (Method::DELETE, format!("{SHOP}/pods/p2"), Value::Null, 403),
        (Method::POST, format!("{SHOP}/pods"), pod("mine"), 403),
        (Method::PATCH, format!("{nodes}/n1"), label("a"), 200),
        (
            Method::PATCH,
            format!("{nodes}/n1"),
            label("kubernetes.io/os"),
            200,
        ),
        (
            Method::PATCH,
            format!("{nodes}/n1"),
            label("node-restriction.kubernetes.io/a"),
            403,
        ),
        (Method::PATCH, format!("{nodes}/n1"), taint, 403),
        (
            Method::PATCH,
            format!("{nodes}/n1/status"),
            json!({"status": {}}),
            200,
        ),
        (Method::PATCH, format!("{nodes}/n2"), label("a"), 403),
        (
            Method::PATCH,
            format!("{nodes}/n2/status"),
            json!({"status": {}}),
            403,
        ),
        (Method::POST, nodes.to_owned(), named("n3"), 403),
        (Method::POST, nodes.to_owned(), named("n1"), 409),
        (Method::DELETE, format!("{nodes}/n1"), Value::Null, 403),
        (Method::POST, leases.to_owned(), lease("n2"), 403),
        (Method::POST, leases.to_owned(), lease("n1"), 201),
        (Method::PUT, put("n1"), lease("n1"), 200),
        (Method::PUT, put("n2"), lease("n2"), 403),
        (Method::PATCH, format!("{SHOP}/secrets/s1"), label("a"), 403),
        (Method::POST, format!("{SHOP}/configmaps"), map("mine"), 403),
    ];
    for (method, path, body, code) in cases {
        let answer = ask(&node, method.clone(), &path, &body).await;
        assert_eq!(
            answer.code, code,
            "{method} {path} {body}: {:#}",
            answer.body
        );
    }
    let token = |account: &str, pod: Value| {
        let path = format!("{SHOP}/serviceaccounts/{account}/token");
        (path, json!({"spec": {"boundObjectRef": pod}}))
    };
    let uid = |name: &str| {
        let path = format!("{SHOP}/pods/{name}");
        let control = &control;
        async move { control.get(&path).await.expect(200)["metadata"]["uid"].clone() }
    };
    let own = json!({"kind": "Pod", "apiVersion": "v1", "name": "p1", "uid": uid("p1").await});
    let foreign = json!({"kind": "Pod", "apiVersion": "v1", "name": "p2", "uid": uid("p2").await});
    let vague = json!({"kind": "Pod", "apiVersion": "v1", "name": "p1"});
    for (account, pod, code) in [
        ("robot1", own, 201),
        ("robot1", vague, 403),
        ("robot1", Value::Null, 403),
        ("robot2", foreign, 403),
        ("default", Value::Null, 403),
    ] {
        let (path, request) = token(account, pod);
        let answer = ask(&node, Method::POST, &path, &request).await;
        assert_eq!(answer.code, code, "{request}: {:#}", answer.body);
    }
}

const AUTHORIZATION: &str = "/apis/authorization.k8s.io/v1";

async fn may(client: &Client, kind: &str, spec: Value) -> bool {
    let path = format!("{AUTHORIZATION}/{kind}");
    let review = ask(client, Method::POST, &path, &json!({"spec": spec})).await;
    let review = review.expect(201);
    let allowed = review["status"]["allowed"].as_bool().unwrap();
    assert_eq!(
        allowed,
        review["status"].get("reason").is_none(),
        "{review:#}"
    );
    allowed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reviews_answer_as_requests_would_be_answered() {
    let control = Control::start(&[]).await;
    cluster(&control).await;
    let jane = sign(&control, "jane", "people").await;
    let node = sign(&control, "system:node:n1", "system:nodes").await;
    let secret = |name: &str| {
        json!({"resourceAttributes": {"verb": "get", "resource": "secrets",
        "namespace": "shop", "name": name}})
    };
    let myself = "selfsubjectaccessreviews";
    assert!(may(&control.client, myself, secret("s1")).await);
    assert!(may(&node, myself, secret("s1")).await);
    assert!(!may(&node, myself, secret("s2")).await);
    assert!(!may(&jane, myself, secret("s1")).await);
    let version = json!({"nonResourceAttributes": {"verb": "get", "path": "/version"}});
    assert!(may(&jane, myself, version).await);
    // Only administrators ask about others.
    let mut about = secret("s1");
    about["user"] = "system:node:n1".into();
    about["groups"] = json!(["system:nodes"]);
    assert!(may(&control.client, "subjectaccessreviews", about.clone()).await);
    let local = format!("{AUTHORIZATION}/namespaces/shop/localsubjectaccessreviews");
    let local = control
        .post(&local, &json!({"spec": about}))
        .await
        .expect(201);
    assert_eq!(local["status"]["allowed"], true);
    let others = format!("{AUTHORIZATION}/subjectaccessreviews");
    let refused = ask(&jane, Method::POST, &others, &json!({"spec": about})).await;
    refused.refused(403, "Forbidden");
    let path = format!("{AUTHORIZATION}/{myself}");
    let nothing = control.post(&path, &json!({"spec": {}})).await;
    nothing.refused(400, "BadRequest");
    control.get(&path).await.refused(405, "MethodNotAllowed");

    let rules = format!("{AUTHORIZATION}/selfsubjectrulesreviews");
    let spec = json!({"spec": {"namespace": "shop"}});
    let all = control.post(&rules, &spec).await.expect(201);
    assert_eq!(all["status"]["resourceRules"][0]["verbs"], json!(["*"]));
    assert_eq!(all["status"]["incomplete"], false);
    let some = ask(&node, Method::POST, &rules, &spec).await.expect(201);
    assert_eq!(some["status"]["incomplete"], true);

    let who = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let who = ask(&jane, Method::POST, who, &json!({})).await.expect(201);
    let info = &who["status"]["userInfo"];
    assert_eq!(info["username"], "jane");
    assert_eq!(info["groups"], json!(["people", "system:authenticated"]));
}
