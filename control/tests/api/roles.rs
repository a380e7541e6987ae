//! Roles and bindings, impersonation, and tokens.

use super::rights::{ask, get, sign};
use super::*;
use http::Method;
use kube::Client;
use support::eventually;
use support::http::{MERGE_PATCH, send};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn role(name: &str, rules: Value) -> Value {
    json!({"metadata": {"name": name}, "rules": rules})
}

fn binding(name: &str, kind: &str, role: &str, subject: Value) -> Value {
    json!({"metadata": {"name": name}, "subjects": [subject],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}})
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name})
}

fn in_default(plural: &str) -> String {
    format!("{RBAC}/namespaces/default/{plural}")
}

/// The rules of a ClusterRole, as text.
async fn rules(control: &Control, name: &str) -> String {
    let role = control.get(&format!("{RBAC}/clusterroles/{name}")).await;
    role.expect(200)["rules"].to_string()
}

/// Waits until a ClusterRole has gathered its rules.
async fn gathered(control: &Control, name: &str) {
    eventually("the role has gathered its rules", || async {
        (rules(control, name).await.len() > "null".len()).then_some(())
    })
    .await;
}

async fn post(client: &Client, path: &str, object: &Value) -> support::http::Answer {
    ask(client, Method::POST, path, object).await
}

#[tokio::test]
async fn a_role_grants_where_it_is_bound_and_until_it_is_not() {
    let control = Control::start(&[]).await;
    let jane = sign(&control, "jane", "people").await;
    get(&jane, PODS).await.refused(403, "Forbidden");
    let rules = json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]);
    create(&control, &in_default("roles"), &role("reader", rules)).await;
    let bound = binding("reader", "Role", "reader", user("jane"));
    create(&control, &in_default("rolebindings"), &bound).await;
    get(&jane, PODS).await.expect(200);
    get(&jane, "/api/v1/pods").await.refused(403, "Forbidden");
    get(&jane, &format!("{PODS}?watch=1"))
        .await
        .refused(403, "Forbidden");
    get(&jane, "/api/v1/namespaces/kube-system/pods")
        .await
        .refused(403, "Forbidden");
    post(&jane, PODS, &pod("a")).await.refused(403, "Forbidden");
    let review = json!({"spec": {"namespace": "default"}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let told = post(&jane, path, &review).await.expect(201);
    let told = told["status"]["resourceRules"].to_string();
    assert!(told.contains("\"pods\""), "{told}");
    let path = format!("{}/reader", in_default("rolebindings"));
    control.delete(&path, &Value::Null).await.expect(200);
    get(&jane, PODS).await.refused(403, "Forbidden");
}

#[tokio::test]
async fn default_roles_gather_what_is_labelled_for_them() {
    let control = Control::start(&[]).await;
    let eve = sign(&control, "eve", "people").await;
    let edits = binding("eve", "ClusterRole", "edit", user("eve"));
    create(&control, &in_default("rolebindings"), &edits).await;
    gathered(&control, "edit").await;
    post(&eve, PODS, &pod("a")).await.expect(201);
    get(&eve, "/api/v1/namespaces/default/secrets")
        .await
        .expect(200);
    get(&eve, &in_default("roles"))
        .await
        .refused(403, "Forbidden");
    let things = "/apis/naru.test/v1/namespaces/default/things";
    get(&eve, things).await.refused(403, "Forbidden");
    let mut more = role(
        "things",
        json!([{"verbs": ["list"], "apiGroups": ["naru.test"],
        "resources": ["things"]}]),
    );
    more["metadata"]["labels"] = json!({"rbac.authorization.k8s.io/aggregate-to-edit": "true"});
    create(&control, &format!("{RBAC}/clusterroles"), &more).await;
    // Permitted before long; there is no such kind.
    eventually("the role has gathered the new one", || async {
        (get(&eve, things).await.code == 404).then_some(())
    })
    .await;
    let path = format!("{RBAC}/clusterroles/edit");
    assert!(rules(&control, "edit").await.contains("naru.test"));
    let other = json!({"rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]});
    control.patch(&path, MERGE_PATCH, &other).await.expect(200);
    eventually("what is not gathered is replaced", || async {
        let rules = rules(&control, "edit").await;
        (rules.contains("naru.test") && !rules.contains("\"*\"")).then_some(())
    })
    .await;
    let path = format!("{RBAC}/clusterroles/things");
    control.delete(&path, &Value::Null).await.expect(200);
    eventually("what is gone is not granted any more", || async {
        (get(&eve, things).await.code == 403).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nobody_grants_more_than_he_has() {
    let control = Control::start(&[]).await;
    let ann = sign(&control, "ann", "people").await;
    let admin = binding("ann", "ClusterRole", "admin", user("ann"));
    create(&control, &in_default("rolebindings"), &admin).await;
    gathered(&control, "admin").await;
    gathered(&control, "edit").await;
    let own = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
    post(&ann, &in_default("roles"), &role("own", own))
        .await
        .expect(201);
    let more = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["nodes"]}]);
    let why = post(&ann, &in_default("roles"), &role("more", more.clone())).await;
    let why = why.refused(403, "Forbidden");
    assert!(why.contains("permissions not currently held"), "{why}");
    let patch = json!({"rules": more});
    let path = format!("{}/own", in_default("roles"));
    ask(&ann, Method::PATCH, &path, &patch)
        .await
        .refused(403, "Forbidden");
    let edit = binding("x", "ClusterRole", "edit", user("bob"));
    post(&ann, &in_default("rolebindings"), &edit)
        .await
        .expect(201);
    let all = binding("y", "ClusterRole", "cluster-admin", user("bob"));
    post(&ann, &in_default("rolebindings"), &all)
        .await
        .refused(403, "Forbidden");
    let may_bind = json!([{"verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["clusterroles"], "resourceNames": ["cluster-admin"]}]);
    create(
        &control,
        &format!("{RBAC}/clusterroles"),
        &role("binder", may_bind),
    )
    .await;
    let binder = binding("binder", "ClusterRole", "binder", user("ann"));
    create(&control, &format!("{RBAC}/clusterrolebindings"), &binder).await;
    post(&ann, &in_default("rolebindings"), &all)
        .await
        .expect(201);
}

#[tokio::test]
async fn being_another_has_to_be_granted() {
    let control = Control::start(&[]).await;
    let joe = sign(&control, "joe", "people").await;
    let headers = [("impersonate-user", "jane")];
    let as_jane =
        |client: Client| async move { send(&client, Method::GET, "/api", &headers, "").await };
    as_jane(joe.clone()).await.refused(403, "Forbidden");
    let rules = json!([{"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"],
        "resourceNames": ["jane"]}]);
    create(
        &control,
        &format!("{RBAC}/clusterroles"),
        &role("be-jane", rules),
    )
    .await;
    let bound = binding("be-jane", "ClusterRole", "be-jane", user("joe"));
    create(&control, &format!("{RBAC}/clusterrolebindings"), &bound).await;
    as_jane(joe.clone()).await.expect(200);
    let headers = [
        ("impersonate-user", "jane"),
        ("impersonate-group", "system:masters"),
    ];
    send(&joe, Method::GET, "/api", &headers, "")
        .await
        .refused(403, "Forbidden");
}

#[tokio::test]
async fn tokens_can_be_reviewed_and_verified_by_others() {
    let control = Control::start(&[]).await;
    let account = json!({"metadata": {"name": "robot"}});
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    create(&control, accounts, &account).await;
    let path = format!("{accounts}/robot/token");
    let request = json!({"spec": {"audiences": ["vault"]}});
    let token = control.post(&path, &request).await.expect(201)["status"]["token"].clone();
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let review = |audience: &str| json!({"spec": {"token": token, "audiences": [audience]}});
    let good = control.post(reviews, &review("vault")).await.expect(201);
    assert_eq!(good["status"]["authenticated"], true);
    assert_eq!(
        good["status"]["user"]["username"],
        "system:serviceaccount:default:robot"
    );
    let bad = control.post(reviews, &review("other")).await.expect(201);
    assert_eq!(bad["status"].get("authenticated"), None);
    let found = control
        .get("/.well-known/openid-configuration")
        .await
        .expect(200);
    assert!(
        found["jwks_uri"]
            .as_str()
            .unwrap()
            .ends_with("/openid/v1/jwks")
    );
    let keys = control.get("/openid/v1/jwks").await.expect(200);
    assert_eq!(
        (&keys["keys"][0]["kty"], &keys["keys"][0]["crv"]),
        (&json!("EC"), &json!("P-256"))
    );
    assert_eq!(keys["keys"][0]["x"].as_str().unwrap().len(), 43);
}
