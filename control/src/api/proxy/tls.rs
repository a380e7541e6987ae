//! TLS to servers that nobody vouches for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::api::streams::Pipe;

/// A server has this long to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// TLS over `pipe` with whoever is there, known as `address`.
///
/// # Errors
/// When the other side speaks no TLS, or not in time.
pub(super) async fn trusting(address: SocketAddr, pipe: Pipe) -> std::io::Result<TlsStream<Pipe>> {
    let name = ServerName::IpAddress(address.ip().into());
    let shaking = TlsConnector::from(Arc::new(naru_core::trusting_anybody())).connect(name, pipe);
    let timeout = std::io::ErrorKind::TimedOut;
    tokio::time::timeout(HANDSHAKE, shaking)
        .await
        .unwrap_or_else(|_| Err(timeout.into()))
}
