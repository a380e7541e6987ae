//! A webhook: an HTTPS server in the test's process that answers as its test says.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What a hook answers.
pub(crate) enum Say {
    /// This as the `response` of a review of the kind that was asked with; the uid is added.
    Response(Value),
    /// This text.
    Text(String),
    /// Nothing, ever.
    Nothing,
}

impl Say {
    /// Yes, with a JSON patch.
    pub(crate) fn patch(patch: &Value) -> Say {
        Say::Response(json!({"allowed": true, "patchType": "JSONPatch",
            "patch": STANDARD.encode(patch.to_string())}))
    }
}

type Seen = Arc<Mutex<Vec<Value>>>;
type Answer = Arc<dyn Fn(&Value) -> Say + Send + Sync>;

/// A running hook; it ends with this.
pub(crate) struct Hook {
    port: u16,
    bundle: String,
    seen: Seen,
    task: JoinHandle<()>,
}

impl Hook {
    /// Starts one that answers a review's `request` with `answer`.
    pub(crate) async fn start(answer: impl Fn(&Value) -> Say + Send + Sync + 'static) -> Hook {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (config, pem) = certified(&["127.0.0.1", "hook.default.svc"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, acceptor) = (Seen::default(), TlsAcceptor::from(Arc::new(config)));
        let task = tokio::spawn(serve(listener, acceptor, seen.clone(), Arc::new(answer)));
        let bundle = STANDARD.encode(pem);
        Hook {
            port,
            bundle,
            seen,
            task,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn bundle(&self) -> &str {
        &self.bundle
    }

    /// A `clientConfig` that leads here.
    pub(crate) fn config(&self) -> Value {
        let url = format!("https://127.0.0.1:{}/review", self.port);
        json!({"url": url, "caBundle": self.bundle})
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Value> {
        self.seen.lock().unwrap().clone()
    }
}

/// TLS under these names, and the certificate, PEM.
fn certified(names: &[&str]) -> (rustls::ServerConfig, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let chain = vec![CertificateDer::from(made.cert.der().to_vec())];
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from(key));
    (config.unwrap(), made.cert.pem())
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, seen: Seen, answer: Answer) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, seen, answer) = (acceptor.clone(), seen.clone(), answer.clone());
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(|request| reply(request, seen.clone(), answer.clone()));
            let connection = hyper::server::conn::http1::Builder::new();
            let _ = connection
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn reply(
    request: http::Request<Incoming>,
    seen: Seen,
    answer: Answer,
) -> Result<http::Response<Full<bytes::Bytes>>, Infallible> {
    let bytes = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&bytes).unwrap();
    // Of a review its request, of anything else all.
    let asked = review.get("request").unwrap_or(&review);
    seen.lock().unwrap().push(asked.clone());
    let text = match answer(asked) {
        Say::Response(mut response) => {
            if response.get("uid").is_none() {
                response["uid"] = review["request"]["uid"].clone();
            }
            json!({"apiVersion": review["apiVersion"], "kind": review["kind"],
                "response": response})
            .to_string()
        }
        Say::Text(text) => text,
        Say::Nothing => std::future::pending().await,
    };
    Ok(http::Response::new(Full::from(text)))
}
