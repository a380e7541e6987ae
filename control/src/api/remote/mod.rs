//! Servers of the cluster's users that this one calls: for admission and for conversion, for the keys
//! of an issuer, and with what is recorded.
//!
//! They are asked over HTTPS, at a URL or at an endpoint of a Service under the Service's name
//! (`place`). A call has a connection of its own. Whom a server's certificate has to be from is said
//! by its `caBundle`; without one, by the machine. What is asked and what an answer means is the
//! caller's business.

mod call;
mod kubeconfig;
mod place;
#[cfg(test)]
mod tests;

pub(super) use call::{Identity, call, connector, get, post};
pub(super) use kubeconfig::Endpoint;
pub(super) use place::{Place, Way, to_url};

use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use tokio_rustls::TlsConnector;

use super::server::Server;
use super::value::text;

/// Where a machine keeps the authorities that it trusts.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A server that answers questions.
pub(super) struct Remote {
    pub(super) place: Place,
    /// The way to it, or what is wrong with its certificates.
    pub(super) tls: Result<TlsConnector, String>,
    pub(super) timeout: Duration,
    /// Bytes of an answer, at most.
    pub(super) most: usize,
}

impl Remote {
    /// What a `clientConfig` says; a call may take `timeout`, an answer be `most` bytes long.
    pub(super) fn read(config: &Value, timeout: Duration, most: usize) -> Remote {
        let bundle = decoded(text(config, "/caBundle"));
        Remote {
            place: Place::read(config),
            tls: bundle.and_then(|pem| connector(roots(&pem)?, None)),
            timeout,
            most,
        }
    }

    /// Posts JSON and answers the body of the answer.
    ///
    /// # Errors
    /// Why there is none, with the address that was asked.
    pub(super) async fn post(&self, server: &Server, body: String) -> Result<Bytes, String> {
        let tls = self.tls.as_ref().map_err(Clone::clone)?;
        let way = self.place.way(server)?;
        let path = with_timeout(&way.path, self.timeout.as_secs());
        let address = format!("https://{}:{}{path}", way.host, way.dial.1);
        let failed = |why: String| format!("Post {address:?}: {why}");
        let request = post(&path, body.into())?;
        let call = call(tls, &way, request, self.most);
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer.map_err(failed),
            Err(_) => Err(failed("context deadline exceeded".to_owned())),
        }
    }
}

/// The certificates of a `caBundle`, PEM.
///
/// # Errors
/// When it is no base64.
pub(super) fn decoded(bundle: &str) -> Result<Vec<u8>, String> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(bundle);
    decoded.map_err(|error| format!("caBundle: {error}"))
}

/// The authorities in `bundle`, PEM; those that the machine trusts, if that is empty.
///
/// # Errors
/// What is wrong with the bundle.
pub(super) fn authorities(bundle: &[u8]) -> Result<RootCertStore, String> {
    let system;
    let pem = if bundle.is_empty() {
        system = std::fs::read(SYSTEM_ROOTS).unwrap_or_default();
        system.as_slice()
    } else {
        bundle
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        let added = roots.add(certificate);
        added.map_err(|error| error.to_string())?;
    }
    Ok(roots)
}

/// The authorities of a `caBundle`, as [`authorities`].
///
/// # Errors
/// What is wrong with the bundle.
pub(super) fn roots(bundle: &[u8]) -> Result<RootCertStore, String> {
    authorities(bundle).map_err(|why| format!("caBundle: {why}"))
}

fn with_timeout(path: &str, seconds: u64) -> String {
    let mark = if path.contains('?') { '&' } else { '?' };
    format!("{path}{mark}timeout={seconds}s")
}
