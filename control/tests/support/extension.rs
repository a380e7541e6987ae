//! An extension server: a version of a group served over HTTPS by the test's process. It believes
//! what is said about callers by whoever the cluster's ConfigMap says, as such servers do.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::Control;

/// The version that it serves.
pub(crate) const PATH: &str = "/apis/walks.naru.test/v1";

/// A running server; it ends with this.
pub(crate) struct Extension {
    pub(crate) port: u16,
    /// Its authority, as an APIService names it.
    pub(crate) bundle: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    broken: AtomicBool,
    walks: watch::Sender<u32>,
    seen: Mutex<Vec<String>>,
}

impl Extension {
    /// Starts one under the name of the Service `walks` in `default`; whom it believes is in the
    /// cluster of `control`.
    pub(crate) async fn start(control: &Control) -> Extension {
        let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
        let trust = control.get(path).await.expect(200)["data"].clone();
        assert_eq!(
            trust["requestheader-allowed-names"],
            "[\"front-proxy-client\"]"
        );
        let made = rcgen::generate_simple_self_signed(["walks.default.svc".to_owned()]).unwrap();
        let acceptor = acceptor(
            &made,
            trust["requestheader-client-ca-file"].as_str().unwrap(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            broken: AtomicBool::new(false),
            walks: watch::channel(1).0,
            seen: Mutex::default(),
        });
        Extension {
            port,
            bundle: STANDARD.encode(made.cert.pem()),
            task: tokio::spawn(serve(listener, acceptor, shared.clone())),
            shared,
        }
    }

    /// Whether it fails from now on.
    pub(crate) fn fail(&self, fails: bool) {
        self.shared.broken.store(fails, Ordering::Relaxed);
    }

    /// Makes another walk, of which watches hear.
    pub(crate) fn walk(&self) {
        self.shared.walks.send_modify(|walks| *walks += 1);
    }

    /// What it was asked, method and path.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Drop for Extension {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn acceptor(made: &rcgen::CertifiedKey<rcgen::KeyPair>, front: &str) -> TlsAcceptor {
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let chain = vec![CertificateDer::from(made.cert.der().to_vec())];
    let mut roots = RootCertStore::empty();
    let front = CertificateDer::from_pem_slice(front.as_bytes()).unwrap();
    roots.add(front).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots));
    let config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, PrivateKeyDer::from(key))
        .unwrap();
    Arc::new(config).into()
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), shared.clone());
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(|request| {
                let reply = answer(request, &shared);
                async { Ok::<_, Infallible>(reply) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            let _ = connection.await;
        });
    }
}

type Reply = Response<BoxBody<Bytes, Infallible>>;

fn reply(code: u16, value: &Value) -> Reply {
    let body = Full::from(value.to_string()).boxed();
    let mut reply = Response::new(body);
    *reply.status_mut() = StatusCode::from_u16(code).unwrap();
    let json = "application/json".parse().unwrap();
    reply.headers_mut().insert("content-type", json);
    reply
}

fn answer(request: Request<Incoming>, shared: &Arc<Shared>) -> Reply {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let said = format!("{method} {uri}");
    shared.seen.lock().unwrap().push(said);
    if shared.broken.load(Ordering::Relaxed) {
        return reply(500, &json!({}));
    }
    let walks = format!("{PATH}/namespaces/default/walks");
    match uri.path().trim_end_matches('/') {
        PATH => reply(200, &resources()),
        "/openapi/v3" => reply(
            200,
            &json!({"paths": {PATH.trim_start_matches('/'): {
            "serverRelativeURL": format!("/openapi/v3{PATH}?hash=7")}}}),
        ),
        path if path == format!("/openapi/v3{PATH}") => reply(
            200,
            &json!({"openapi": "3.0.0", "info": {"title": "walks"}}),
        ),
        "/openapi/v2" => reply(
            200,
            &json!({"paths": {&walks: {}, "/other": {}},
            "definitions": {"test.naru.walks.v1.Walk": {"type": "object"}}}),
        ),
        path if path == walks && uri.query().is_some_and(|it| it.contains("watch")) => {
            watched(shared.walks.subscribe())
        }
        path if path == walks && method == "GET" => {
            let list = json!({"kind": "WalkList", "apiVersion": "walks.naru.test/v1",
                "metadata": {}, "items": [], "asked": asked(request.headers())});
            reply(200, &list)
        }
        path if path == format!("{walks}/a/talk") => switched(request),
        _ => reply(
            404,
            &json!({"kind": "Status", "code": 404, "message": "no such walk"}),
        ),
    }
}

fn resources() -> Value {
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "walks.naru.test/v1",
        "resources": [{"name": "walks", "singularName": "walk", "namespaced": true,
            "kind": "Walk", "verbs": ["get", "list", "watch"], "shortNames": ["wk"]}]})
}

/// Who asks, as the front proxy says.
fn asked(headers: &HeaderMap) -> Value {
    let all = |name: &str| {
        let values = headers.get_all(name).iter();
        values
            .map(|it| it.to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    json!({"user": all("x-remote-user"), "groups": all("x-remote-group"),
        "uid": all("x-remote-uid"), "scopes": all("x-remote-extra-naru.test%2fscopes"),
        "impersonation": all("impersonate-extra-naru.test%2fscopes"),
        "authorization": all("authorization")})
}

/// An event for each number of walks.
fn watched(walks: watch::Receiver<u32>) -> Reply {
    let events = tokio_stream::wrappers::WatchStream::new(walks).map(|walks| {
        let line = json!({"type": "ADDED", "object": {"kind": "Walk",
            "metadata": {"name": format!("w{walks}")}}});
        Ok(Frame::data(Bytes::from(format!("{line}\n"))))
    });
    let body = BodyExt::boxed(StreamBody::new(SyncStream(Mutex::new(events.boxed()))));
    Response::new(body)
}

/// What a body of a shared type has to be.
struct SyncStream<T>(Mutex<futures_util::stream::BoxStream<'static, T>>);

impl<T> futures_util::Stream for SyncStream<T> {
    type Item = T;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<T>> {
        self.0.lock().unwrap().poll_next_unpin(context)
    }
}

/// Says back whatever it hears, once the protocol is switched.
fn switched(mut request: Request<Incoming>) -> Reply {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let stream = TokioIo::new(upgrade.await.unwrap());
        let (mut read, mut write) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    let mut reply = reply(101, &Value::Null);
    for (name, value) in [("connection", "Upgrade"), ("upgrade", "echo")] {
        reply.headers_mut().insert(name, value.parse().unwrap());
    }
    *reply.body_mut() = Full::default().boxed();
    reply
}
