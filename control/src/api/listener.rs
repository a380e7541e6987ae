//! The HTTPS listener: TLS with optional client certificates, HTTP/1.1 and HTTP/2, drain at the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use rustls::RootCertStore;
use rustls::server::{ResolvesServerCert, ServerConfig, WebPkiClientVerifier};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::authn::{Peer, Proven, User};
use super::dispatch::Api;

/// A client has this long to finish its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Requests under way have this long after the signal to stop.
const DRAIN: Duration = Duration::from_secs(5);
/// Streams of one HTTP/2 connection, as in client-go's expectations.
const STREAMS: u32 = 250;

/// Why the listener could not start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A certificate or key is unreadable.
    #[error("a certificate or key is unreadable")]
    Pem(#[source] rustls_pki_types::pem::Error),
    /// TLS refuses certificate and key.
    #[error("TLS refuses the certificates")]
    Tls(#[source] rustls::Error),
    /// The client authority is unusable.
    #[error("the client authority is unusable")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// The address cannot be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// A bound listener.
pub struct Listener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl Listener {
    /// Binds `address`. Every handshake shows the certificate of `shown` at that moment and trusts
    /// clients that `authority`, PEM, has signed.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn bind(
        address: SocketAddr,
        shown: Arc<dyn ResolvesServerCert>,
        authority: &str,
    ) -> Result<Self, ListenError> {
        let tls = TlsAcceptor::from(Arc::new(tls_config(shown, authority)?));
        let tcp = TcpListener::bind(address).await;
        let tcp = tcp.map_err(|source| ListenError::Bind { address, source })?;
        Ok(Self { tcp, tls })
    }

    /// The bound address.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until `stopping`, then lets requests under way finish for a while.
    pub async fn serve(self, api: Api, stopping: CancellationToken) {
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.tcp.accept() => accepted,
                () = stopping.cancelled() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (tls, api, watcher) = (self.tls.clone(), api.clone(), graceful.watcher());
                    tokio::spawn(connection(stream, peer, tls, api, watcher));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        if tokio::time::timeout(DRAIN, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("connections were cut: they did not end in time");
        }
    }
}

/// A store of roots that holds the one `authority`, PEM.
pub(super) fn roots(authority: &str) -> Result<RootCertStore, ListenError> {
    let authority = CertificateDer::from_pem_slice(authority.as_bytes());
    let mut roots = RootCertStore::empty();
    roots
        .add(authority.map_err(ListenError::Pem)?)
        .map_err(ListenError::Tls)?;
    Ok(roots)
}

fn tls_config(
    shown: Arc<dyn ResolvesServerCert>,
    authority: &str,
) -> Result<ServerConfig, ListenError> {
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots(authority)?))
        .allow_unauthenticated()
        .build();
    let verifier = verifier.map_err(ListenError::Verifier)?;
    let builder = ServerConfig::builder().with_client_cert_verifier(verifier);
    let mut config = builder.with_cert_resolver(shown);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: TlsAcceptor,
    api: Api,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let user = certificates
        .and_then(<[_]>::first)
        .and_then(|leaf| User::of_certificate(leaf));
    let proven = user.map(Proven);
    let service = service_fn(move |request: Request<Incoming>| {
        let api = api.clone();
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        if let Some(proven) = &proven {
            request.extensions_mut().insert(proven.clone());
        }
        if api.is_audited() {
            request.extensions_mut().insert(Peer(peer));
        }
        async move { Ok::<_, std::convert::Infallible>(api.handle(request).await) }
    });
    let builder = builder();
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(served.into_owned()).await {
        tracing::debug!(%peer, error = %error, "connection ended");
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(30));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}
