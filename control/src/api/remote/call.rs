//! One request and its answer over a connection of their own.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, HeaderValue};
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Way;
use super::place::to_url;

/// Certificates and key that a client shows.
pub(in crate::api) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A way to servers whose certificates are from `roots`, as `identity` or as nobody.
///
/// # Errors
/// When certificate and key do not fit.
pub(in crate::api) fn connector(
    roots: RootCertStore,
    identity: Option<Identity>,
) -> Result<TlsConnector, String> {
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| format!("client certificate: {error}"))?,
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

/// The body behind a URL, of `most` bytes at most.
///
/// # Errors
/// Why there is none.
pub(in crate::api) async fn get(
    tls: &TlsConnector,
    url: &str,
    most: usize,
) -> Result<Bytes, String> {
    let way = to_url(url)?;
    let request = Request::get(&way.path).body(Full::default());
    let request = request.map_err(|error| error.to_string())?;
    call(tls, &way, request, most).await
}

/// A request that posts JSON to `path`.
///
/// # Errors
/// When the path is none.
pub(in crate::api) fn post(path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    let request = request.body(Full::new(body));
    request.map_err(|error| error.to_string())
}

/// Sends a request and answers the body of the answer, of `most` bytes at most.
///
/// # Errors
/// Why there is none.
pub(in crate::api) async fn call(
    tls: &TlsConnector,
    way: &Way,
    mut request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Bytes, String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let (host, port) = (way.dial.0.as_str(), way.dial.1);
    let stream = TcpStream::connect((host, port)).await;
    let stream = stream.map_err(|error| format!("dial tcp {host}:{port}: {error}"))?;
    let name = ServerName::try_from(way.host.clone()).map_err(|error| told(&error))?;
    let stream = tls.connect(name, stream).await;
    let stream = stream.map_err(|error| format!("tls: {error}"))?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| told(&error))?;
    let host = HeaderValue::from_str(&format!("{}:{port}", way.host));
    let headers = request.headers_mut();
    headers.insert(HOST, host.map_err(|error| told(&error))?);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    // The connection lives as long as this exchange.
    let exchange = async {
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| told(&error))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("the server answered {status}"));
        }
        let body = Limited::new(answer.into_body(), most).collect().await;
        Ok(body.map_err(|error| error.to_string())?.to_bytes())
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(told(&error)),
        },
    }
}
