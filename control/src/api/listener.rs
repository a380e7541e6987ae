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

use super::authn::{Caller, Fronted, Peer, Proven};
use super::dispatch::Api;

/// A client has this long to finish its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Requests under way have this long after the signal to stop.
const DRAIN: Duration = Duration::from_secs(5);
/// A client of HTTP/1.1 has this long to send a request's head, counted from the end of the one before:
/// as long as Kubernetes lets a connection idle.
const IDLE: Duration = Duration::from_secs(90);
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
    /// The authority of front proxies, DER.
    front: CertificateDer<'static>,
}

impl Listener {
    /// Binds `address`. Every handshake shows the certificate of `shown` at that moment and trusts
    /// clients that `authority`, PEM, has signed, and front proxies that `front`, PEM, has.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn bind(
        address: SocketAddr,
        shown: Arc<dyn ResolvesServerCert>,
        authority: &str,
        front: &str,
    ) -> Result<Self, ListenError> {
        let front = CertificateDer::from_pem_slice(front.as_bytes()).map_err(ListenError::Pem)?;
        let mut trusted = roots(authority)?;
        trusted.add(front.clone()).map_err(ListenError::Tls)?;
        let tls = TlsAcceptor::from(Arc::new(tls_config(shown, trusted)?));
        let tcp = TcpListener::bind(address).await;
        let tcp = tcp.map_err(|source| ListenError::Bind { address, source })?;
        Ok(Self { tcp, tls, front })
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
                    let (tls, front) = (self.tls.clone(), self.front.clone());
                    let (api, watcher) = (api.clone(), graceful.watcher());
                    tokio::spawn(connection(stream, peer, (tls, front), api, watcher));
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
    trusted: RootCertStore,
) -> Result<ServerConfig, ListenError> {
    let verifier = WebPkiClientVerifier::builder(Arc::new(trusted))
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
    (tls, front): (TlsAcceptor, CertificateDer<'static>),
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
    let caller = certificates.and_then(|chain| Caller::of(chain, &front));
    let service = service_fn(move |request: Request<Incoming>| {
        let api = api.clone();
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        match &caller {
            Some(Caller::User(user)) => drop(request.extensions_mut().insert(Proven(user.clone()))),
            Some(Caller::Front) => drop(request.extensions_mut().insert(Fronted)),
            None => {}
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
        .header_read_timeout(IDLE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}
