//! The node's HTTPS server: logs, exec, attach, port-forward, metrics and the gRPC services of netctl.
//!
//! The API server speaks HTTP/1.1 here (streams need its upgrades), netctl HTTP/2; both share one
//! port. Callers prove who they are by a client certificate of the cluster; [`auth`] decides.
//! Streams are not understood here: bytes are carried between the caller and the runtime's own
//! streaming server ([`tunnel`]).

pub mod auth;
pub mod crilog;
pub mod find;
pub mod logs;
mod metrics;
pub mod options;
pub mod routes;
pub mod tls;
pub mod tunnel;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{PartResult, Shared};
use auth::Caller;

const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serves until `shutdown`.
///
/// # Errors
/// Unusable credentials, or an address that can't be bound.
pub async fn serve(shared: Shared, shutdown: CancellationToken) -> PartResult {
    let acceptor = TlsAcceptor::from(Arc::new(tls::config(&shared.config.credentials)?));
    let listener = TcpListener::bind(shared.config.server()).await?;
    tracing::info!(address = %listener.local_addr()?, "node server listens");
    let router = routes::router(shared);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let connection = connection(acceptor.clone(), router.clone(), stream);
                    let end = shutdown.clone();
                    tokio::spawn(async move {
                        tokio::select! { () = end.cancelled() => {}, () = connection => {} }
                    });
                }
                // Out of descriptors, say: a moment later there may be some.
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

async fn connection(acceptor: TlsAcceptor, router: Router, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "handshake failed"),
        Err(_) => return,
    };
    let caller = Caller::from_certificates(stream.get_ref().1.peer_certificates());
    let router = router.layer(axum::Extension(caller));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(128);
    let service = TowerToHyperService::new(router);
    let served = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(error, "connection ended");
    }
}
