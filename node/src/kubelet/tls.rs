//! The server's side of TLS: its certificate, and the authority that signs its callers'.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem};

/// Credentials that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or isn't PEM.
    #[error("{path}: {source}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// Certificate and key do not fit, or the authority is none.
    #[error("unusable serving credentials: {0}")]
    Config(String),
}

/// From `serving.crt`, `serving.key` and `ca.crt` in `credentials`. Callers without a certificate
/// get through the handshake: health is for everyone.
///
/// # Errors
/// Files that are missing, malformed, or do not fit together.
pub fn config(credentials: &Path) -> Result<ServerConfig, TlsError> {
    let unusable = |error: &dyn std::fmt::Display| TlsError::Config(error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&credentials.join("ca.crt"))? {
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
        .allow_unauthenticated()
        .build()
        .map_err(|error| unusable(&error))?;
    let key_path = credentials.join("serving.key");
    let key = PrivateKeyDer::from_pem_file(&key_path).map_err(|source| TlsError::Pem {
        path: key_path,
        source,
    })?;
    let chain = certificates(&credentials.join("serving.crt"))?;
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| unusable(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |source| TlsError::Pem {
        path: path.to_owned(),
        source,
    };
    CertificateDer::pem_file_iter(path)
        .map_err(wrong)?
        .collect::<Result<_, _>>()
        .map_err(wrong)
}
