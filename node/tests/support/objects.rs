//! Objects for the daemons to follow: list and watch, as far as a watch cache needs them.

use std::collections::{BTreeMap, BTreeSet};
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

/// What there is, and how it came to be.
#[derive(Default)]
struct Held {
    /// The last resource version.
    version: u64,
    /// Every object by resource and name.
    objects: BTreeMap<(String, String), Value>,
    /// Every change: its version, its resource, the line that tells of it.
    changes: Vec<(u64, String, Bytes)>,
}

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
    /// Resources that the server does not know.
    unknown: Mutex<BTreeSet<String>>,
    held: Mutex<Held>,
    events: broadcast::Sender<(String, Bytes)>,
}

impl Objects {
    /// Serves objects at port 6443 of a namespace.
    pub fn serve(netns: &Netns) -> Self {
        let held = Mutex::new(Held {
            version: 1,
            ..Held::default()
        });
        let served = Self(Arc::new(Inner {
            seen: Mutex::default(),
            demanded: Mutex::default(),
            unknown: Mutex::default(),
            held,
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

    /// Whether the server knows a resource, from now on; it knows all at first. Watches that are open
    /// stay.
    pub fn know(&self, plural: &str, known: bool) {
        let mut unknown = self.0.unknown.lock().expect("no panic");
        if known {
            unknown.remove(plural);
        } else {
            unknown.insert(plural.to_owned());
        }
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
        let mut held = self.0.held.lock().expect("no panic");
        for object in objects {
            let key = (plural.to_owned(), name(&object));
            let kind = if held.objects.contains_key(&key) {
                "MODIFIED"
            } else {
                "ADDED"
            };
            let object = self.tell(&mut held, plural, kind, object);
            held.objects.insert(key, object);
        }
    }

    /// Removes an object.
    pub fn remove(&self, plural: &str, namespace: &str, name: &str) {
        let mut held = self.0.held.lock().expect("no panic");
        let key = (plural.to_owned(), format!("{namespace}/{name}"));
        if let Some(object) = held.objects.remove(&key) {
            self.tell(&mut held, plural, "DELETED", object);
        }
    }

    /// Gives a change its version and tells it to those who watch, and to those who come later.
    fn tell(&self, held: &mut Held, plural: &str, kind: &str, mut object: Value) -> Value {
        held.version += 1;
        object["metadata"]["resourceVersion"] = held.version.to_string().into();
        let line = Bytes::from(format!("{}\n", json!({"type": kind, "object": object})));
        held.changes
            .push((held.version, plural.to_owned(), line.clone()));
        let _ = self.0.events.send((plural.to_owned(), line));
        object
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
) -> Result<Body, StatusCode> {
    answer(state, Path(plural), query).await
}

async fn answer(
    State(objects): State<Objects>,
    Path(plural): Path<String>,
    query: Parameters,
) -> Result<Body, StatusCode> {
    if objects
        .0
        .unknown
        .lock()
        .expect("no panic")
        .contains(&plural)
    {
        return Err(StatusCode::NOT_FOUND);
    }
    let node = query
        .get("fieldSelector")
        .and_then(|text| text.strip_prefix("spec.nodeName="))
        .map(str::to_owned);
    let fits = move |object: &Value| {
        node.as_ref()
            .is_none_or(|node| object["spec"]["nodeName"] == **node)
    };
    let held = objects.0.held.lock().expect("no panic");
    if !query.contains_key("watch") {
        let all = held.objects.iter().filter(|((kind, _), _)| *kind == plural);
        let items: Vec<_> = all.map(|(_, o)| o).filter(|o| fits(o)).collect();
        let version = held.version.to_string();
        let list = json!({"metadata": {"resourceVersion": version}, "items": items});
        return Ok(Body::from(list.to_string()));
    }
    let since: u64 = query
        .get("resourceVersion")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    // What changed while nobody watched.
    let changes = held.changes.iter();
    let missed = changes.filter(|(version, kind, _)| *version > since && *kind == plural);
    let missed: Vec<_> = missed.map(|(_, _, line)| line.clone()).collect();
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
    Ok(Body::from_stream(
        lines.map(Ok::<_, std::convert::Infallible>),
    ))
}
