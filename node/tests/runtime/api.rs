//! The few verbs of the API that a node's pod runtime uses, over a map.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use k8s_openapi::api::core::v1::Pod;
use naru_node::Watches;
use naru_node::watches::Key;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::WatchStream;
use tower::{Service as _, ServiceExt as _};

/// Objects by plural and name, all in the namespace `default`.
type Objects = BTreeMap<(String, String), Value>;

#[derive(Clone)]
pub(crate) struct Api(Arc<Inner>);

struct Inner {
    objects: Mutex<Objects>,
    changed: watch::Sender<u64>,
    version: AtomicU64,
    watches: Mutex<Arc<Watches>>,
}

impl Api {
    pub(crate) fn new(watches: Arc<Watches>) -> Self {
        Self(Arc::new(Inner {
            objects: Mutex::default(),
            changed: watch::Sender::new(0),
            version: AtomicU64::new(1),
            watches: Mutex::new(watches),
        }))
    }

    /// A client that talks to this API without a socket.
    pub(crate) fn client(&self) -> kube::Client {
        let router = Router::new().fallback(answer).with_state(self.clone());
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let mut router = router.clone();
            async move {
                let request = request.map(Body::new);
                router
                    .as_service::<Body>()
                    .ready()
                    .await?
                    .call(request)
                    .await
            }
        });
        kube::Client::new(service, "default")
    }

    pub(crate) fn attach(&self, watches: Arc<Watches>) {
        let pods: Vec<_> = self.list("pods").into_iter().map(typed).collect();
        watches.own_pods.replace(pods);
        watches.services.replace([]);
        *self.0.watches.lock() = watches;
    }

    pub(crate) fn pod(&self, name: &str) -> Option<Value> {
        self.get("pods", name)
    }

    pub(crate) fn put(&self, plural: &str, name: &str, mut object: Value) {
        object["metadata"]["name"] = json!(name);
        object["metadata"]["namespace"] = json!("default");
        self.insert(&mut self.0.objects.lock(), plural, name, object);
    }

    /// Changes an object as one step: no write of another's comes between, none is lost.
    /// `None`, with nothing changed, when the object isn't there or `change` says no.
    pub(crate) fn change(
        &self,
        plural: &str,
        name: &str,
        change: impl FnOnce(&mut Value) -> Option<()>,
    ) -> Option<Value> {
        let mut objects = self.0.objects.lock();
        let mut object = objects.get(&(plural.to_owned(), name.to_owned()))?.clone();
        change(&mut object)?;
        self.insert(&mut objects, plural, name, object.clone());
        Some(object)
    }

    /// Stores the object and tells the watchers, in this order of versions for both.
    fn insert(&self, objects: &mut Objects, plural: &str, name: &str, mut object: Value) {
        let version = self.0.version.fetch_add(1, Ordering::SeqCst);
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        if plural == "pods" {
            let (key, pod) = typed(object.clone());
            self.0.watches.lock().own_pods.apply(key, pod);
        }
        objects.insert((plural.to_owned(), name.to_owned()), object);
        self.0.changed.send_replace(version);
    }

    pub(crate) fn remove(&self, plural: &str, name: &str) {
        let mut objects = self.0.objects.lock();
        objects.remove(&(plural.to_owned(), name.to_owned()));
        if plural == "pods" {
            self.0
                .watches
                .lock()
                .own_pods
                .remove(&Key::new("default", name));
        }
    }

    pub(crate) fn has_event(&self, reason: &str) -> bool {
        self.list("events")
            .iter()
            .any(|event| event["reason"] == reason)
    }

    fn get(&self, plural: &str, name: &str) -> Option<Value> {
        self.0
            .objects
            .lock()
            .get(&(plural.to_owned(), name.to_owned()))
            .cloned()
    }

    pub(crate) fn list(&self, plural: &str) -> Vec<Value> {
        let objects = self.0.objects.lock();
        objects
            .iter()
            .filter(|((kind, _), _)| kind == plural)
            .map(|(_, o)| o.clone())
            .collect()
    }
}

fn typed(object: Value) -> (Key, Pod) {
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    (
        Key::new("default", name),
        serde_json::from_value(object).unwrap(),
    )
}

async fn answer(State(api): State<Api>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let words: Vec<_> = head
        .uri
        .path()
        .trim_start_matches('/')
        .split('/')
        .map(str::to_owned)
        .collect();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match (&head.method, &words[..]) {
        (&Method::GET, ["api", "v1", "namespaces", "default", plural]) => {
            read(&api, plural, &query)
        }
        (&Method::POST, ["api", "v1", "namespaces", "default", plural]) => {
            let object: Value = serde_json::from_slice(&body).unwrap();
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            api.put(plural, &name, object.clone());
            axum::Json(object).into_response()
        }
        (&Method::PATCH, ["api", "v1", "namespaces", "default", plural, name, ..]) => {
            patch(&api, plural, name, &body)
        }
        (&Method::DELETE, ["api", "v1", "namespaces", "default", plural, name]) => {
            match api.get(plural, name) {
                Some(object) => {
                    api.remove(plural, name);
                    axum::Json(object).into_response()
                }
                None => absent(),
            }
        }
        other => panic!("unexpected request {other:?}"),
    }
}

fn absent() -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": "not found", "reason": "NotFound", "code": 404});
    (StatusCode::NOT_FOUND, axum::Json(status)).into_response()
}

fn patch(api: &Api, plural: &str, name: &str, body: &Bytes) -> Response {
    let patch: Value = serde_json::from_slice(body).unwrap();
    let patched = api.change(plural, name, |object| {
        let uid = &patch["metadata"]["uid"];
        (uid.is_null() || *uid == object["metadata"]["uid"]).then(|| merge(object, &patch))
    });
    patched.map_or_else(absent, |object| axum::Json(object).into_response())
}

/// JSON merge patch (RFC 7386).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        match value {
            Value::Null => drop(target.as_object_mut().unwrap().remove(key)),
            value => merge(&mut target[key], value),
        }
    }
}

/// Lists and watches of one object by name, the only ones a pod runtime makes.
fn read(api: &Api, plural: &str, query: &str) -> Response {
    let name = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("fieldSelector=metadata.name%3D"))
        .unwrap_or_default()
        .to_owned();
    if query.contains("watch=true") {
        return follow(api.clone(), plural.to_owned(), name);
    }
    let kind = if plural == "secrets" {
        "SecretList"
    } else {
        "ConfigMapList"
    };
    let items: Vec<_> = api.get(plural, &name).into_iter().collect();
    let version = api.0.version.load(Ordering::SeqCst).to_string();
    let list = json!({"kind": kind, "apiVersion": "v1",
        "metadata": {"resourceVersion": version}, "items": items});
    axum::Json(list).into_response()
}

fn follow(api: Api, plural: String, name: String) -> Response {
    let changes = WatchStream::from_changes(api.0.changed.subscribe());
    let lines = changes.map(move |_| {
        let object = api.get(&plural, &name).map(|mut object| {
            object["kind"] = json!(if plural == "secrets" {
                "Secret"
            } else {
                "ConfigMap"
            });
            object["apiVersion"] = json!("v1");
            json!({"type": "MODIFIED", "object": object})
        });
        let line = object.map(|event| format!("{event}\n")).unwrap_or_default();
        Ok::<_, std::io::Error>(Bytes::from(line))
    });
    Body::from_stream(lines).into_response()
}
