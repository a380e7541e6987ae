//! Whose requests are served, whose wait and whose are refused, on a server with few seats. Seats are
//! held by requests whose body does not come to its end until the test says so; that they wait, and
//! how many of them, is what the server tells administrators.

mod objects;
mod waiting;

use super::rights::{ask, get};
use super::*;
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use support::eventually;
use support::http::{Answer, MERGE_PATCH, send};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

const GROUP: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const SCHEMA: &str = "x-kubernetes-pf-flowschema-uid";
const LEVEL: &str = "x-kubernetes-pf-prioritylevel-uid";
const DUMP: &str = "/debug/api_priority_and_fairness/dump_priority_levels";

/// The path of a schema, or of all.
fn schemas(name: &str) -> String {
    format!("{GROUP}/flowschemas/{name}")
        .trim_end_matches('/')
        .to_owned()
}

/// The path of a level, or of all.
fn levels(name: &str) -> String {
    let path = format!("{GROUP}/prioritylevelconfigurations/{name}");
    path.trim_end_matches('/').to_owned()
}

/// A level that neither lends nor borrows, so that its seats are what they are.
fn level(name: &str, shares: u32, response: &Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": shares, "lendablePercent": 0, "borrowingLimitPercent": 0,
        "limitResponse": response}}})
}

fn queue(queues: u32, hand: u32, length: u32) -> Value {
    json!({"type": "Queue",
        "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length}})
}

/// Takes what these users ask about ConfigMaps of `default` to `level`, each in a flow of his own.
fn schema(name: &str, level: &str, precedence: u32, users: &[&str]) -> Value {
    let user = |name: &&str| json!({"kind": "User", "user": {"name": name}});
    let subjects: Vec<_> = users.iter().map(user).collect();
    json!({"metadata": {"name": name}, "spec": {
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence,
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": subjects, "resourceRules": [{"verbs": ["*"], "apiGroups": [""],
            "resources": ["configmaps"], "namespaces": ["default"]}]}]}})
}

/// Gives everybody who is known all rights about ConfigMaps.
async fn permit(control: &Control) {
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"metadata": {"name": "maps"}, "rules": [
        {"verbs": ["*"], "apiGroups": [""], "resources": ["configmaps"]}]});
    create(control, &format!("{rbac}/clusterroles"), &role).await;
    let binding = json!({"metadata": {"name": "maps"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "maps"},
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io",
            "name": "system:authenticated"}]});
    create(control, &format!("{rbac}/clusterrolebindings"), &binding).await;
}

/// A server on which `anna` and `bert` share the level `shop`, of one seat.
async fn shop(response: &Value) -> (Control, Client, Client) {
    // As many seats as shares, of which the level has one.
    let total = [
        "--max-requests-inflight=246",
        "--max-mutating-requests-inflight=0",
    ];
    let control = Control::start(&total).await;
    permit(&control).await;
    create(&control, &levels(""), &level("shop", 1, response)).await;
    create(
        &control,
        &schemas(""),
        &schema("shop", "shop", 50, &["anna", "bert"]),
    )
    .await;
    let (anna, bert) = (
        control.client_as("anna").await,
        control.client_as("bert").await,
    );
    belongs(&control, &anna, "shop", "shop").await;
    belongs(&control, &bert, "shop", "shop").await;
    (control, anna, bert)
}

/// Waits until a request of the client for ConfigMaps goes by this schema to this level.
async fn belongs(control: &Control, client: &Client, schema: &str, level: &str) {
    let uid = async |path: String| {
        let object = control.get(&path).await.expect(200);
        object["metadata"]["uid"].as_str().unwrap().to_owned()
    };
    let wanted = (uid(schemas(schema)).await, uid(levels(level)).await);
    eventually("the request goes another way", || async {
        let answer = get(client, MAPS).await;
        let header = |name| answer.headers[name].to_str().unwrap().to_owned();
        ((header(SCHEMA), header(LEVEL)) == wanted).then_some(())
    })
    .await;
}

/// Fields of a level, by their columns.
async fn figures(control: &Control, level: &str) -> std::collections::BTreeMap<String, String> {
    let request = Request::get(DUMP).body(Body::empty()).unwrap();
    let reply = control.client.send(request).await.unwrap();
    assert_eq!(reply.status(), 200);
    let bytes = reply.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let mut lines = text
        .lines()
        .map(|line| line.split(",\t").map(str::to_owned));
    let columns: Vec<String> = lines.next().unwrap().collect();
    let mut lines = lines.map(Iterator::collect::<Vec<_>>);
    let line = lines
        .find(|line| line[0] == level)
        .expect("the level is listed");
    columns.into_iter().zip(line).collect()
}

/// Waits until so many requests are executed on a level, and so many wait.
async fn counts(control: &Control, level: &str, executing: usize, waiting: usize) {
    eventually("so many requests execute and wait", || async {
        let figures = figures(control, level).await;
        let is = |column: &str, count: usize| figures[column] == count.to_string();
        (is("ExecutingRequests", executing) && is("WaitingRequests", waiting)).then_some(())
    })
    .await;
}

/// A request that creates a ConfigMap, once the rest of its body is released.
struct Slow {
    stream: TlsStream<TcpStream>,
    rest: Vec<u8>,
}

impl Slow {
    /// `user` begins to send one; `query` is appended to the path.
    async fn start(control: &Control, user: &str, query: &str) -> Self {
        let body = map("held").to_string();
        let (now, rest) = body.split_at(body.len() / 2);
        let head = format!(
            "POST {MAPS}{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nImpersonate-User: {user}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{now}",
            body.len()
        );
        let mut stream = control.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        Self {
            stream,
            rest: rest.into(),
        }
    }

    /// `user` asks whether to send one; none unless he hears that the server waits for it.
    async fn awaited(control: &Control, user: &str) -> Option<Self> {
        let body = map("held").to_string();
        let head = format!(
            "POST {MAPS} HTTP/1.1\r\nHost: 127.0.0.1\r\nImpersonate-User: {user}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\
             Expect: 100-continue\r\n\r\n",
            body.len()
        );
        let mut stream = control.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let rest = body.into_bytes();
        let mut slow = Self { stream, rest };
        (slow.code().await == 100).then_some(slow)
    }

    /// Sends the rest and answers the code.
    async fn release(mut self) -> u16 {
        let rest = std::mem::take(&mut self.rest);
        self.stream.write_all(&rest).await.unwrap();
        self.code().await
    }

    /// The code, when there is one.
    async fn code(&mut self) -> u16 {
        let mut lines = BufReader::new(&mut self.stream).lines();
        loop {
            let line = tokio::time::timeout(support::PATIENCE, lines.next_line()).await;
            let line = line.expect("an answer in time").unwrap();
            let line = line.expect("an answer before the end");
            if let Some(status) = line.strip_prefix("HTTP/1.1 ") {
                return status[..3].parse().unwrap();
            }
        }
    }
}

/// A request that is under way.
fn later(client: &Client, path: &str) -> JoinHandle<Answer> {
    let (client, path) = (client.clone(), path.to_owned());
    tokio::spawn(async move { send(&client, Method::GET, &path, &[], "").await })
}
