//! An HTTP/2 connection to the API server for gRPC, authenticated as the kubeconfig says.
//!
//! `kube`'s own client speaks HTTP/1.1 only, which has no trailers and hence no gRPC. One
//! connection carries the calls to all nodes.

use std::sync::Arc;

use http::uri::{Authority, Scheme};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube::client::ConfigExt as _;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer as _, ServiceExt as _};

/// What a gRPC client of ours sends its requests to.
pub(crate) type Channel = BoxCloneSyncService<Request<Body>, Response<Incoming>, BoxError>;

/// Silence after which the connection is probed, so that a dead one ends a `--follow`.
const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(20);

/// Longest error page that is read.
const MAX_ERROR: usize = 64 << 10;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelError {
    /// The kubeconfig's server is no usable URL.
    #[error("the API server's URL {0} has no host")]
    Url(Uri),
    /// The kubeconfig wants a proxy, which is not supported.
    #[error("proxy-url of the kubeconfig is not supported")]
    Proxy,
    /// No TCP connection.
    #[error("connect to the API server at {server}")]
    Connect {
        /// Its address.
        server: Authority,
        /// Why.
        source: std::io::Error,
    },
    /// No TLS session.
    #[error("TLS with the API server at {server}")]
    Tls {
        /// Its address.
        server: Authority,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate can't be checked against this name.
    #[error("{0:?} is no name for a server certificate")]
    ServerName(String),
    /// The server does not speak HTTP/2.
    #[error("HTTP/2 with the API server")]
    Http2(#[source] hyper::Error),
    /// The credentials of the kubeconfig can't be used.
    #[error("credentials of the kubeconfig")]
    Credentials(#[source] Box<kube::Error>),
}

/// Opens the connection.
pub(crate) async fn open(config: &kube::Config) -> Result<Channel, ChannelError> {
    if config.proxy_url.is_some() {
        return Err(ChannelError::Proxy);
    }
    let url = &config.cluster_url;
    let server = url
        .authority()
        .ok_or_else(|| ChannelError::Url(url.clone()))?
        .clone();
    let is_tls = url.scheme() == Some(&Scheme::HTTPS);
    let port = server.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let host = server.host().trim_start_matches('[').trim_end_matches(']');
    let failed = |source| ChannelError::Connect {
        server: server.clone(),
        source,
    };
    let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let sender = match is_tls {
        true => handshake(tls(config, &server, host, stream).await?).await?,
        false => handshake(stream).await?,
    };
    layered(config, sender)
}

async fn tls(
    config: &kube::Config,
    server: &Authority,
    host: &str,
    stream: TcpStream,
) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>, ChannelError> {
    let mut tls = config.rustls_client_config().map_err(credentials)?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let name = config.tls_server_name.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name.clone()).map_err(|_| ChannelError::ServerName(name))?;
    let connecting = TlsConnector::from(Arc::new(tls)).connect(name, stream);
    let failed = |source| ChannelError::Tls {
        server: server.clone(),
        source,
    };
    connecting.await.map_err(failed)
}

fn credentials(error: kube::Error) -> ChannelError {
    ChannelError::Credentials(Box::new(error))
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Body>, ChannelError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE);
    let opening = builder.handshake(TokioIo::new(stream));
    let (sender, connection) = opening.await.map_err(ChannelError::Http2)?;
    // Its errors reach the calls that it carries.
    tokio::spawn(connection);
    Ok(sender)
}

/// Adds what authenticates each request.
fn layered(config: &kube::Config, sender: SendRequest<Body>) -> Result<Channel, ChannelError> {
    let plain = tower::service_fn(move |request: Request<Body>| {
        let mut sender = sender.clone();
        async move {
            sender.ready().await?;
            grpc(sender.send_request(request).await?).await
        }
    });
    let headers = extra_headers(config);
    let plain = plain.map_request(move |mut request: Request<Body>| {
        request.headers_mut().extend(headers.iter().cloned());
        request
    });
    Ok(match config.auth_layer().map_err(credentials)? {
        Some(auth) => BoxCloneSyncService::new(auth.layer(plain)),
        None => BoxCloneSyncService::new(plain),
    })
}

/// Passes gRPC on. Anything else comes from a server on the way, most likely a Kubernetes `Status`
/// of the API server, and becomes the error that it describes.
async fn grpc(response: Response<Incoming>) -> Result<Response<Incoming>, BoxError> {
    let kind = response.headers().get(http::header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        return Ok(response);
    }
    let code = response.status();
    let body = Limited::new(response.into_body(), MAX_ERROR)
        .collect()
        .await?;
    let message = status_message(&body.to_bytes()).unwrap_or_else(|| code.to_string());
    Err(Box::new(match code {
        StatusCode::UNAUTHORIZED => tonic::Status::unauthenticated(message),
        StatusCode::FORBIDDEN => tonic::Status::permission_denied(message),
        _ => tonic::Status::unavailable(message),
    }))
}

/// The message of a Kubernetes `Status`.
fn status_message(body: &[u8]) -> Option<String> {
    let status: serde_json::Value = serde_json::from_slice(body).ok()?;
    let message = status.get("message")?.as_str()?;
    Some(message.to_owned()).filter(|message| !message.is_empty())
}

/// Headers of every request: impersonation and what else the kubeconfig adds.
fn extra_headers(config: &kube::Config) -> Vec<(HeaderName, HeaderValue)> {
    let value = |text: &String| HeaderValue::from_str(text).ok();
    let user = config.auth_info.impersonate.as_ref().and_then(value);
    let groups = config
        .auth_info
        .impersonate_groups
        .iter()
        .flatten()
        .filter_map(value);
    let user = user.map(|user| (HeaderName::from_static("impersonate-user"), user));
    let groups = groups.map(|group| (HeaderName::from_static("impersonate-group"), group));
    config
        .headers
        .iter()
        .cloned()
        .chain(user)
        .chain(groups)
        .collect()
}

/// The URI before a node's gRPC methods: the API server's proxy to it.
pub(crate) fn node_uri(cluster: &Uri, node: &str) -> Option<Uri> {
    let base = cluster.path().trim_end_matches('/');
    let mut parts = cluster.clone().into_parts();
    parts.path_and_query = format!("{base}/api/v1/nodes/{node}/proxy").parse().ok();
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_kubernetes_status_is_found() {
        let body = br#"{"kind": "Status", "message": "no such node"}"#;
        assert_eq!(status_message(body).as_deref(), Some("no such node"));
        assert_eq!(status_message(b"<html>"), None);
        assert_eq!(status_message(br#"{"message": ""}"#), None);
    }

    #[test]
    fn a_nodes_uri_keeps_the_clusters_path() {
        let of = |cluster: &str| {
            node_uri(&cluster.parse().unwrap(), "node1")
                .unwrap()
                .to_string()
        };
        assert_eq!(
            of("https://a:6443"),
            "https://a:6443/api/v1/nodes/node1/proxy"
        );
        assert_eq!(
            of("https://a/k8s/x/"),
            "https://a/k8s/x/api/v1/nodes/node1/proxy"
        );
    }
}
