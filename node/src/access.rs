//! How the daemon reaches the API server: by the kubeconfig of a node, or, where only the network is
//! its business, by the service account of the pod that it runs in.
//!
//! The token of a service account is read again from its file while the daemon runs, because it
//! expires and the kubelet replaces it.

use std::path::{Path, PathBuf};

use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The kubeconfig can't be read or used.
    #[error("kubeconfig {}", .0.display())]
    Kubeconfig(PathBuf, #[source] kube::config::KubeconfigError),
    /// Neither the command line nor the environment names a server.
    #[error("no API server: give --api-server, or run in a pod of the cluster")]
    NoServer,
    /// What is given is no URL.
    #[error("{0:?} is not the URL of an API server")]
    Url(String),
    /// The service account's files are not there.
    #[error("{}", .0.display())]
    File(PathBuf, #[source] std::io::Error),
    /// The CA file holds no certificate.
    #[error("{} holds no certificate", .0.display())]
    Certificate(PathBuf),
    /// The client can't be made of it.
    #[error("client of the API")]
    Client(#[from] kube::Error),
}

/// A client of the API.
///
/// # Errors
/// See [`AccessError`]; nothing is asked of the server yet.
pub async fn client(config: &crate::Config) -> Result<Client, AccessError> {
    let kubeconfig = config.credentials.join("kubeconfig");
    let access = if config.network_only && !kubeconfig.exists() {
        let env = |name: &str| std::env::var(name).ok();
        let server = server(config.api_server.as_deref(), env)?;
        service_account(&config.service_account, &server)?
    } else {
        of_kubeconfig(&kubeconfig).await?
    };
    Ok(Client::try_from(access)?)
}

async fn of_kubeconfig(path: &Path) -> Result<Config, AccessError> {
    let failed = |error| AccessError::Kubeconfig(path.to_owned(), error);
    let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    config.map_err(failed)
}

/// The URL of the server: as given, or as every pod's environment has it.
fn server(
    given: Option<&str>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<String, AccessError> {
    if let Some(url) = given {
        return Ok(url.to_owned());
    }
    let host = env("KUBERNETES_SERVICE_HOST").ok_or(AccessError::NoServer)?;
    let port = env("KUBERNETES_SERVICE_PORT").ok_or(AccessError::NoServer)?;
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host
    };
    Ok(format!("https://{host}:{port}"))
}

fn service_account(dir: &Path, server: &str) -> Result<Config, AccessError> {
    let invalid = || AccessError::Url(server.to_owned());
    let url: http::Uri = server.parse().map_err(|_| invalid())?;
    if url.host().is_none() || url.scheme().is_none() {
        return Err(invalid());
    }
    let token = dir.join("token");
    // It is read again and again later; that it is missing is told now.
    std::fs::metadata(&token).map_err(|error| AccessError::File(token.clone(), error))?;
    let encrypted = url.scheme() == Some(&http::uri::Scheme::HTTPS);
    let mut config = Config::new(url);
    if encrypted {
        config.root_cert = Some(certificates(&dir.join("ca.crt"))?);
    }
    config.auth_info = AuthInfo {
        token_file: Some(token.display().to_string()),
        ..AuthInfo::default()
    };
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, AccessError> {
    let pem = std::fs::read(path).map_err(|error| AccessError::File(path.to_owned(), error))?;
    let found = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
    let found: Vec<_> = found.map(|certificate| certificate.to_vec()).collect();
    if found.is_empty() {
        return Err(AccessError::Certificate(path.to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_as_given_or_as_the_environment_says() {
        let env = |name: &str| match name {
            "KUBERNETES_SERVICE_HOST" => Some("fd00::1".to_owned()),
            "KUBERNETES_SERVICE_PORT" => Some("443".to_owned()),
            _ => None,
        };
        assert_eq!(server(None, env).unwrap(), "https://[fd00::1]:443");
        assert_eq!(
            server(Some("https://a:6443"), env).unwrap(),
            "https://a:6443"
        );
        assert!(matches!(server(None, |_| None), Err(AccessError::NoServer)));
    }

    #[test]
    fn what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let fault = |url: &str| service_account(dir.path(), url).unwrap_err().to_string();
        assert!(fault("nonsense").contains("is not the URL"));
        assert!(fault("https://a:6443").ends_with("/token"));
        std::fs::write(dir.path().join("token"), "secret").unwrap();
        assert!(fault("https://a:6443").ends_with("/ca.crt"));
        std::fs::write(dir.path().join("ca.crt"), "nothing").unwrap();
        assert!(fault("https://a:6443").contains("holds no certificate"));
        let plain = service_account(dir.path(), "http://a:6443").unwrap();
        assert!(plain.auth_info.token_file.unwrap().ends_with("/token"));
    }
}
