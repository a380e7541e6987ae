//! The way to a hook: HTTPS to a URL, or to an endpoint of a Service under the Service's name.
//!
//! A call has a connection of its own. Whom a hook's certificate has to be from is said by its
//! `caBundle`; without one, by the machine.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::hook::{Hook, Place};
use super::review::Question;
use crate::api::server::Server;
use crate::api::value::{integer, items, text};

/// Bytes of an answer, at most.
const MAX_ANSWER: usize = 3 << 20;
/// Where a machine keeps the authorities that it trusts.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A way to servers whose certificates are from `bundle`, PEM; from whom the machine trusts, if that
/// is empty.
///
/// # Errors
/// What is wrong with the bundle.
pub(super) fn connector(bundle: &[u8]) -> Result<TlsConnector, String> {
    let system;
    let pem = if bundle.is_empty() {
        system = std::fs::read(SYSTEM_ROOTS).unwrap_or_default();
        system.as_slice()
    } else {
        bundle
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("caBundle: {error}"))?;
        let added = roots.add(certificate);
        added.map_err(|error| format!("caBundle: {error}"))?;
    }
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

/// Where a call goes.
#[derive(Debug, PartialEq)]
pub(super) struct Way {
    /// Name or address, and port, to connect to.
    pub(super) dial: (String, u16),
    /// The name in the server's certificate.
    pub(super) host: String,
    /// What is asked for.
    pub(super) path: String,
}

/// Asks a hook and answers the body of its answer.
///
/// # Errors
/// Why there is none.
pub(super) async fn ask(
    server: &Server,
    hook: &Hook,
    question: &Question,
) -> Result<Bytes, String> {
    if !hook.current {
        return Err("the webhook does not accept AdmissionReview v1".to_owned());
    }
    let tls = hook.tls.as_ref().map_err(Clone::clone)?;
    let way = match &hook.place {
        Place::Url(url) => to_url(url)?,
        place => to_service(server, place)?,
    };
    let seconds = hook.timeout.as_secs();
    let path = with_timeout(&way.path, seconds);
    let address = format!("https://{}:{}{path}", way.host, way.dial.1);
    let failed = |why: String| format!("failed to call webhook: Post {address:?}: {why}");
    let call = exchange(tls, &way, &path, question.body.to_string());
    match tokio::time::timeout(hook.timeout, call).await {
        Ok(answer) => answer.map_err(failed),
        Err(_) => Err(failed("context deadline exceeded".to_owned())),
    }
}

fn with_timeout(path: &str, seconds: u64) -> String {
    let mark = if path.contains('?') { '&' } else { '?' };
    format!("{path}{mark}timeout={seconds}s")
}

async fn exchange(
    tls: &TlsConnector,
    way: &Way,
    path: &str,
    body: String,
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
    let request = Request::post(path)
        .header(header::HOST, format!("{}:{port}", way.host))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| told(&error))?;
    // The connection lives as long as this exchange.
    let exchange = async {
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| told(&error))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("the server answered {status}"));
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
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

/// The way to a URL.
///
/// # Errors
/// When it is none that begins with `https://`.
pub(super) fn to_url(url: &str) -> Result<Way, String> {
    let uri: Uri = url
        .parse()
        .map_err(|error| format!("url {url:?}: {error}"))?;
    if uri.scheme_str() != Some("https") {
        return Err(format!("url {url:?}: must begin with https://"));
    }
    let host = uri.host().ok_or_else(|| format!("url {url:?}: no host"))?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(Way {
        dial: (host.clone(), uri.port_u16().unwrap_or(443)),
        host,
        path: path.to_owned(),
    })
}

/// The way to a Service: straight to one of its endpoints, since the server's own machine need not
/// know addresses of the cluster; to its cluster address where it has no endpoints.
fn to_service(server: &Server, place: &Place) -> Result<Way, String> {
    let Place::Service {
        namespace,
        name,
        port,
        path,
    } = place
    else {
        return Err("no service".to_owned());
    };
    let stored = |plural: &str| server.stored(plural, Some(namespace), name);
    let service = stored("services").ok_or_else(|| format!("service {name:?} not found"))?;
    let dial = dial(&service, stored("endpoints").as_ref(), *port)?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(Way {
        dial,
        host: format!("{name}.{namespace}.svc"),
        path: format!("{slash}{path}"),
    })
}

/// Where a Service's port is.
///
/// # Errors
/// When it has no such port, or nothing is behind it.
pub(super) fn dial(
    service: &Value,
    endpoints: Option<&Value>,
    port: u16,
) -> Result<(String, u16), String> {
    if text(service, "/spec/type") == "ExternalName" {
        return Ok((text(service, "/spec/externalName").to_owned(), port));
    }
    let ports = items(service, "/spec/ports").iter();
    let found = ports
        .clone()
        .find(|it| integer(it, "/port") == Some(port.into()));
    let found = found.ok_or_else(|| format!("no service port {port} found"))?;
    let called = text(found, "/name");
    let subsets = endpoints.map_or(&[][..], |it| items(it, "/subsets"));
    let endpoint = subsets.iter().find_map(|subset| {
        let address = items(subset, "/addresses").first()?;
        let mut ports = items(subset, "/ports").iter();
        let port = ports.find(|it| text(it, "/name") == called)?;
        let port = integer(port, "/port")?.try_into().ok()?;
        Some((text(address, "/ip").to_owned(), port))
    });
    match (endpoint, text(service, "/spec/clusterIP")) {
        (Some(endpoint), _) => Ok(endpoint),
        (None, "" | "None") => Err("no endpoints available for service".to_owned()),
        (None, address) => Ok((address.to_owned(), port)),
    }
}
