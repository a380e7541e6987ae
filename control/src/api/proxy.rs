//! Requests that others answer: nodes over mutual TLS, and what runs in the cluster; streamed both
//! ways, upgrades tunnelled as bytes.
//!
//! Each request has a connection of its own; what flows through is neither buffered nor understood.

mod tls;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::client::ResolvesClientCert;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::audit::Trail;
use super::body::{Body, Reply, empty};
use super::listener::{ListenError, roots};
use super::status::{Result, Status};
use super::streams::Pipe;

/// A node has this long to accept a connection and shake hands.
const CONNECT: Duration = Duration::from_secs(10);

/// What comes of asking a node for streams.
pub(super) enum Opened {
    /// A connection that speaks SPDY/3.1 from here on.
    Pipe(Pipe),
    /// The node's refusal.
    Refused(Reply),
}

/// A client whose connection is about to be switched.
pub(super) struct Client {
    pub(super) connection: OnUpgrade,
    /// Its record ends when the connection does.
    pub(super) trail: Option<Trail>,
}

impl Client {
    /// The client that sent `request`.
    pub(super) fn of(request: &mut Request<Body>) -> Self {
        Self {
            connection: hyper::upgrade::on(&mut *request),
            trail: request.extensions_mut().remove(),
        }
    }
}

/// Calls nodes as `kube-apiserver-kubelet-client`.
pub struct NodeClient {
    one: TlsConnector,
    two: TlsConnector,
}

impl NodeClient {
    /// A client that shows the certificate of `shown` at that moment and trusts nodes that
    /// `authority`, PEM, has signed.
    ///
    /// # Errors
    /// When the authority is unreadable.
    pub fn new(
        shown: Arc<dyn ResolvesClientCert>,
        authority: &str,
    ) -> std::result::Result<Self, ListenError> {
        let config = ClientConfig::builder().with_root_certificates(roots(authority)?);
        let mut one = config.with_client_cert_resolver(shown);
        let mut two = one.clone();
        one.alpn_protocols = vec![b"http/1.1".to_vec()];
        two.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            one: Arc::new(one).into(),
            two: Arc::new(two).into(),
        })
    }

    /// Sends `request` to the node at `address` under `path_and_query` and streams the answer back.
    ///
    /// # Errors
    /// 500 when the node is out of reach.
    pub(super) async fn forward(
        &self,
        address: SocketAddr,
        path_and_query: &str,
        mut request: Request<Body>,
    ) -> Result<Reply> {
        let upgrade = upgrade_of(request.headers());
        let client = upgrade.is_some().then(|| Client::of(&mut request));
        let second = request.version() == Version::HTTP_2 && client.is_none();
        let request = rewrite(request, address, path_and_query, upgrade.as_deref(), second)?;
        if second {
            self.send_two(address, request).await
        } else {
            self.send_one(address, request, client).await
        }
    }

    /// Asks the node for SPDY/3.1 streams of `version` under `path_and_query`.
    ///
    /// # Errors
    /// 500 when the node is out of reach or breaks off.
    pub(super) async fn open(
        &self,
        address: SocketAddr,
        path_and_query: &str,
        version: &'static str,
    ) -> Result<Opened> {
        let request = Request::post("/")
            .header("x-stream-protocol-version", version)
            .body(empty());
        let request = request.map_err(|error| Status::internal(error.to_string()))?;
        let request = rewrite(request, address, path_and_query, Some("SPDY/3.1"), false)?;
        let mut response = self.ask(address, request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Opened::Refused(clean(response)));
        }
        let upgraded = hyper::upgrade::on(&mut response).await;
        let upgraded = upgraded.map_err(|error| unreachable(address, &error))?;
        Ok(Opened::Pipe(Box::new(TokioIo::new(upgraded))))
    }

    /// Sends a request over a connection of its own.
    async fn ask(
        &self,
        address: SocketAddr,
        request: Request<Body>,
    ) -> Result<http::Response<Incoming>> {
        let stream = connect(&self.one, address).await?;
        let asked = ask(stream, request).await;
        asked.map_err(|error| unreachable(address, &error))
    }

    async fn send_one(
        &self,
        address: SocketAddr,
        request: Request<Body>,
        client: Option<Client>,
    ) -> Result<Reply> {
        Ok(answer(self.ask(address, request).await?, client))
    }

    async fn send_two(&self, address: SocketAddr, request: Request<Body>) -> Result<Reply> {
        let stream = connect(&self.two, address).await?;
        let handshake = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(30))
            .handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake
            .await
            .map_err(|error| unreachable(address, &error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%address, %error, "connection to a node ended");
            }
        });
        let response = sender.send_request(request).await;
        Ok(clean(
            response.map_err(|error| unreachable(address, &error))?,
        ))
    }
}

/// Sends a request over a connection that is for it alone.
async fn ask<S>(stream: S, request: Request<Body>) -> hyper::Result<http::Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a forwarded connection ended");
        }
    });
    sender.send_request(request).await
}

/// The answer for the client, which is joined with the other side if both have switched protocols.
fn answer(mut response: http::Response<Incoming>, client: Option<Client>) -> Reply {
    match client {
        Some(client) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let node = hyper::upgrade::on(&mut response);
            tokio::spawn(tunnel(client, node));
            let (parts, _) = response.into_parts();
            http::Response::from_parts(parts, empty())
        }
        _ => clean(response),
    }
}

/// A server of the cluster's users, and what is asked of it.
pub(super) struct Target {
    /// Where it is known; the way there may be another.
    pub(super) address: SocketAddr,
    https: bool,
    path_and_query: String,
}

impl Target {
    /// `path_and_query` of the server at `address`.
    pub(super) fn new(address: SocketAddr, https: bool, path_and_query: &str) -> Self {
        Self {
            address,
            https,
            path_and_query: path_and_query.to_owned(),
        }
    }
}

/// A connection to a server of the cluster's users.
///
/// # Errors
/// 503 when there is none.
pub(super) async fn dial(address: SocketAddr) -> Result<Pipe> {
    let refused = |why: &dyn std::fmt::Display| {
        Status::unavailable(format!("error trying to reach service: {address}: {why}"))
    };
    match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            let _ = stream.set_nodelay(true);
            Ok(Box::new(stream))
        }
        Ok(Err(error)) => Err(refused(&error)),
        Err(_) => Err(refused(&"no answer in time")),
    }
}

/// Sends a request to `target` over `pipe` and streams the answer back. A server behind HTTPS need
/// not prove who it is: its users make up their certificates themselves.
///
/// # Errors
/// In words, when there is no answer.
pub(super) async fn through(
    pipe: Pipe,
    target: &Target,
    mut request: Request<Body>,
) -> std::result::Result<Reply, String> {
    let upgrade = upgrade_of(request.headers());
    let client = upgrade.is_some().then(|| Client::of(&mut request));
    let cookies = request.headers().get_all(header::COOKIE).iter().cloned();
    let cookies: Vec<HeaderValue> = cookies.collect();
    let (address, path) = (target.address, &target.path_and_query);
    let request = rewrite(request, address, path, upgrade.as_deref(), false);
    let mut request = request.map_err(|status| status.message)?;
    for cookie in cookies {
        request.headers_mut().append(header::COOKIE, cookie);
    }
    let asked = if target.https {
        let stream = tls::trusting(address, pipe).await;
        ask(stream.map_err(|error| error.to_string())?, request).await
    } else {
        ask(pipe, request).await
    };
    Ok(answer(asked.map_err(|error| error.to_string())?, client))
}

/// Sends a request to the server at `dial`, whose certificate has to name `host`, and streams the
/// answer back.
///
/// # Errors
/// In words, when there is no answer.
pub(super) async fn beyond(
    tls: &TlsConnector,
    dial: (&str, u16),
    host: &str,
    path_and_query: &str,
    mut request: Request<Body>,
) -> std::result::Result<Reply, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let attempt = async {
        let stream = TcpStream::connect(dial).await?;
        stream.set_nodelay(true)?;
        let address = stream.peer_addr()?;
        Ok::<_, std::io::Error>((address, tls.connect(name, stream).await?))
    };
    let (host, port) = dial;
    let refused = |why: &dyn std::fmt::Display| format!("dial tcp {host}:{port}: {why}");
    let (address, stream) = match tokio::time::timeout(CONNECT, attempt).await {
        Ok(connected) => connected.map_err(|error| refused(&error))?,
        Err(_) => return Err(refused(&"no answer in time")),
    };
    let upgrade = upgrade_of(request.headers());
    let client = upgrade.is_some().then(|| Client::of(&mut request));
    let request = rewrite(request, address, path_and_query, upgrade.as_deref(), false);
    let request = request.map_err(|status| status.message)?;
    let asked = ask(stream, request)
        .await
        .map_err(|error| error.to_string())?;
    Ok(answer(asked, client))
}

/// The node's certificate must name the address that is dialled.
async fn connect(tls: &TlsConnector, address: SocketAddr) -> Result<TlsStream<TcpStream>> {
    let attempt = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        tls.connect(ServerName::IpAddress(address.ip().into()), stream)
            .await
    };
    match tokio::time::timeout(CONNECT, attempt).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(unreachable(address, &error)),
        Err(_) => Err(unreachable(address, &"no answer in time")),
    }
}

fn unreachable(address: SocketAddr, why: &dyn std::fmt::Display) -> Status {
    Status::internal(format!("error dialing backend: {address}: {why}"))
}

/// The protocol that the client wants to switch to.
pub(super) fn upgrade_of(headers: &HeaderMap) -> Option<String> {
    let connection = headers.get(header::CONNECTION)?.to_str().ok()?;
    let switches = connection
        .split(',')
        .any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    let protocol = headers.get(header::UPGRADE)?.to_str().ok()?;
    switches.then(|| protocol.to_owned())
}

/// Headers that concern one connection only, and the credentials that are for this server alone.
const PRIVATE: [HeaderName; 8] = [
    header::CONNECTION,
    header::UPGRADE,
    header::HOST,
    header::TRANSFER_ENCODING,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::AUTHORIZATION,
    header::COOKIE,
];

fn rewrite(
    request: Request<Body>,
    address: SocketAddr,
    path_and_query: &str,
    upgrade: Option<&str>,
    second: bool,
) -> Result<Request<Body>> {
    let (mut parts, body) = request.into_parts();
    let uri = if second {
        format!("https://{address}{path_and_query}")
    } else {
        path_and_query.to_owned()
    };
    parts.uri = uri
        .parse::<Uri>()
        .map_err(|error| Status::bad_request(error.to_string()))?;
    parts.version = if second {
        Version::HTTP_2
    } else {
        Version::HTTP_11
    };
    PRIVATE
        .iter()
        .for_each(|name| drop(parts.headers.remove(name)));
    parts.headers.remove("keep-alive");
    if !second {
        let host = HeaderValue::from_str(&address.to_string());
        parts
            .headers
            .insert(header::HOST, host.expect("an address is a header value"));
    }
    if let Some(upgrade) = upgrade {
        let upgrade = HeaderValue::from_str(upgrade);
        let upgrade = upgrade.map_err(|error| Status::bad_request(error.to_string()))?;
        parts
            .headers
            .insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        parts.headers.insert(header::UPGRADE, upgrade);
    }
    parts.extensions.clear();
    Ok(Request::from_parts(parts, body))
}

fn clean(response: http::Response<Incoming>) -> Reply {
    let mut reply = response.map(|body| body.map_err(Into::into).boxed_unsync());
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        reply.headers_mut().remove(name);
    }
    reply.extensions_mut().clear();
    // A log that somebody pages through, say; as slowly as he reads it is read from the other side.
    reply.extensions_mut().insert(naru_http::Unhurried);
    reply
}

async fn tunnel(client: Client, node: OnUpgrade) {
    let (client, node) = match tokio::try_join!(client.connection, node) {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "an upgrade broke off"),
    };
    let (mut client, mut node) = (TokioIo::new(client), TokioIo::new(node));
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut node).await {
        tracing::debug!(%error, "a tunnel broke off");
    }
}

/// The address of a node's server by its status.
pub(super) fn node_address(node: &serde_json::Value) -> Option<SocketAddr> {
    let addresses = super::value::items(node, "/status/addresses").iter();
    let of_type = |wanted: &str| {
        let mut addresses = addresses.clone();
        addresses.find_map(|address| {
            let found = super::value::text(address, "/type") == wanted;
            let ip: Option<IpAddr> = super::value::text(address, "/address").parse().ok();
            ip.filter(|_| found)
        })
    };
    let ip = of_type("InternalIP").or_else(|| of_type("ExternalIP"))?;
    let port = super::value::integer(node, "/status/daemonEndpoints/kubeletEndpoint/Port");
    let port = port
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0);
    Some(SocketAddr::new(
        ip,
        port.unwrap_or(naru_core::names::defaults::NODE_PORT),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_reached_at_its_internal_address() {
        let mut node = json!({"status": {"addresses": [
            {"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.0.0.7"}]}});
        assert_eq!(node_address(&node), Some("10.0.0.7:10250".parse().unwrap()));
        node["status"]["daemonEndpoints"] = json!({"kubeletEndpoint": {"Port": 1234}});
        assert_eq!(node_address(&node), Some("10.0.0.7:1234".parse().unwrap()));
        assert_eq!(node_address(&json!({})), None);
    }

    #[test]
    fn credentials_and_connection_headers_stay_here() {
        let request = Request::builder()
            .header("authorization", "Bearer secret")
            .header("connection", "Upgrade")
            .header("upgrade", "SPDY/3.1")
            .header("x-stream-protocol-version", "v4.channel.k8s.io")
            .body(empty())
            .unwrap();
        let address = "10.0.0.7:10250".parse().unwrap();
        let sent = rewrite(request, address, "/exec/a/b/c?x=y", Some("SPDY/3.1"), false).unwrap();
        assert_eq!(sent.uri(), "/exec/a/b/c?x=y");
        assert!(!sent.headers().contains_key("authorization"));
        assert_eq!(sent.headers()["upgrade"], "SPDY/3.1");
        assert_eq!(sent.headers()["host"], "10.0.0.7:10250");
        assert_eq!(
            sent.headers()["x-stream-protocol-version"],
            "v4.channel.k8s.io"
        );
    }
}
