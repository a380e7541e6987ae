//! The paths of the node's server.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Extension, Json, Router};
use http::StatusCode;
use jiff::Timestamp;
use naru_cri::{Cri, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::auth::{Caller, Verdict};
use super::find::{self, Found, Refusal};
use super::logs::LogReader;
use super::options::{LogOptions, StreamOptions};
use super::tunnel;
use crate::Shared;
use crate::pods::names::Dirs;

/// What handlers share.
struct Server {
    shared: Shared,
    cri: Cri,
    dirs: Dirs,
}

type Held = State<Arc<Server>>;

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

/// All paths, behind the check of who calls.
pub fn router(shared: Shared) -> Router {
    let grpc = crate::flows::routes(shared.clone()).into_axum_router();
    let server = Arc::new(Server {
        cri: Cri::new(&shared.config.cri_socket),
        dirs: Dirs::new(&shared.config.state_dir),
        shared,
    });
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/pods", get(pods))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs))
        .route("/exec/{namespace}/{pod}/{container}", any(exec))
        .route("/exec/{namespace}/{pod}/{uid}/{container}", any(exec_uid))
        .route("/attach/{namespace}/{pod}/{container}", any(attach))
        .route(
            "/attach/{namespace}/{pod}/{uid}/{container}",
            any(attach_uid),
        )
        .route("/portForward/{namespace}/{pod}", any(port_forward))
        .route(
            "/portForward/{namespace}/{pod}/{uid}",
            any(port_forward_uid),
        )
        .with_state(server)
        .merge(grpc)
        .layer(middleware::from_fn(check))
}

async fn check(Extension(caller): Extension<Caller>, request: Request, next: Next) -> Response {
    match caller.may_use(request.uri().path()) {
        Verdict::Allow => next.run(request).await,
        Verdict::Unauthenticated => (StatusCode::UNAUTHORIZED, "Unauthorized").into_response(),
        Verdict::Forbid => {
            let message = format!("Forbidden (user={})", caller.name);
            (StatusCode::FORBIDDEN, message).into_response()
        }
    }
}

async fn pods(State(server): Held) -> impl IntoResponse {
    let items: Vec<_> = server.shared.watches.own_pods.list();
    Json(serde_json::json!({
        "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items
    }))
}

// --- logs

async fn logs(
    State(server): Held,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let options = LogOptions::parse(query.as_deref(), Timestamp::now())
        .map_err(|message| Refusal(StatusCode::BAD_REQUEST, message))?;
    let all = find::containers(&server.cri, &namespace, &pod, &container).await?;
    let Some(found) = choose(&all, options.previous) else {
        return Err(server.absent(&namespace, &pod, &container, options.previous));
    };
    let reader = LogReader {
        path: server.dirs.log(&found.pod, &container, found.attempt),
        options,
        container: found.id.clone(),
        cri: server.cri.clone(),
    };
    let (to, from) = mpsc::channel(4);
    tokio::spawn(reader.run(to));
    let body = Body::from_stream(ReceiverStream::new(from));
    Ok(([("content-type", "text/plain")], body).into_response())
}

/// The newest attempt, or the one before it in the same pod.
fn choose(all: &[Found], previous: bool) -> Option<&Found> {
    let newest = all.first()?;
    match previous {
        false => Some(newest),
        true => all.iter().skip(1).find(|found| found.pod == newest.pod),
    }
}

impl Server {
    /// Why there is no log: each case in its own words, as people search for them.
    fn absent(&self, namespace: &str, pod: &str, container: &str, previous: bool) -> Refusal {
        if previous {
            let message =
                format!("previous terminated container {container:?} in pod {pod:?} not found");
            return Refusal(StatusCode::BAD_REQUEST, message);
        }
        let Some(object) = self.shared.watches.own_pods.get(namespace, pod) else {
            return Refusal::not_found(format!("pod \"{pod}\" not found on this node"));
        };
        let statuses = object.status.as_ref();
        let init = statuses
            .and_then(|s| s.init_container_statuses.as_ref())
            .into_iter()
            .flatten();
        let main = statuses
            .and_then(|s| s.container_statuses.as_ref())
            .into_iter()
            .flatten();
        let waiting = init
            .chain(main)
            .find(|status| status.name == container)
            .and_then(|status| status.state.as_ref()?.waiting.as_ref()?.reason.clone())
            .unwrap_or_else(|| "ContainerCreating".to_owned());
        let message =
            format!("container \"{container}\" in pod \"{pod}\" is waiting to start: {waiting}");
        Refusal(StatusCode::BAD_REQUEST, message)
    }
}

// --- streams

async fn exec(
    State(server): Held,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Refusal> {
    let options = StreamOptions::parse(query.as_deref());
    let found = find::running(&server.cri, &namespace, &pod, &container).await?;
    let prepared = server.cri.exec(v1::ExecRequest {
        container_id: found.id,
        cmd: options.command,
        tty: options.tty,
        stdin: options.stdin,
        stdout: options.stdout,
        stderr: options.stderr,
    });
    let url = prepared
        .await
        .map_err(|error| Refusal::runtime(&error))?
        .url;
    tunnel::forward(&url, request).await
}

async fn exec_uid(
    held: Held,
    Path((namespace, pod, _, container)): Path<(String, String, String, String)>,
    query: RawQuery,
    request: Request,
) -> Result<Response, Refusal> {
    exec(held, Path((namespace, pod, container)), query, request).await
}

async fn attach(
    State(server): Held,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Refusal> {
    let options = StreamOptions::parse(query.as_deref());
    let found = find::running(&server.cri, &namespace, &pod, &container).await?;
    let prepared = server.cri.attach(v1::AttachRequest {
        container_id: found.id,
        stdin: options.stdin,
        tty: options.tty,
        stdout: options.stdout,
        stderr: options.stderr,
    });
    let url = prepared
        .await
        .map_err(|error| Refusal::runtime(&error))?
        .url;
    tunnel::forward(&url, request).await
}

async fn attach_uid(
    held: Held,
    Path((namespace, pod, _, container)): Path<(String, String, String, String)>,
    query: RawQuery,
    request: Request,
) -> Result<Response, Refusal> {
    attach(held, Path((namespace, pod, container)), query, request).await
}

async fn port_forward(
    State(server): Held,
    Path((namespace, pod)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Refusal> {
    let options = StreamOptions::parse(query.as_deref());
    let sandbox = find::sandbox(&server.cri, &namespace, &pod).await?;
    let request_to = v1::PortForwardRequest {
        pod_sandbox_id: sandbox,
        port: options.ports,
    };
    let prepared = server.cri.port_forward(request_to).await;
    let url = prepared.map_err(|error| Refusal::runtime(&error))?.url;
    tunnel::forward(&url, request).await
}

async fn port_forward_uid(
    held: Held,
    Path((namespace, pod, _)): Path<(String, String, String)>,
    query: RawQuery,
    request: Request,
) -> Result<Response, Refusal> {
    port_forward(held, Path((namespace, pod)), query, request).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::names::PodId;

    #[test]
    fn previous_is_the_attempt_before_in_the_same_pod() {
        let found = |uid: &str, attempt| Found {
            id: format!("{uid}{attempt}"),
            pod: PodId {
                namespace: "n".into(),
                name: "p".into(),
                uid: uid.into(),
            },
            attempt,
            running: false,
        };
        let all = [found("new", 1), found("old", 7), found("new", 0)];
        assert_eq!(choose(&all, false).unwrap().id, "new1");
        assert_eq!(choose(&all, true).unwrap().id, "new0");
        assert_eq!(choose(&all[..2], true), None);
    }
}
