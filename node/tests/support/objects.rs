//! Objects for the daemons to follow: list and watch, as far as a watch cache needs them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;

use super::netns::Netns;

/// In the place of a resource's name: the end of all watches.
const HANG_UP: &str = "-";

/// The objects of a test.
#[derive(Clone)]
pub struct Objects(Arc<Inner>);

/// The last resource version, and every object by resource and name.
type Held = (u64, BTreeMap<(String, String), Value>);

/// A request as the server saw it: method, path with query, `Authorization`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// Path and query.
    pub uri: String,
    /// The header, empty if there was none.
    pub authorization: String,
}

struct Inner {
    /// Every request that came.
    seen: Mutex<Vec<Seen>>,
    /// The only value of `Authorization` that is let in, if one is demanded.
    demanded: Mutex<Option<String>>,
    objects: Mutex<Held>,
    events: broadcast::Sender<(String, Bytes)>,
}

impl Objects {
    /// Serves objects at port 6443 of a namespace.
    pub fn serve(netns: &Netns) -> Self {
        let objects = Mutex::new((1, BTreeMap::new()));
        let served = Self(Arc::new(Inner {
            seen: Mutex::default(),
            demanded: Mutex::default(),
            objects,
            events: broadcast::Sender::new(4096),
        }));
        let router = Router::new()
            .route("/api/v1/{plural}", get(answer))
            .route("/apis/{group}/{version}/{plural}", get(answer_group))
            .layer(from_fn_with_state(served.clone(), admit))
            .with_state(served.clone());
        netns.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let listener = tokio::net::TcpListener::bind("0.0.0.0:6443")
                    .await
                    .expect("the port");
                let accept = hyper_util::rt::TokioExecutor::new();
                loop {
                    let (stream, _) = listener.accept().await.expect("a connection");
                    let service = hyper_util::service::TowerToHyperService::new(router.clone());
                    let builder = hyper_util::server::conn::auto::Builder::new(accept.clone());
                    tokio::spawn(async move {
                        let io = hyper_util::rt::TokioIo::new(stream);
                        let _ = builder.serve_connection(io, service).await;
                    });
                }
            })
        });
        served
    }

    /// Lets in nobody but who sends this token, from now on.
    pub fn demand(&self, token: &str) {
        *self.0.demanded.lock().expect("no panic") = Some(format!("Bearer {token}"));
    }

    /// Ends every watch, as a server does that is started again.
    pub fn hang_up(&self) {
        let _ = self.0.events.send((HANG_UP.to_owned(), Bytes::new()));
    }

    /// Every request that came so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.0.seen.lock().expect("no panic").clone()
    }

    /// Adds or replaces objects of a resource, such as `pods`.
    pub fn put(&self, plural: &str, objects: impl IntoIterator<Item = Value>) {
        let mut held = self.0.objects.lock().expect("no panic");
        for mut object in objects {
            held.0 += 1;
            object["metadata"]["resourceVersion"] = held.0.to_string().into();
            let key = (plural.to_owned(), name(&object));
            let kind = if held.1.contains_key(&key) {
                "MODIFIED"
            } else {
                "ADDED"
            };
            self.send(plural, kind, &object);
            held.1.insert(key, object);
        }
    }

    /// Removes an object.
    pub fn remove(&self, plural: &str, namespace: &str, name: &str) {
        let mut held = self.0.objects.lock().expect("no panic");
        held.0 += 1;
        let key = (plural.to_owned(), format!("{namespace}/{name}"));
        if let Some(mut object) = held.1.remove(&key) {
            object["metadata"]["resourceVersion"] = held.0.to_string().into();
            self.send(plural, "DELETED", &object);
        }
    }

    fn send(&self, plural: &str, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        let _ = self.0.events.send((plural.to_owned(), Bytes::from(line)));
    }
}

fn name(object: &Value) -> String {
    let text = |field: &str| {
        object["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    format!("{}/{}", text("namespace"), text("name"))
}

async fn admit(
    State(objects): State<Objects>,
    request: Request,
    next: Next,
) -> Result<Response, StatusCode> {
    let header = request.headers().get(AUTHORIZATION);
    let seen = Seen {
        method: request.method().to_string(),
        uri: request.uri().to_string(),
        authorization: header
            .and_then(|h| h.to_str().ok())
            .unwrap_or_default()
            .to_owned(),
    };
    let demanded = objects.0.demanded.lock().expect("no panic").clone();
    let admitted = demanded.is_none_or(|demanded| demanded == seen.authorization);
    objects.0.seen.lock().expect("no panic").push(seen);
    if admitted {
        Ok(next.run(request).await)
    } else {
        Err(StatusCode::UNAUTHORIZED)
    }
}

type Parameters = Query<BTreeMap<String, String>>;

async fn answer_group(
    state: State<Objects>,
    Path((_, _, plural)): Path<(String, String, String)>,
    query: Parameters,
) -> Body {
    answer(state, Path(plural), query).await
}

async fn answer(
    State(objects): State<Objects>,
    Path(plural): Path<String>,
    query: Parameters,
) -> Body {
    let node = query
        .get("fieldSelector")
        .and_then(|text| text.strip_prefix("spec.nodeName="))
        .map(str::to_owned);
    let fits = move |object: &Value| {
        node.as_ref()
            .is_none_or(|node| object["spec"]["nodeName"] == **node)
    };
    let held = objects.0.objects.lock().expect("no panic");
    let all = held
        .1
        .iter()
        .filter(|((kind, _), _)| *kind == plural)
        .map(|(_, object)| object.clone());
    if !query.contains_key("watch") {
        let items: Vec<Value> = all.filter(|object| fits(object)).collect();
        return Body::from(
            json!({"metadata": {"resourceVersion": held.0.to_string()}, "items": items})
                .to_string(),
        );
    }
    let since: u64 = query
        .get("resourceVersion")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    // What changed between the list and the watch; a deletion in between is no test's business.
    let missed = all.filter(|o| {
        o["metadata"]["resourceVersion"]
            .as_str()
            .and_then(|v| v.parse().ok())
            > Some(since)
    });
    let missed: Vec<_> = missed
        .map(|object| {
            Bytes::from(format!(
                "{}\n",
                json!({"type": "MODIFIED", "object": object})
            ))
        })
        .collect();
    let coming = BroadcastStream::new(objects.0.events.subscribe());
    let coming = coming.take_while(|event| !matches!(event, Ok((kind, _)) if kind == HANG_UP));
    let coming = coming.filter_map(move |event| {
        event
            .ok()
            .filter(|(kind, _)| *kind == plural)
            .map(|(_, line)| line)
    });
    let wanted = move |line: &Bytes| {
        serde_json::from_slice::<Value>(line).is_ok_and(|event| fits(&event["object"]))
    };
    let lines = tokio_stream::iter(missed).chain(coming).filter(wanted);
    Body::from_stream(lines.map(Ok::<_, std::convert::Infallible>))
}
