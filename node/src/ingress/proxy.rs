//! One request: find its backend, send it to an endpoint, hand back the answer.
//!
//! The route and the endpoint are chosen once; a change of the table does not touch a request in
//! progress. A request is tried once more, at another endpoint if there is one, when its body is
//! untouched and either no connection came about or the method is idempotent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::backend::{Backend, Endpoint, Load};
use super::body::{Guarded, Lender, Lent};
use super::connect::Connector;
use super::headers;
use super::table::RouteTable;

/// How long an idle connection to an endpoint is kept.
const IDLE: Duration = Duration::from_secs(30);
/// Idle connections kept for each endpoint.
const IDLE_PER_ENDPOINT: usize = 64;
/// Attempts at one request.
const ATTEMPTS: usize = 2;

/// What the proxy sends to its clients.
pub type Body = Either<Guarded, Full<Bytes>>;

/// Why an endpoint gave no response.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("no response in time")]
    Timeout,
    #[error("request failed")]
    Client(#[from] legacy::Error),
}

/// Serves requests from the table of the moment.
#[derive(Debug)]
pub struct Proxy {
    table: Arc<ArcSwap<RouteTable>>,
    client: Client<Connector, Lent>,
    /// How long an endpoint may be silent before its response begins.
    patience: Duration,
}

impl Proxy {
    /// A proxy that connects with `connector` and waits `patience` for a response to begin.
    pub fn new(table: Arc<ArcSwap<RouteTable>>, connector: Connector, patience: Duration) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_ENDPOINT)
            .build(connector);
        Self {
            table,
            client,
            patience,
        }
    }

    /// Answers one request; every failure is a response.
    pub async fn serve(&self, request: Request<Incoming>, client: SocketAddr) -> Response<Body> {
        let (mut head, body) = request.into_parts();
        let host = match headers::host(&head) {
            Ok(host) => host,
            Err(error) => return page(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        let found = self
            .table
            .load()
            .find(&host, head.uri.path())
            .map(Arc::clone);
        let Some(backend) = found else {
            return page(StatusCode::NOT_FOUND, "no route for this host and path");
        };
        let upgrade = head.extensions.remove::<OnUpgrade>();
        prepare(&mut head, client);
        self.pass_on(&backend, &head, &Lender::new(body), upgrade)
            .await
    }

    async fn pass_on(
        &self,
        backend: &Backend,
        head: &Parts,
        body: &Lender,
        upgrade: Option<OnUpgrade>,
    ) -> Response<Body> {
        let mut failed: Option<Arc<Endpoint>> = None;
        for attempt in 1..=ATTEMPTS {
            let Some(endpoint) = backend.pick(failed.as_ref()) else {
                break;
            };
            let load = endpoint.enter();
            match self.send(endpoint, head, body).await {
                Ok(response) => return respond(response, head, load, upgrade),
                Err(error) => {
                    let (name, address) = (backend.name(), endpoint.address());
                    tracing::debug!(backend = name, %address, attempt, %error, "endpoint failed");
                    if attempt == ATTEMPTS || !may_retry(&error, &head.method, body) {
                        return failure(&error, name);
                    }
                    failed = Some(Arc::clone(endpoint));
                }
            }
        }
        let text = format!("{} has no ready endpoint", backend.name());
        page(StatusCode::SERVICE_UNAVAILABLE, &text)
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        head: &Parts,
        body: &Lender,
    ) -> Result<Response<Incoming>, SendError> {
        let mut request = Request::new(body.lend());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = target(endpoint, &head.uri);
        *request.headers_mut() = head.headers.clone();
        let mut response = self.client.request(request);
        let mut seen = body.frames();
        loop {
            match tokio::time::timeout(self.patience, &mut response).await {
                Ok(response) => return Ok(response?),
                // An upload that moves is not silence.
                Err(_) if body.frames() > seen => seen = body.frames(),
                Err(_) => return Err(SendError::Timeout),
            }
        }
    }
}

/// Rewrites a request's head for the way to an endpoint.
fn prepare(head: &mut Parts, client: SocketAddr) {
    let from_uri = head
        .uri
        .authority()
        .and_then(|it| HeaderValue::from_str(it.as_str()).ok());
    let host = from_uri.or_else(|| head.headers.get(header::HOST).cloned());
    headers::forward(&mut head.headers, client, host);
    head.version = Version::HTTP_11;
}

/// The request's path and query at the endpoint's address.
fn target(endpoint: &Endpoint, uri: &Uri) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(endpoint.authority().clone());
    let root = || PathAndQuery::from_static("/");
    parts.path_and_query = Some(uri.path_and_query().cloned().unwrap_or_else(root));
    Uri::from_parts(parts).unwrap_or_default()
}

fn may_retry(error: &SendError, method: &Method, body: &Lender) -> bool {
    let is_safe = match error {
        SendError::Timeout => false,
        SendError::Client(error) => error.is_connect() || method.is_idempotent(),
    };
    is_safe && body.is_whole()
}

fn failure(error: &SendError, backend: &str) -> Response<Body> {
    match error {
        SendError::Timeout => page(
            StatusCode::GATEWAY_TIMEOUT,
            &format!("{backend} did not answer in time"),
        ),
        SendError::Client(_) => page(
            StatusCode::BAD_GATEWAY,
            &format!("no endpoint of {backend} could be reached"),
        ),
    }
}

fn respond(
    mut response: Response<Incoming>,
    request: &Parts,
    load: Load,
    upgrade: Option<OnUpgrade>,
) -> Response<Body> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return switch(response, request, load, upgrade);
    }
    headers::strip(response.headers_mut(), None);
    *response.version_mut() = Version::HTTP_11;
    response.map(|body| Either::Left(Guarded::new(body, load)))
}

/// Joins both sides into a tunnel once the client has the 101.
fn switch(
    mut response: Response<Incoming>,
    request: &Parts,
    load: Load,
    upgrade: Option<OnUpgrade>,
) -> Response<Body> {
    let asked = headers::upgrade(&request.headers).is_some();
    let protocol = headers::upgrade(response.headers());
    let (true, Some(protocol), Some(client)) = (asked, protocol, upgrade) else {
        return page(
            StatusCode::BAD_GATEWAY,
            "the endpoint changed protocols unasked",
        );
    };
    let endpoint = hyper::upgrade::on(&mut response);
    tokio::spawn(tunnel(client, endpoint, load));
    headers::strip(response.headers_mut(), Some(&protocol));
    response.map(|_| Either::Right(Full::default()))
}

async fn tunnel(client: OnUpgrade, endpoint: OnUpgrade, _load: Load) {
    let (client, endpoint) = match tokio::try_join!(client, endpoint) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "upgrade failed");
            return;
        }
    };
    let (mut client, mut endpoint) = (TokioIo::new(client), TokioIo::new(endpoint));
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut endpoint).await {
        tracing::debug!(%error, "tunnel ended");
    }
}

/// A short page of our own.
fn page(status: StatusCode, text: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(format!("{status}: {text}\n")));
    let mut response = Response::new(Either::Right(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
