//! Versions that another server serves: a real one of the test's own behind an APIService.

use super::*;
use http::{Method, Request};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use support::eventually;
use support::extension::{Extension, PATH};
use support::http::MERGE_PATCH;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const NAME: &str = "v1.walks.naru.test";
const WALKS: &str = "/apis/walks.naru.test/v1/namespaces/default/walks";

fn registration(extension: &Extension) -> Value {
    json!({"metadata": {"name": NAME}, "spec": {
        "group": "walks.naru.test", "version": "v1", "groupPriorityMinimum": 100,
        "versionPriority": 10, "caBundle": extension.bundle,
        "service": {"namespace": "default", "name": "walks", "port": extension.port}}})
}

/// Status and reason of `Available`, once it has that reason.
async fn available(control: &Control, name: &str, reason: &str) -> Value {
    eventually(&format!("{name} is {reason}"), || async {
        let service = control.get(&format!("{SERVICES}/{name}")).await;
        let condition = service.body.pointer("/status/conditions/0")?.clone();
        (condition["reason"] == reason).then_some(condition)
    })
    .await
}

/// A server, and another one behind it under the name of a Service.
async fn with_walks() -> (Control, Extension) {
    let control = Control::start(&[]).await;
    let extension = Extension::start(&control).await;
    let service = json!({"metadata": {"name": "walks"}, "spec": {"type": "ExternalName",
        "externalName": "localhost"}});
    create(&control, "/api/v1/namespaces/default/services", &service).await;
    create(&control, SERVICES, &registration(&extension)).await;
    let condition = available(&control, NAME, "Passed").await;
    assert_eq!(condition["status"], "True");
    (control, extension)
}

#[tokio::test]
async fn own_groups_have_services_that_are_kept() {
    let control = Control::start(&[]).await;
    for name in [
        "v1.",
        "v1.apps",
        "v2.autoscaling",
        "v1.authorization.k8s.io",
    ] {
        let condition = available(&control, name, "Local").await;
        assert_eq!(condition["status"], "True");
    }
    let path = format!("{SERVICES}/v1.apps");
    let service = control.get(&path).await.expect(200);
    let kept = &service["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"];
    assert_eq!(kept, "onstart");
    assert_eq!(service["spec"]["groupPriorityMinimum"], 17800);
    let patch = json!({"spec": {"groupPriorityMinimum": 1}});
    control.patch(&path, MERGE_PATCH, &patch).await.expect(200);
    eventually("it is set right", || async {
        let service = control.get(&path).await.expect(200);
        (service["spec"]["groupPriorityMinimum"] == 17800).then_some(())
    })
    .await;
    control.delete(&path, &Value::Null).await.expect(200);
    eventually("it is made again", || async {
        (control.get(&path).await.code == 200).then_some(())
    })
    .await;
    let schema = json!({"type": "object"});
    let definition = json!({"metadata": {"name": "boats.naru.test"}, "spec": {
        "group": "naru.test", "scope": "Namespaced", "names": {"plural": "boats", "kind": "Boat"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": schema}}]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    create(&control, definitions, &definition).await;
    available(&control, "v1.naru.test", "Local").await;
    control
        .delete(&format!("{definitions}/boats.naru.test"), &Value::Null)
        .await
        .expect(200);
    eventually("it goes with its kinds", || async {
        let code = control.get(&format!("{SERVICES}/v1.naru.test")).await.code;
        (code == 404).then_some(())
    })
    .await;
}

#[tokio::test]
async fn requests_go_to_the_other_server_with_their_user() {
    let (control, extension) = with_walks().await;
    let spoofed = [("x-remote-user", "root"), ("x-remote-group", "all")];
    let list = control.send(Method::GET, WALKS, &spoofed, "").await;
    let asked = list.expect(200)["asked"].clone();
    assert_eq!(asked["user"], json!(["admin"]));
    assert_eq!(
        asked["groups"],
        json!(["system:masters", "system:authenticated"])
    );
    assert_eq!(asked["authorization"], json!([]));
    let missing = control.get(&format!("{WALKS}/none")).await.expect(404);
    assert_eq!(missing["message"], "no such walk", "its own words");
    // Who may not is refused here.
    let lists = || {
        let seen = extension.seen().into_iter();
        seen.filter(|it| it.ends_with("/walks")).count()
    };
    let seen = lists();
    let jane = [("impersonate-user", "jane")];
    let refused = control.send(Method::GET, WALKS, &jane, "").await;
    let why = refused.refused(403, "Forbidden");
    assert!(why.contains("cannot list resource \"walks\""), "{why}");
    assert_eq!(lists(), seen);
    let role = json!({"metadata": {"name": "walker"}, "rules": [{"verbs": ["list"],
        "apiGroups": ["walks.naru.test"], "resources": ["walks"]}]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    create(&control, &format!("{rbac}/clusterroles"), &role).await;
    let binding = json!({"metadata": {"name": "walker"}, "subjects": [{"kind": "User",
            "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "walker"}});
    create(&control, &format!("{rbac}/clusterrolebindings"), &binding).await;
    let list = control.send(Method::GET, WALKS, &jane, "").await;
    let asked = list.expect(200)["asked"].clone();
    assert_eq!(asked["user"], json!(["jane"]));
    assert_eq!(asked["groups"], json!(["system:authenticated"]));
    let more = [
        jane[0],
        ("impersonate-uid", "u-1"),
        ("impersonate-extra-naru.test%2Fscopes", "read"),
        ("impersonate-extra-naru.test%2Fscopes", "write"),
    ];
    let list = control.send(Method::GET, WALKS, &more, "").await;
    let asked = list.expect(200)["asked"].clone();
    assert_eq!(asked["uid"], json!(["u-1"]));
    assert_eq!(asked["scopes"], json!(["read", "write"]));
    assert_eq!(asked["impersonation"], json!([]));
}

#[tokio::test]
async fn watches_and_other_protocols_stream_through() {
    let (control, extension) = with_walks().await;
    let mut watch = control
        .watch(&format!("{WALKS}?watch=1"), "application/json")
        .await;
    assert_eq!(watch.brief().await.1, "w1");
    extension.walk();
    assert_eq!(watch.brief().await.1, "w2");
    let request = Request::post(format!("{WALKS}/a/talk"))
        .header("connection", "Upgrade")
        .header("upgrade", "echo")
        .body(Body::empty())
        .unwrap();
    let reply = control.client.send(request).await.unwrap();
    assert_eq!(reply.status(), 101);
    assert_eq!(reply.headers()["upgrade"], "echo");
    let mut stream = TokioIo::new(hyper::upgrade::on(reply).await.unwrap());
    stream.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
}

#[tokio::test]
async fn what_another_server_serves_is_discovered_and_described() {
    let (control, extension) = with_walks().await;
    let groups = control.get("/apis").await.expect(200);
    let groups = groups["groups"].as_array().unwrap();
    assert!(groups.iter().any(|it| it["name"] == "walks.naru.test"));
    let group = control.get("/apis/walks.naru.test").await.expect(200);
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let list = control.get(PATH).await.expect(200);
    assert_eq!(list["resources"][0]["kind"], "Walk");
    let aggregated = async || {
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let all = control
            .send(Method::GET, "/apis", &[("accept", v2)], "")
            .await;
        let all = all.expect(200)["items"].as_array().unwrap().clone();
        let mut found = all.into_iter();
        found
            .find(|it| it["metadata"]["name"] == "walks.naru.test")
            .unwrap()
    };
    let group = aggregated().await;
    assert_eq!(group["versions"][0]["freshness"], "Current");
    let resource = &group["versions"][0]["resources"][0];
    assert_eq!(resource["resource"], "walks");
    assert_eq!(resource["responseKind"]["group"], "walks.naru.test");
    assert_eq!(resource["shortNames"], json!(["wk"]));
    let index = control.get("/openapi/v3").await.expect(200);
    let url = &index["paths"]["apis/walks.naru.test/v1"]["serverRelativeURL"];
    let document = control.get(url.as_str().unwrap()).await.expect(200);
    assert_eq!(document["info"]["title"], "walks");
    let document = control.get("/openapi/v2").await.expect(200);
    assert!(document["paths"].get(WALKS).is_some());
    assert!(document["paths"].get("/other").is_none());
    assert!(
        document["definitions"]
            .get("test.naru.walks.v1.Walk")
            .is_some()
    );
    extension.fail(true);
    let condition = available(&control, NAME, "FailedDiscoveryCheck").await;
    assert_eq!(condition["status"], "False");
    let why = condition["message"].as_str().unwrap();
    assert!(why.starts_with("failing or missing response from https://walks.default.svc:"));
    assert!(why.contains("bad status from"), "{why}");
    let refused = control.get(WALKS).await;
    assert_eq!(
        refused.refused(503, "ServiceUnavailable"),
        "service unavailable"
    );
    assert_eq!(aggregated().await["versions"][0]["freshness"], "Stale");
    // What is the cluster's own goes on: a namespace ends although a group is out of reach.
    control.namespace("short").await;
    control
        .delete("/api/v1/namespaces/short", &Value::Null)
        .await
        .expect(200);
    eventually("the namespace ends", || async {
        let code = control.get("/api/v1/namespaces/short").await.code;
        (code == 404).then_some(())
    })
    .await;
    extension.fail(false);
    available(&control, NAME, "Passed").await;
    control.get(WALKS).await.expect(200);
    control
        .delete(&format!("{SERVICES}/{NAME}"), &Value::Null)
        .await
        .expect(200);
    eventually("its versions are gone", || async {
        let codes = [
            control.get(WALKS).await.code,
            control.get("/apis/walks.naru.test").await.code,
        ];
        (codes == [404, 404]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_missing_behind_a_service_is_told() {
    let control = Control::start(&[]).await;
    let extension = Extension::start(&control).await;
    create(&control, SERVICES, &registration(&extension)).await;
    let condition = available(&control, NAME, "ServiceNotFound").await;
    assert_eq!(
        condition["message"],
        "service/walks in \"default\" is not present"
    );
    let services = "/api/v1/namespaces/default/services";
    let service =
        |port: u16| json!({"metadata": {"name": "walks"}, "spec": {"ports": [{"port": port}]}});
    create(&control, services, &service(1)).await;
    available(&control, NAME, "ServicePortError").await;
    let path = format!("{services}/walks");
    let mut stored = control.get(&path).await.expect(200);
    stored["spec"]["ports"] = json!([{"port": extension.port}]);
    control.put(&path, &stored).await.expect(200);
    available(&control, NAME, "EndpointsNotFound").await;
    let endpoints = json!({"metadata": {"name": "walks"}});
    create(&control, "/api/v1/namespaces/default/endpoints", &endpoints).await;
    available(&control, NAME, "MissingEndpoints").await;
    control.delete(&path, &Value::Null).await.expect(200);
    let outside = json!({"metadata": {"name": "walks"}, "spec": {"type": "ExternalName",
        "externalName": "localhost"}});
    create(&control, services, &outside).await;
    available(&control, NAME, "Passed").await;
    // A certificate of somebody else is not believed.
    let other = Extension::start(&control).await;
    let patch = json!({"spec": {"caBundle": other.bundle}});
    control
        .patch(&format!("{SERVICES}/{NAME}"), MERGE_PATCH, &patch)
        .await
        .expect(200);
    let condition = available(&control, NAME, "FailedDiscoveryCheck").await;
    let why = condition["message"].as_str().unwrap();
    assert!(why.contains("certificate"), "{why}");
    let patch = json!({"spec": {"caBundle": null, "insecureSkipTLSVerify": true}});
    control
        .patch(&format!("{SERVICES}/{NAME}"), MERGE_PATCH, &patch)
        .await
        .expect(200);
    available(&control, NAME, "Passed").await;
}

/// A client that shows a certificate of the front proxies' authority.
async fn front(control: &Control, user: &str) -> kube::Client {
    use naru_control::pki::{Authority, KubeconfigSpec, kubeconfig};
    let authority = Authority::open(&control.dir().join("pki/front-proxy")).unwrap();
    let leaf = authority.sign(&naru_control::pki::Subject {
        user: user.to_owned(),
        ..naru_control::pki::Subject::default()
    });
    let cluster = Authority::open(&control.dir().join("pki")).unwrap();
    let server = "https://127.0.0.1";
    let config = kubeconfig(&cluster, &KubeconfigSpec { server, user }, &leaf.unwrap());
    let path = control.dir().join(format!("front-{user}"));
    std::fs::write(&path, config).unwrap();
    support::client_of(&path, control.port()).await.unwrap()
}

#[tokio::test]
async fn a_front_proxy_is_believed_about_its_users() {
    let control = Control::start(&[]).await;
    let me = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let json = ("content-type", "application/json");
    let proxy = front(&control, "front-proxy-client").await;
    let said = [
        json,
        ("x-remote-user", "jane"),
        ("x-remote-group", "dev"),
        ("x-remote-uid", "u-1"),
        ("X-Remote-Extra-Naru.test%2FScopes", "read"),
        ("x-remote-extra-naru.test%2fscopes", "write"),
    ];
    let review = support::http::send(&proxy, Method::POST, me, &said, "{}").await;
    let user = review.expect(201)["status"]["userInfo"].clone();
    assert_eq!(user["username"], "jane");
    assert_eq!(user["groups"], json!(["dev", "system:authenticated"]));
    assert_eq!(user["uid"], "u-1");
    assert_eq!(
        user["extra"],
        json!({"naru.test/scopes": ["read", "write"]})
    );
    // Without a word it is nobody, and so is everybody else of that authority.
    let get = |client: kube::Client, said: Vec<(&'static str, &'static str)>| async move {
        support::http::send(&client, Method::GET, MAPS, &said, "").await
    };
    get(proxy, vec![]).await.refused(401, "Unauthorized");
    let admin = vec![
        ("x-remote-user", "admin"),
        ("x-remote-group", "system:masters"),
    ];
    let other = front(&control, "admin").await;
    get(other, admin.clone()).await.refused(401, "Unauthorized");
    // Whom the cluster's own authority knows by that name is no front proxy.
    let user = rights::sign(&control, "front-proxy-client", "people").await;
    get(user, admin).await.refused(403, "Forbidden");
}
