//! The API over TLS with optional client certificates: what is shown, who is trusted, and who a
//! connection's client is. Connections themselves are `naru-http`'s.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;
use naru_http::{Answer, Body};
use rustls::RootCertStore;
use rustls::server::{ResolvesServerCert, ServerConfig, WebPkiClientVerifier};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::authn::{Caller, Fronted, Peer, Proven};
use super::dispatch::Api;

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
    tls: Arc<ServerConfig>,
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
        let tls = Arc::new(tls_config(shown, trusted)?);
        let tcp = TcpListener::bind(address).await;
        let tcp = tcp.map_err(|source| ListenError::Bind { address, source })?;
        Ok(Self { tcp, tls, front })
    }

    /// The bound address.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until `stopping`, then lets requests under way finish for a while.
    pub fn serve(self, api: Api, stopping: CancellationToken) -> JoinHandle<()> {
        let Self { tcp, tls, front } = self;
        naru_http::serve(tcp, tls, Arc::new(Door { api, front }), stopping)
    }
}

/// Who comes in over TLS.
struct Door {
    api: Api,
    /// The authority of front proxies, DER.
    front: CertificateDer<'static>,
}

impl naru_http::Door for Door {
    fn open(
        &self,
        peer: SocketAddr,
        chain: Option<&[CertificateDer<'static>]>,
    ) -> Arc<dyn naru_http::Visitor> {
        Arc::new(Visitor {
            api: self.api.clone(),
            caller: chain.and_then(|chain| Caller::of(chain, &self.front)),
            peer,
        })
    }
}

/// One connection, as the certificate of its client says whose it is.
struct Visitor {
    api: Api,
    caller: Option<Caller>,
    peer: SocketAddr,
}

impl naru_http::Visitor for Visitor {
    fn ask(&self, mut request: Request<Body>) -> Answer {
        let told = request.extensions_mut();
        match &self.caller {
            Some(Caller::User(user)) => drop(told.insert(Proven(user.clone()))),
            Some(Caller::Front) => drop(told.insert(Fronted)),
            None => {}
        }
        if self.api.is_audited() {
            told.insert(Peer(self.peer));
        }
        let api = self.api.clone();
        Box::pin(async move { api.handle(request).await })
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
