//! A server with a few answers of its own, and a client that knows no more of it than its address.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use naru_http::{Answer, Body, BoxError, Door, Patience, Visitor};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

/// What every watch says last.
pub(crate) const FAREWELL: &str = "farewell\n";

/// A running server. `/watch` says what is told to `news` until the server stops, `/long` as many
/// lines as its query says, `/echo` switches to a connection that says what it hears, and all else
/// has its path for an answer.
pub(crate) struct Server {
    address: SocketAddr,
    trust: CertificateDer<'static>,
    /// What watches say.
    pub(crate) news: broadcast::Sender<Bytes>,
    pub(crate) stopping: CancellationToken,
    /// Watches and long answers that are open.
    pub(crate) open: Arc<AtomicUsize>,
    pub(crate) served: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_within(Patience::default()).await
    }

    /// One that waits so long for its clients.
    pub(crate) async fn start_within(patience: Patience) -> Self {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let trust = key.cert.der().clone();
        let secret = PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into());
        let builder = ServerConfig::builder_with_provider(default_provider().into());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_no_client_auth();
        let mut tls = builder
            .with_single_cert(vec![trust.clone()], secret)
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let (news, _) = broadcast::channel(1024);
        let (stopping, open) = (CancellationToken::new(), Arc::default());
        let host = Host {
            news: news.clone(),
            stopping: stopping.clone(),
            open: Arc::clone(&open),
        };
        let door = Arc::new(Way(Arc::new(host)));
        let served = naru_http::serve_within(patience, tcp, tls.into(), door, stopping.clone());
        Self {
            address,
            trust,
            news,
            stopping,
            open,
            served,
        }
    }

    /// Connects, and says nothing yet.
    pub(crate) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Connects with one protocol.
    pub(crate) async fn connect(&self, protocol: &str) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.trust.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(default_provider().into());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut tls = builder.with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(tls));
        connector.connect(name, tcp).await.unwrap()
    }

    /// One connection of HTTP/2; its streams take `window` bytes that nobody has read.
    pub(crate) async fn client(&self, window: u32) -> Client {
        let stream = TokioIo::new(self.connect("h2").await);
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(window);
        let (sender, connection) = builder.handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        Client { sender, connection }
    }

    /// Waits until so many watches and long answers are open.
    pub(crate) async fn has_open(&self, answers: usize) {
        while self.open.load(Ordering::Relaxed) != answers {
            tokio::task::yield_now().await;
        }
    }
}

/// A connection of HTTP/2.
pub(crate) struct Client {
    sender: http2::SendRequest<Empty<Bytes>>,
    /// Its end, and whether that was a good one.
    pub(crate) connection: JoinHandle<hyper::Result<()>>,
}

impl Client {
    /// The answer as it comes.
    pub(crate) async fn open(&mut self, path: &str) -> Incoming {
        let request = Request::get(format!("https://localhost{path}"));
        let request = request.body(Empty::new()).unwrap();
        self.sender.ready().await.unwrap();
        let answer = self.sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.into_body()
    }

    /// So many answers at once.
    pub(crate) async fn open_many(&mut self, path: &str, count: usize) -> Vec<Incoming> {
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(self.open(path).await);
        }
        all
    }
}

/// Everything that an answer still has to say.
pub(crate) async fn rest(answer: Incoming) -> String {
    let bytes = answer.collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

struct Way(Arc<Host>);

impl Door for Way {
    fn open(&self, _: SocketAddr, _: Option<&[CertificateDer<'static>]>) -> Arc<dyn Visitor> {
        self.0.clone()
    }
}

struct Host {
    news: broadcast::Sender<Bytes>,
    stopping: CancellationToken,
    open: Arc<AtomicUsize>,
}

impl Visitor for Host {
    fn ask(&self, request: Request<Body>) -> Answer {
        let answer = match request.uri().path() {
            "/watch" => Response::new(self.watch()),
            "/long" => Response::new(self.long(request.uri().query().unwrap().parse().unwrap())),
            "/echo" => echo(request),
            path => Response::new(full(path.to_owned())),
        };
        Box::pin(std::future::ready(answer))
    }
}

impl Host {
    fn seat(&self) -> Seat {
        self.open.fetch_add(1, Ordering::Relaxed);
        Seat(self.open.clone())
    }

    fn long(&self, lines: usize) -> Body {
        let seat = self.seat();
        let line = move |number| {
            let _held = &seat;
            line(number).into()
        };
        streamed(futures_util::stream::iter((0..lines).map(line)))
    }

    fn watch(&self) -> Body {
        let state = Some((self.news.subscribe(), self.stopping.clone(), self.seat()));
        let lines = futures_util::stream::unfold(state, |state| async {
            let (mut news, stopping, seat) = state?;
            match stopping.run_until_cancelled(news.recv()).await {
                Some(line) => Some((line.unwrap(), Some((news, stopping, seat)))),
                None => Some((FAREWELL.into(), None)),
            }
        });
        streamed(lines)
    }
}

/// Gives its place back when its answer is dropped.
struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Line number so and so of `/long`.
pub(crate) fn line(number: usize) -> String {
    format!("{number:0>999}\n")
}

fn streamed(lines: impl futures_util::Stream<Item = Bytes> + Send + 'static) -> Body {
    Lines(Box::pin(lines)).boxed_unsync()
}

type Stream = Pin<Box<dyn futures_util::Stream<Item = Bytes> + Send>>;

/// A body of unknown length.
struct Lines(Stream);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let line = self.0.as_mut().poll_next(context);
        line.map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

fn full(text: String) -> Body {
    let body = Full::new(Bytes::from(text));
    body.map_err(|never| match never {}).boxed_unsync()
}

fn echo(mut request: Request<Body>) -> Response<Body> {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgrade.await.unwrap());
        let mut place = [0; 64];
        while let Ok(read @ 1..) = stream.read(&mut place).await {
            stream.write_all(&place[..read]).await.unwrap();
            stream.flush().await.unwrap();
        }
        stream.shutdown().await.unwrap();
    });
    let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    let answer = answer
        .header("connection", "upgrade")
        .header("upgrade", "echo");
    answer.body(full(String::new())).unwrap()
}
