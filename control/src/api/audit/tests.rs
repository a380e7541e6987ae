//! A request's way through a trail, and the lines that it leaves.

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::*;
use crate::api::body::{empty, full, json as json_reply};
use crate::api::request::Query;

const LIMITS: Limits = Limits {
    size: 1 << 20,
    age: Duration::ZERO,
    backups: 0,
};

struct Desk {
    folder: tempfile::TempDir,
    audit: Arc<Audit>,
}

impl Desk {
    fn new(rules: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("policy.yaml");
        let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n{rules}");
        std::fs::write(&policy, text).unwrap();
        let log = LogFile {
            path: folder.path().join("log"),
            limits: LIMITS,
            blocking: false,
        };
        let audit = Audit::open(&policy, Some(&log), None).unwrap();
        Self {
            folder,
            audit: Arc::new(audit),
        }
    }

    /// A request of jane's that has been authenticated.
    fn begin(&self, method: &Method, uri: &str, sent: &Value) -> (Trail, Request<Body>) {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", "application/json")
            .header("x-forwarded-for", "192.0.2.7")
            .body(full(sent.to_string()))
            .unwrap();
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let info = RequestInfo::new(method, path, &Query::new(query));
        let user = User {
            name: "jane".into(),
            groups: vec!["dev".into()],
            ..User::default()
        };
        let trail = Trail::begin(Some(&self.audit), &request);
        let request = trail.asked(&Ok(Some(user)), &info, request);
        (trail, request)
    }

    /// One request, with a handler that reads all and answers `reply`.
    async fn request(&self, method: Method, uri: &str, sent: &Value, reply: Reply) -> Reply {
        let (trail, request) = self.begin(&method, uri, sent);
        request.into_body().collect().await.unwrap();
        trail.decided(true);
        trail.answered(reply)
    }

    fn lines(&self) -> Vec<Value> {
        self.audit.places[0].queue.settle();
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn object(value: i32) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"x": value.to_string()},
        "metadata": {"name": "made-up", "managedFields": [{"manager": "m"}]}})
}

const MAPS: &str = "/api/v1/namespaces/shop/configmaps";

#[tokio::test]
async fn the_whole_story_has_both_objects_and_two_stages() {
    let desk = Desk::new("- {level: RequestResponse, omitManagedFields: true}");
    let reply = json_reply(StatusCode::CREATED, &object(2));
    let reply = desk.request(Method::POST, MAPS, &object(1), reply).await;
    assert!(reply.headers().contains_key("audit-id"));
    assert_eq!(desk.lines().len(), 1, "the answer is not read yet");
    reply.into_body().collect().await.unwrap();
    let [received, complete] = &desk.lines()[..] else {
        panic!("{:?}", desk.lines());
    };
    assert_eq!(received["stage"], "RequestReceived");
    assert_eq!(received["sourceIPs"], json!(["192.0.2.7"]));
    assert_eq!(received["user"]["username"], "jane");
    assert_eq!(received["auditID"], complete["auditID"]);
    assert_eq!(complete["stage"], "ResponseComplete");
    assert_eq!(complete["responseStatus"]["code"], 201);
    assert_eq!(complete["objectRef"]["name"], "made-up");
    assert_eq!(complete["requestObject"]["data"]["x"], "1");
    assert_eq!(complete["responseObject"]["data"]["x"], "2");
    assert!(
        complete["responseObject"]["metadata"]
            .get("managedFields")
            .is_none()
    );
    assert_eq!(
        complete["annotations"]["authorization.k8s.io/decision"],
        "allow"
    );
}

#[tokio::test]
async fn metadata_has_no_objects_and_says_why_something_failed() {
    let desk = Desk::new("- {level: Metadata, omitStages: [RequestReceived]}");
    let made = json_reply(StatusCode::CREATED, &object(2));
    drop(desk.request(Method::POST, MAPS, &object(1), made).await);
    let status = crate::api::status::Status::bad_request("no").into_reply();
    let reply = desk.request(Method::POST, MAPS, &object(1), status).await;
    reply.into_body().collect().await.unwrap();
    let [gone, failed] = &desk.lines()[..] else {
        panic!("{:?}", desk.lines());
    };
    assert_eq!(
        gone["stage"], "ResponseComplete",
        "a client that left is an end, too"
    );
    assert!(gone.get("requestObject").is_none() && gone.get("responseObject").is_none());
    assert_eq!(failed["responseStatus"]["reason"], "BadRequest");
    assert_eq!(failed["responseStatus"]["code"], 400);
}

#[tokio::test]
async fn a_watch_is_told_when_it_begins_and_its_events_are_not_kept() {
    let desk = Desk::new("- {level: RequestResponse, omitStages: [RequestReceived]}");
    let reply = json_reply(StatusCode::OK, &object(1));
    let reply = desk
        .request(Method::GET, &format!("{MAPS}?watch=1"), &Value::Null, reply)
        .await;
    assert_eq!(desk.lines()[0]["stage"], "ResponseStarted");
    reply.into_body().collect().await.unwrap();
    assert_eq!(desk.lines()[1]["stage"], "ResponseComplete");
    assert!(desk.lines()[1].get("responseObject").is_none());
}

#[tokio::test]
async fn what_no_rule_wants_leaves_nothing() {
    let desk = Desk::new("- {level: Metadata, users: [joe]}");
    let reply = desk
        .request(Method::GET, MAPS, &Value::Null, Reply::new(empty()))
        .await;
    assert!(!reply.headers().contains_key("audit-id"));
    drop(reply);
    assert!(desk.lines().is_empty());
}

#[tokio::test]
async fn a_request_without_an_answer_leaves_a_record_too() {
    let desk = Desk::new("- {level: Request, omitStages: [RequestReceived]}");
    let (trail, request) = desk.begin(&Method::POST, MAPS, &object(1));
    request.into_body().collect().await.unwrap();
    drop(trail);
    let [gone] = &desk.lines()[..] else {
        panic!("{:?}", desk.lines());
    };
    assert_eq!(gone["stage"], "ResponseComplete");
    assert_eq!(
        gone["responseStatus"]["message"], "Connection closed early",
        "the client left"
    );
    assert_eq!(gone["requestObject"]["data"]["x"], "1");
}

#[tokio::test]
async fn a_handler_that_panics_leaves_a_record() {
    let desk = Desk::new("- {level: Metadata, omitStages: [RequestReceived]}");
    let (trail, _) = desk.begin(&Method::GET, MAPS, &Value::Null);
    let handler = tokio::spawn(async move {
        let _trail = trail;
        panic!("as wanted");
    });
    assert!(handler.await.unwrap_err().is_panic());
    let [panicked] = &desk.lines()[..] else {
        panic!("{:?}", desk.lines());
    };
    assert_eq!(panicked["stage"], "Panic");
    assert_eq!(panicked["responseStatus"]["code"], 500);
}

#[tokio::test]
async fn a_switched_connection_is_recorded_until_its_end() {
    let desk = Desk::new("- {level: RequestResponse, omitStages: [RequestReceived]}");
    let headers = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
    let mut request = Request::post("/api/v1/namespaces/shop/pods/a/exec?command=sh");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(empty()).unwrap();
    let info = RequestInfo::new(request.method(), request.uri().path(), &Query::default());
    let trail = Trail::begin(Some(&desk.audit), &request);
    let mut request = trail.asked(&Ok(None), &info, request);
    let client = crate::api::proxy::Client::of(&mut request);
    drop(request);
    let mut reply = Reply::new(empty());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    drop(trail.answered(reply));
    let stages = || {
        let lines = desk.lines();
        let stages = lines.iter().map(|line| line["stage"].to_string());
        stages.collect::<Vec<_>>()
    };
    assert_eq!(stages(), ["\"ResponseStarted\""], "it goes on");
    drop(client);
    assert_eq!(stages().len(), 2);
    let end = &desk.lines()[1];
    assert_eq!(end["stage"], "ResponseComplete");
    assert_eq!(end["responseStatus"]["code"], 101);
    assert_eq!(end["user"]["username"], "system:anonymous");
    assert_eq!(end["objectRef"]["subresource"], "exec");
}
