//! The binary against a small API server on loopback: a list of nodes, one pod and one Service,
//! and the node proxy to a gRPC service for `node1`. `node2` never answers, `node3` is refused.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Output;

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use naru_node_api::flows::flows_server::{Flows, FlowsServer};
use naru_node_api::flows::observe_response::Event;
use naru_node_api::flows::*;
use serde_json::{Value, json};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

struct Node;

#[tonic::async_trait]
impl Flows for Node {
    type ObserveStream = Pin<Box<dyn Stream<Item = Result<ObserveResponse, Status>> + Send>>;

    async fn observe(
        &self,
        request: Request<ObserveRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let request = request.into_inner();
        let flow = Flow {
            time_ns: 1_000_000_000,
            node: "node1".into(),
            kind: Kind::Drop.into(),
            verdict: Verdict::Dropped.into(),
            protocol: "TCP".into(),
            reason: format!("asked for {}/{}", request.namespace, request.pod),
            ..Flow::default()
        };
        let response = ObserveResponse {
            event: Some(Event::Flow(flow)),
        };
        Ok(Response::new(Box::pin(tokio_stream::iter([Ok(response)]))))
    }

    async fn drops(&self, _: Request<DropsRequest>) -> Result<Response<DropsResponse>, Status> {
        Ok(Response::new(DropsResponse::default()))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let status = StatusResponse {
            node: "node1".into(),
            attachment: "tcx".into(),
            ..StatusResponse::default()
        };
        Ok(Response::new(status))
    }

    async fn why(&self, request: Request<WhyRequest>) -> Result<Response<WhyResponse>, Status> {
        let asked = request.into_inner();
        let text = format!("{} {}:{}", asked.protocol, asked.destination, asked.port);
        let step = Step {
            text,
            failed: true,
            policies: vec!["shop/deny".into()],
        };
        Ok(Response::new(WhyResponse {
            steps: vec![step],
            verdict: Verdict::Dropped.into(),
            reason: "POLICY_DENIED".into(),
            ..WhyResponse::default()
        }))
    }
}

fn node(name: &str) -> Value {
    json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
}

async fn object(
    Path((_namespace, kind, name)): Path<(String, String, String)>,
) -> (StatusCode, Json<Value>) {
    let found = match (kind.as_str(), name.as_str()) {
        ("pods", "web-1") => {
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "shop"},
            "spec": {"nodeName": "node1", "containers": []}, "status": {"podIP": "10.244.0.5"}})
        }
        ("services", "api") => {
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "api", "namespace": "shop"},
            "spec": {"clusterIP": "10.96.0.20", "ports": [{"name": "http", "port": 80}]}})
        }
        _ => {
            let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "not found"});
            return (StatusCode::NOT_FOUND, Json(status));
        }
    };
    (StatusCode::OK, Json(found))
}

/// Two objects, whole or, for the user with this token, cut off.
async fn snapshot(headers: axum::http::HeaderMap) -> String {
    let row = r#"{"resource":"pods","key":"a/b","revision":1,"object":{}}"#;
    let trailer = r#"{"objects":2,"crc32":0}"#;
    let cut = headers["authorization"] == "Bearer cut";
    let end = if cut { "" } else { trailer };
    format!("{{\"naru_snapshot\":1,\"revision\":2}}\n{row}\n{row}\n{end}")
}

/// Serves until the test ends; returns the address.
async fn api_server() -> SocketAddr {
    let nodes = json!({"apiVersion": "v1", "kind": "NodeList", "metadata": {}, "items": [node("node2"), node("node1"), node("node3")]});
    let grpc = tonic::service::Routes::new(FlowsServer::new(Node)).into_axum_router();
    let never = axum::routing::any(std::future::pending::<()>);
    let refused = axum::routing::any(|| async {
        let status = json!({"kind": "Status", "message": "node3 refused the connection"});
        (StatusCode::BAD_GATEWAY, Json(status))
    });
    let router = axum::Router::new()
        .route("/snapshot", get(snapshot))
        .route("/api/v1/nodes", get(move || async move { Json(nodes) }))
        .route("/api/v1/namespaces/{namespace}/{kind}/{name}", get(object))
        .nest("/api/v1/nodes/node1/proxy", grpc)
        .route("/api/v1/nodes/node2/proxy/{*rest}", never)
        .route("/api/v1/nodes/node3/proxy/{*rest}", refused);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

struct Setup {
    _dir: tempfile::TempDir,
    kubeconfig: PathBuf,
}

fn setup(server: &str) -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = dir.path().join("config");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts:\n- name: a\n  context: {{cluster: a, user: a, namespace: shop}}\nclusters:\n- name: a\n  cluster: {{server: '{server}'}}\nusers:\n- name: a\n  user: {{token: secret}}\n"
    );
    std::fs::write(&kubeconfig, text).unwrap();
    Setup {
        _dir: dir,
        kubeconfig,
    }
}

async fn netctl(setup: &Setup, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_netctl"));
    command
        .env("KUBECONFIG", &setup.kubeconfig)
        .args(["--timeout", "0.5"])
        .args(args);
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[tokio::test]
async fn status_names_the_nodes_that_do_not_answer_and_shows_the_rest() {
    let setup = setup(&format!("http://{}", api_server().await));
    let (code, out, err) = netctl(&setup, &["status"]).await;
    assert_eq!(code, Some(1), "{err}");
    assert!(out.contains("node1  yes    tcx"), "{out}");
    assert!(
        out.contains("node2: does not answer: no answer within 500ms"),
        "{out}"
    );
    assert!(
        out.contains("node3: does not answer: node3 refused the connection\n"),
        "{out}"
    );
    assert!(!out.contains('\u{1b}'), "{out}");
    let (code, out, _) = netctl(&setup, &["status", "--node", "node1"]).await;
    assert_eq!(code, Some(0));
    assert!(out.ends_with("nothing is degraded\n"), "{out}");
}

#[tokio::test]
async fn observe_passes_filters_on_and_prints_json_lines() {
    let setup = setup(&format!("http://{}", api_server().await));
    let args = [
        "observe", "--pod", "web", "-n", "other", "--node", "node1", "-o", "json",
    ];
    let (code, out, err) = netctl(&setup, &args).await;
    assert_eq!(code, Some(0), "{err}");
    let line: Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!(line["reason"], "asked for other/web");
    let (code, out, err) = netctl(&setup, &["observe", "-f", "--node", "node1"]).await;
    assert_eq!((code, out.lines().count()), (Some(1), 1), "{err}");
    assert_eq!(err, "netctl: node1: the node ended the stream\n");
}

#[tokio::test]
async fn drops_without_any_say_so() {
    let setup = setup(&format!("http://{}", api_server().await));
    let (code, out, _) = netctl(&setup, &["drops", "--node", "node1"]).await;
    assert_eq!((code, out.as_str()), (Some(0), "no drop is on record\n"));
}

#[tokio::test]
async fn why_resolves_names_and_exits_with_the_verdict() {
    let setup = setup(&format!("http://{}", api_server().await));
    let (code, out, err) = netctl(&setup, &["why", "web-1", "api:http"]).await;
    assert_eq!(code, Some(3), "{err}");
    assert!(
        out.contains("> x TCP 10.96.0.20:80 by policy shop/deny\n"),
        "{out}"
    );
    let (_, out, _) = netctl(
        &setup,
        &["why", "shop/web-1", "10.0.0.1:53", "--protocol", "udp"],
    )
    .await;
    assert!(out.contains("> x UDP 10.0.0.1:53"), "{out}");
}

#[tokio::test]
async fn faults_are_one_line_and_an_exit_code() {
    let setup_one = setup(&format!("http://{}", api_server().await));
    for (args, expected) in [
        (
            &["why", "none", "api:80"][..],
            "netctl: there is no pod shop/none\n",
        ),
        (
            &["why", "web-1", "api:81"],
            "netctl: Service shop/api has no port 81; it has 80(http)\n",
        ),
        (
            &["why", "web-1", "none:81"],
            "netctl: there is no Service or pod shop/none\n",
        ),
        (
            &["why", "web-1", "api"],
            "netctl: \"api\" has no port: write NAME:PORT or IP:PORT\n",
        ),
        (
            &["status", "--node", "absent"],
            "netctl: there is no node \"absent\"\n",
        ),
    ] {
        let (code, _, err) = netctl(&setup_one, args).await;
        assert_eq!((code, err.as_str()), (Some(1), expected));
    }
    let away = setup("http://127.0.0.1:1");
    let (code, _, err) = netctl(&away, &["status"]).await;
    assert_eq!(code, Some(1));
    assert!(
        err.starts_with("netctl: connect to the API server at 127.0.0.1:1: ")
            && err.lines().count() == 1,
        "{err}"
    );
    let (code, _, err) = netctl(&away, &["status", "--context", "absent"]).await;
    assert_eq!((code, err.lines().count()), (Some(1), 1), "{err}");
    assert_eq!(netctl(&away, &["status", "--bogus"]).await.0, Some(2));
}

#[tokio::test]
async fn a_snapshot_is_saved_whole_or_not_at_all() {
    let server = format!("http://{}", api_server().await);
    let setup = setup(&server);
    let file = setup.kubeconfig.with_file_name("snapshot");
    let save = ["snapshot", "save", file.to_str().unwrap()];
    let (code, out, err) = netctl(&setup, &save).await;
    assert_eq!(
        (code, out.starts_with("2 objects saved")),
        (Some(0), true),
        "{err}"
    );
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let whole = std::fs::read(&file).unwrap();
    let text = std::fs::read_to_string(&setup.kubeconfig).unwrap();
    std::fs::write(
        &setup.kubeconfig,
        text.replace("token: secret", "token: cut"),
    )
    .unwrap();
    let (code, _, err) = netctl(&setup, &save).await;
    assert_eq!(code, Some(1));
    assert!(err.contains("without the last one"), "{err}");
    assert_eq!(std::fs::read(&file).unwrap(), whole, "the one before stays");
    assert!(!file.with_file_name("snapshot.partial").exists());
}
