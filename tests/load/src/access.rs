//! Where the API server is and who we are: a kubeconfig in JSON with everything inside it.
//!
//! Read from the first cluster and the first user; contexts are for people.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

/// A server and the credentials for it.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    /// `host:port`.
    pub(crate) authority: String,
    pub(crate) tls: Arc<ClientConfig>,
}

impl Access {
    /// Reads a kubeconfig.
    ///
    /// # Errors
    /// When it can't be read, is no JSON or lacks a part.
    pub(crate) fn of(file: &Path) -> Result<Self> {
        let text = std::fs::read(file).with_context(|| file.display().to_string())?;
        let config: Value = serde_json::from_slice(&text).context("kubeconfig is not JSON")?;
        let server = text_at(&config, "/clusters/0/cluster/server")?;
        let authority = server
            .strip_prefix("https://")
            .context("server: no https")?;
        Ok(Self {
            authority: authority.trim_end_matches('/').to_owned(),
            tls: Arc::new(tls(&config)?),
        })
    }
}

fn tls(config: &Value) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for ca in certificates(config, "/clusters/0/cluster/certificate-authority-data")? {
        roots.add(ca)?;
    }
    let chain = certificates(config, "/users/0/user/client-certificate-data")?;
    let key = PrivateKeyDer::from_pem_slice(&data_at(config, "/users/0/user/client-key-data")?)?;
    let mut tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok(tls)
}

fn certificates(config: &Value, path: &str) -> Result<Vec<CertificateDer<'static>>> {
    let pem = data_at(config, path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    all.with_context(|| path.to_owned())
}

fn data_at(config: &Value, path: &str) -> Result<Vec<u8>> {
    Ok(STANDARD.decode(text_at(config, path)?)?)
}

fn text_at<'a>(config: &'a Value, path: &str) -> Result<&'a str> {
    let found = config.pointer(path).and_then(Value::as_str);
    found.with_context(|| format!("kubeconfig has no {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_missing_part_is_named() {
        let error = text_at(&json!({"clusters": []}), "/clusters/0/cluster/server").unwrap_err();
        assert!(error.to_string().contains("/clusters/0/cluster/server"));
    }
}
