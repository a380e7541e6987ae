//! Who somebody is beyond name and groups, from each way of being known to each who hears of it.

use super::rights::{ask, sign};
use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use kube::Client;
use support::eventually;
use support::hooks::{Hook, Say};
use support::http::{MERGE_PATCH, send};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const MYSELF: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
pub(super) const CSRS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";
const JSON: (&str, &str) = ("content-type", "application/json");

/// What the server says of who asks.
pub(super) async fn myself(client: &Client, headers: &[(&str, &str)]) -> Value {
    let headers: Vec<_> = headers.iter().copied().chain([JSON]).collect();
    let review = send(client, Method::POST, MYSELF, &headers, "{}").await;
    review.expect(201)["status"]["userInfo"].clone()
}

/// Lets the user `name` do this in the whole cluster.
pub(super) async fn grant(control: &Control, name: &str, rules: Value) {
    let role = json!({"metadata": {"name": name}, "rules": rules});
    create(control, &format!("{RBAC}/clusterroles"), &role).await;
    let group = "rbac.authorization.k8s.io";
    let binding = json!({"metadata": {"name": name},
        "subjects": [{"kind": "User", "apiGroup": group, "name": name}],
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name}});
    create(control, &format!("{RBAC}/clusterrolebindings"), &binding).await;
}

#[tokio::test]
async fn each_credential_says_what_it_knows_of_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, "abc,jane,u-7,\"dev\"\n").unwrap();
    let control = Control::start(&["--token-file", file.to_str().unwrap()]).await;

    let admin = myself(&control.client, &[]).await;
    let shown = admin["extra"][CREDENTIAL][0].as_str().unwrap();
    let (kind, print) = shown.split_once('=').unwrap();
    assert_eq!((kind, print.len()), ("X509SHA256", 64), "{admin}");

    let jane = myself(&control.bearer("abc").await, &[]).await;
    assert_eq!(
        jane,
        json!({"username": "jane", "uid": "u-7", "groups": ["dev", "system:authenticated"]})
    );

    let account = create(
        &control,
        "/api/v1/namespaces/default/serviceaccounts",
        &json!({"metadata": {"name": "robot"}}),
    )
    .await;
    let node = create(
        &control,
        "/api/v1/nodes",
        &json!({"metadata": {"name": "n1"}}),
    )
    .await;
    let mut bound = pod("p1");
    bound["spec"]["nodeName"] = "n1".into();
    bound["spec"]["serviceAccountName"] = "robot".into();
    let bound = create(&control, "/api/v1/namespaces/default/pods", &bound).await;
    let path = "/api/v1/namespaces/default/serviceaccounts/robot/token";
    let wanted = json!({"spec": {"audiences": [],
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p1"}}});
    let token = control.post(path, &wanted).await.expect(201)["status"]["token"].clone();
    let token = token.as_str().unwrap();
    let robot = myself(&control.bearer(token).await, &[]).await;
    assert_eq!(robot["username"], "system:serviceaccount:default:robot");
    assert_eq!(robot["uid"], account["metadata"]["uid"]);
    let key = |name: &str| &robot["extra"][format!("authentication.kubernetes.io/{name}")];
    assert_eq!(key("pod-name"), &json!(["p1"]));
    assert_eq!(key("pod-uid"), &json!([bound["metadata"]["uid"]]));
    assert_eq!(key("node-name"), &json!(["n1"]));
    assert_eq!(key("node-uid"), &json!([node["metadata"]["uid"]]));
    let id = key("credential-id")[0].as_str().unwrap();
    assert!(id.starts_with("JTI="), "{id}");

    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let review = |token: &str, audience: &str| {
        json!({"spec": {"token": token,
        "audiences": [audience, "https://kubernetes.default.svc.cluster.local"]}})
    };
    let reviewed = control.post(reviews, &review(token, "other")).await;
    let status = reviewed.expect(201)["status"].clone();
    assert_eq!(status["user"], robot);
    assert_eq!(
        status["audiences"],
        json!(["https://kubernetes.default.svc.cluster.local"])
    );
    // Tokens that name no audience are for this server alone.
    let reviewed = control.post(reviews, &review("abc", "other")).await;
    let status = reviewed.expect(201)["status"].clone();
    assert_eq!(
        (&status["user"], &status["audiences"]),
        (
            &jane,
            &json!(["https://kubernetes.default.svc.cluster.local"])
        )
    );
    let other = json!({"spec": {"token": "abc", "audiences": ["other"]}});
    let status = control.post(reviews, &other).await.expect(201)["status"].clone();
    assert_eq!(status.get("authenticated"), None, "{status}");
}

#[tokio::test]
async fn every_part_of_another_is_granted_by_itself() {
    let control = Control::start(&[]).await;
    let joe = sign(&control, "joe", "people").await;
    let be = |resources: Value, group: &str, names: Value| {
        json!({"verbs": ["impersonate"], "apiGroups": [group], "resources": resources,
            "resourceNames": names})
    };
    let identities = "authentication.k8s.io";
    let rules = json!([
        be(json!(["users", "groups"]), "", json!(["jane", "dev"])),
        be(json!(["uids"]), identities, json!(["u-1"])),
        be(
            json!(["userextras/naru.test/scopes"]),
            identities,
            json!(["read"])
        ),
    ]);
    grant(&control, "joe", rules).await;
    let all = [
        ("impersonate-user", "jane"),
        ("impersonate-uid", "u-1"),
        ("impersonate-group", "dev"),
        ("Impersonate-Extra-Naru.test%2FScopes", "read"),
    ];
    assert_eq!(
        myself(&joe, &all).await,
        json!({"username": "jane", "uid": "u-1", "groups": ["dev", "system:authenticated"],
            "extra": {"naru.test/scopes": ["read"]}})
    );
    for (place, header, value, what) in [
        (
            1,
            "impersonate-uid",
            "u-2",
            "uids.authentication.k8s.io \"u-2\" is forbidden: User \"joe\" cannot impersonate \
             resource \"uids\" in API group \"authentication.k8s.io\" at the cluster scope",
        ),
        (
            3,
            "impersonate-extra-naru.test%2fscopes",
            "write",
            "userextras.authentication.k8s.io \"write\" is forbidden: User \"joe\" cannot \
             impersonate resource \"userextras/naru.test/scopes\" in API group \
             \"authentication.k8s.io\" at the cluster scope",
        ),
        (
            3,
            "impersonate-extra-other",
            "read",
            "userextras.authentication.k8s.io \"read\" is forbidden: User \"joe\" cannot \
             impersonate resource \"userextras/other\" in API group \"authentication.k8s.io\" at \
             the cluster scope",
        ),
    ] {
        let mut said = all;
        said[place] = (header, value);
        let why = send(&joe, Method::GET, "/api", &said, "").await;
        assert_eq!(why.refused(403, "Forbidden"), what);
    }
    let why = send(&joe, Method::GET, "/api", &all[1..2], "").await;
    let why = why.refused(400, "BadRequest");
    assert_eq!(why, "requested [\"uid\"] without impersonating a user");
}

#[tokio::test]
async fn who_may_be_an_account_may_not_choose_its_groups() {
    let control = Control::start(&[]).await;
    let joe = sign(&control, "joe", "people").await;
    let rules = json!([{"verbs": ["impersonate"], "apiGroups": [""],
        "resources": ["serviceaccounts"]}]);
    grant(&control, "joe", rules).await;
    let robot = ("impersonate-user", "system:serviceaccount:default:robot");
    let groups = myself(&joe, &[robot]).await["groups"].clone();
    assert_eq!(
        groups,
        json!([
            "system:serviceaccounts",
            "system:serviceaccounts:default",
            "system:authenticated"
        ])
    );
    let masters = [robot, ("impersonate-group", "system:masters")];
    let why = send(&joe, Method::GET, "/api/v1/secrets", &masters, "").await;
    let why = why.refused(403, "Forbidden");
    assert!(
        why.starts_with("groups \"system:masters\" is forbidden"),
        "{why}"
    );
}

const POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: Metadata
  verbs: [create]
  resources: [{resources: [configmaps]}]
  omitStages: [RequestReceived]
- level: None
";

#[tokio::test]
async fn hooks_policies_and_the_audit_log_hear_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (policy, log) = (folder.path().join("policy"), folder.path().join("log"));
    std::fs::write(&policy, POLICY).unwrap();
    let (policy, log) = (policy.display().to_string(), log.display().to_string());
    let control = Control::start(&["--audit-policy-file", &policy, "--audit-log-path", &log]).await;
    let group = "/apis/admissionregistration.k8s.io/v1";
    let rules = json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
        "resources": ["configmaps"]}]);
    let hook = Hook::start(|_| Say::Response(json!({"allowed": true}))).await;
    let registered = json!({"metadata": {"name": "who"}, "webhooks": [{"name": "who.naru.test",
        "clientConfig": hook.config(), "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": rules, "namespaceSelector": {"matchLabels":
            {"kubernetes.io/metadata.name": "default"}}}]});
    create(
        &control,
        &format!("{group}/validatingwebhookconfigurations"),
        &registered,
    )
    .await;
    let expression = "!has(request.userInfo.extra) || !('scopes' in request.userInfo.extra) || \
         (request.userInfo.uid == 'u-1' && 'write' in request.userInfo.extra['scopes'])";
    let policy = json!({"metadata": {"name": "scoped"}, "spec": {
        "matchConstraints": {"resourceRules": rules},
        "validations": [{"expression": expression, "message": "out of scope"}]}});
    create(
        &control,
        &format!("{group}/validatingadmissionpolicies"),
        &policy,
    )
    .await;
    let binding = json!({"metadata": {"name": "scoped"},
        "spec": {"policyName": "scoped", "validationActions": ["Deny"]}});
    create(
        &control,
        &format!("{group}/validatingadmissionpolicybindings"),
        &binding,
    )
    .await;
    let who = |scope: &'static str| {
        [
            JSON,
            ("impersonate-user", "jane"),
            ("impersonate-group", "system:masters"),
            ("impersonate-uid", "u-1"),
            ("impersonate-extra-scopes", scope),
        ]
    };
    let make = async |name: &str, headers: &[(&str, &str)]| {
        let body = map(name).to_string();
        send(&control.client, Method::POST, MAPS, headers, body).await
    };
    let why = make("one", &who("read")).await.refused(422, "Invalid");
    assert!(why.ends_with("denied request: out of scope"), "{why}");
    make("one", &who("write")).await.expect(201);
    let jane = json!({"username": "jane", "uid": "u-1",
        "groups": ["system:masters", "system:authenticated"], "extra": {"scopes": ["write"]}});
    let seen = hook.seen().into_iter();
    let seen: Vec<Value> = seen.filter(|asked| asked["name"] == "one").collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0]["userInfo"], jane);
    let event = eventually("the event", || async {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
        events
            .filter(|event: &Value| event["responseStatus"]["code"] == 201)
            .find(|event| event["impersonatedUser"]["username"] == "jane")
    })
    .await;
    assert_eq!(event["impersonatedUser"], jane);
    let own = myself(&control.client, &[]).await;
    assert_eq!(event["user"], own);
    assert!(own["extra"][CREDENTIAL].is_array(), "{own}");
}

#[tokio::test]
async fn a_request_for_a_certificate_says_who_made_it() {
    let control = Control::start(&[]).await;
    let pem = "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n";
    let request = json!({"metadata": {"name": "mine"}, "spec": {"request": STANDARD.encode(pem),
        "signerName": "naru.test/any", "usages": ["client auth"], "username": "root",
        "uid": "0", "groups": ["system:masters"], "extra": {"a": ["b"]}}});
    let joe = sign(&control, "joe", "people").await;
    let rules = json!([{"verbs": ["create", "update", "patch"], "apiGroups": ["certificates.k8s.io"],
        "resources": ["certificatesigningrequests"]}]);
    grant(&control, "joe", rules).await;
    let made = ask(&joe, Method::POST, CSRS, &request).await.expect(201);
    let own = myself(&joe, &[]).await;
    assert_eq!(made["spec"]["username"], "joe");
    assert_eq!(made["spec"].get("uid"), None);
    assert_eq!(made["spec"]["groups"], own["groups"]);
    assert_eq!(made["spec"]["extra"], own["extra"]);
    // Another's label on it changes nothing of that, whatever it claims.
    let path = format!("{CSRS}/mine");
    let patch = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"username": "root",
        "groups": null}});
    let patched = control.patch(&path, MERGE_PATCH, &patch).await.expect(200);
    assert_eq!(patched["metadata"]["labels"]["a"], "b");
    assert_eq!(patched["spec"], made["spec"]);
    let mut put = request.clone();
    put["metadata"]["labels"] = json!({"c": "d"});
    let put = control.put(&path, &put).await.expect(200);
    assert_eq!(put["spec"], made["spec"]);
    let other = json!({"spec": {"usages": ["server auth"]}});
    let why = control.patch(&path, MERGE_PATCH, &other).await;
    why.refused(422, "Invalid");
}
