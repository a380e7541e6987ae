//! The paths of the node's server.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get};
use axum::{Extension, Json, Router};
use http::StatusCode;
use jiff::Timestamp;
use naru_cri::{Cri, v1};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::auth::{Caller, Verdict};
use super::find::{self, Found, Refusal};
use super::logs::LogReader;
use super::metrics;
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
    let [exec, attach, forward] =
        [Purpose::Exec, Purpose::Attach, Purpose::PortForward].map(upgraded);
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/metrics", get(metrics))
        .route("/pods", get(pods))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs))
        .route("/exec/{namespace}/{pod}/{container}", exec.clone())
        .route("/exec/{namespace}/{pod}/{uid}/{container}", exec)
        .route("/attach/{namespace}/{pod}/{container}", attach.clone())
        .route("/attach/{namespace}/{pod}/{uid}/{container}", attach)
        .route("/portForward/{namespace}/{pod}", forward.clone())
        .route("/portForward/{namespace}/{pod}/{uid}", forward)
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

async fn metrics(State(server): Held) -> Result<Response, Refusal> {
    let shared = server.shared.clone();
    let read = tokio::task::spawn_blocking(move || metrics::metrics(&shared)).await;
    let failed = |error: String| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error);
    let page = read.map_err(|panic| failed(panic.to_string()))?;
    let page = page.map_err(|error| failed(crate::network::chain(&error)))?;
    Ok(([("content-type", metrics::CONTENT_TYPE)], page).into_response())
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
        let ephemeral = statuses
            .and_then(|s| s.ephemeral_container_statuses.as_ref())
            .into_iter()
            .flatten();
        let waiting = init
            .chain(main)
            .chain(ephemeral)
            .find(|status| status.name == container)
            .and_then(|status| status.state.as_ref()?.waiting.as_ref()?.reason.clone())
            .unwrap_or_else(|| "ContainerCreating".to_owned());
        let message =
            format!("container \"{container}\" in pod \"{pod}\" is waiting to start: {waiting}");
        Refusal(StatusCode::BAD_REQUEST, message)
    }
}

// --- streams

/// What an upgraded connection is for.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Exec,
    Attach,
    PortForward,
}

/// The pod that a path names; the pod's uid, which some paths carry, adds nothing to it.
#[derive(Debug, Deserialize)]
struct Target {
    namespace: String,
    pod: String,
    #[serde(default)]
    container: String,
}

/// Asks the runtime for a URL of its streaming server and joins the two connections.
async fn stream(
    purpose: Purpose,
    server: &Server,
    target: &Target,
    query: Option<&str>,
    request: Request,
) -> Result<Response, Refusal> {
    let options = StreamOptions::parse(query);
    let url = match purpose {
        Purpose::Exec => server.exec(target, options).await?,
        Purpose::Attach => server.attach(target, options).await?,
        Purpose::PortForward => server.port_forward(target, options).await?,
    };
    tunnel::forward(&url, request).await
}

/// The handler of every path that is upgraded for one purpose.
fn upgraded(purpose: Purpose) -> MethodRouter<Arc<Server>> {
    any(
        move |State(server): Held,
              Path(target): Path<Target>,
              RawQuery(query): RawQuery,
              request: Request| async move {
            stream(purpose, &server, &target, query.as_deref(), request).await
        },
    )
}

impl Server {
    async fn container(&self, target: &Target) -> Result<String, Refusal> {
        let Target {
            namespace,
            pod,
            container,
        } = target;
        let found = find::running(&self.cri, namespace, pod, container).await?;
        Ok(found.id)
    }

    async fn exec(&self, target: &Target, options: StreamOptions) -> Result<String, Refusal> {
        let request = v1::ExecRequest {
            container_id: self.container(target).await?,
            cmd: options.command,
            tty: options.tty,
            stdin: options.stdin,
            stdout: options.stdout,
            stderr: options.stderr,
        };
        let prepared = self.cri.exec(request).await;
        Ok(prepared.map_err(|error| Refusal::runtime(&error))?.url)
    }

    async fn attach(&self, target: &Target, options: StreamOptions) -> Result<String, Refusal> {
        let request = v1::AttachRequest {
            container_id: self.container(target).await?,
            stdin: options.stdin,
            tty: options.tty,
            stdout: options.stdout,
            stderr: options.stderr,
        };
        let prepared = self.cri.attach(request).await;
        Ok(prepared.map_err(|error| Refusal::runtime(&error))?.url)
    }

    async fn port_forward(
        &self,
        target: &Target,
        options: StreamOptions,
    ) -> Result<String, Refusal> {
        let request = v1::PortForwardRequest {
            pod_sandbox_id: find::sandbox(&self.cri, &target.namespace, &target.pod).await?,
            port: options.ports,
        };
        let prepared = self.cri.port_forward(request).await;
        Ok(prepared.map_err(|error| Refusal::runtime(&error))?.url)
    }
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
