//! HTTP/1.1 and HTTP/2 over TLS, apart from what is said over it: connections, handshakes, drain.
//!
//! A crate of its own because a server of many small answers spends most of its time in h2, hyper and
//! rustls, whose generic code is compiled where its types are known. Here they are: a [`Visitor`] and
//! its answers come as trait objects. So this little is compiled for speed, and the control plane,
//! which is large and changes often, need not be.
//!
//! Not here: who a caller is, and anything that depends on a path.

mod crowd;
mod gather;
mod owed;
mod rest;
mod silence;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crowd::Crowd;
use gather::{Gathered, Turns};
use http::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use owed::{Attended, Debts, Outgoing};
use rustls::server::ServerConfig;
use rustls_pki_types::CertificateDer;
use silence::Spoken;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Requests under way have this long after the signal to stop.
const DRAIN: Duration = Duration::from_secs(5);
/// Streams of one HTTP/2 connection, as in client-go's expectations.
const STREAMS: u32 = 250;
/// After a connection could not be accepted, because files are short or memory is.
const PAUSE: Duration = Duration::from_millis(100);

/// How long clients are waited for. The default is what kube-apiserver allows, but for answers, which it
/// ends after a minute however fast they are read, and watches, which it leaves.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the end of the TLS handshake.
    pub handshake: Duration,
    /// Then for the first bytes, which say what is spoken.
    pub silence: Duration,
    /// For the whole head of a request of HTTP/1.1, counted from the end of the one before.
    pub head: Duration,
    /// For every 64 KiB of an answer to be taken, from when they are there; up to twice as long. See
    /// [`Unhurried`].
    pub answer: Duration,
}

/// Marks, as an extension, an answer that its reader may take at leisure: one that he looks at while it
/// comes, and that costs the server no more than its connection.
#[derive(Debug, Clone, Copy)]
pub struct Unhurried;

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            silence: Duration::from_secs(32),
            head: Duration::from_secs(90),
            answer: Duration::from_secs(60),
        }
    }
}

/// An error of a body or of the connection below it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// Any body.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;
/// An answer in the making.
pub type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// Where connections come in.
pub trait Door: Send + Sync + 'static {
    /// Somebody has connected from `peer` and has proven to have the key of the first certificate of
    /// `chain`, if there is one.
    fn open(&self, peer: SocketAddr, chain: Option<&[CertificateDer<'static>]>)
    -> Arc<dyn Visitor>;
}

/// Who asks over one connection.
pub trait Visitor: Send + Sync + 'static {
    /// Answers a request.
    fn ask(&self, request: Request<Body>) -> Answer;
}

/// Serves the connections of `tcp` until `stopping`, then lets requests under way finish for a while.
#[inline(never)]
pub fn serve(
    tcp: TcpListener,
    tls: Arc<ServerConfig>,
    door: Arc<dyn Door>,
    stopping: CancellationToken,
) -> JoinHandle<()> {
    serve_within(Patience::default(), tcp, tls, door, stopping)
}

/// The same for clients who are waited for as long as `patience` says.
pub fn serve_within(
    patience: Patience,
    tcp: TcpListener,
    tls: Arc<ServerConfig>,
    door: Arc<dyn Door>,
    stopping: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(accept(patience, tcp, tls.into(), door, stopping))
}

async fn accept(
    patience: Patience,
    tcp: TcpListener,
    tls: TlsAcceptor,
    door: Arc<dyn Door>,
    stopping: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = tcp.accept() => accepted,
            () = stopping.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (tls, door) = (tls.clone(), door.clone());
                let watcher = graceful.watcher();
                tokio::spawn(connection(patience, stream, peer, tls, door, watcher));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    let drained = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
    if drained.is_err() {
        tracing::warn!("connections were cut: they did not end in time");
    }
}

async fn connection(
    patience: Patience,
    stream: TcpStream,
    peer: SocketAddr,
    tls: TlsAcceptor,
    door: Arc<dyn Door>,
    watcher: Watcher,
) {
    let _ = stream.set_nodelay(true);
    let (crowd, debts) = (Crowd::default(), Debts::default());
    let stream = Outgoing::new(stream, debts.clone());
    let stream = match tokio::time::timeout(patience.handshake, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
    };
    let session = stream.get_ref().1;
    let visitor = door.open(peer, session.peer_certificates());
    let gathers = session.alpn_protocol() == Some(b"h2");
    let stream = Spoken::within(patience.silence, stream);
    let stream = Gathered::new(stream, crowd.clone(), gathers);
    let shared = stream.share();
    let counted = (crowd.clone(), debts.clone());
    let given_up = CancellationToken::new();
    let rest = given_up.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let is_last = is_ambiguous(&request);
        let answer = visitor.ask(rest::wanted(request, &rest));
        let (crowd, debts) = counted.clone();
        async move {
            let mut reply = answer.await.map(|body| crowd.count(body));
            reply = match reply.extensions().get::<Unhurried>() {
                None => reply.map(|body| debts.count(body)),
                Some(_) => reply.map(|body| debts.forbear(body)),
            };
            if is_last && reply.status() != StatusCode::SWITCHING_PROTOCOLS {
                let close = HeaderValue::from_static("close");
                reply.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, std::convert::Infallible>(reply)
        }
    });
    let (builder, io) = (builder(patience.head), TokioIo::new(stream));
    let served = builder.serve_connection_with_upgrades(io, service);
    let served = Box::pin(watcher.watch(served.into_owned()));
    let turns = Turns::new(served, shared, crowd);
    let attended = Attended::new(turns, debts, patience.answer);
    let end = tokio::select! {
        end = attended => end,
        () = given_up.cancelled() => {
            return tracing::debug!(%peer, "connection ended: a request was not finished");
        }
    };
    match end {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%peer, error = %error, "connection ended"),
        None => tracing::debug!(%peer, "connection ended: an answer was not taken"),
    }
}

/// Whether nothing may follow the request on its connection: it is chunked, and it cannot be told any
/// more whether it had a length, too. Of such a request others may see another end than we do, and
/// what they take for a part of it must not become a request here (RFC 9112, 6.1).
fn is_ambiguous(request: &Request<Incoming>) -> bool {
    request.headers().contains_key(TRANSFER_ENCODING)
}

fn builder(head: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}
