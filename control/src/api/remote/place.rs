//! Where a server is, by URL or by Service.

use http::Uri;
use serde_json::Value;

use crate::api::server::Server;
use crate::api::value::{integer, items, text};

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api) enum Place {
    /// At an address of its own.
    Url(String),
    /// Behind a Service.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its port.
        port: u16,
        /// What is asked for there.
        path: String,
    },
}

impl Place {
    /// What a `clientConfig` says.
    pub(in crate::api) fn read(config: &Value) -> Place {
        let url = text(config, "/url");
        if !url.is_empty() {
            return Place::Url(url.to_owned());
        }
        let service = |field: &str| text(config, &format!("/service/{field}")).to_owned();
        let port = integer(config, "/service/port").and_then(|port| port.try_into().ok());
        Place::Service {
            namespace: service("namespace"),
            name: service("name"),
            port: port.unwrap_or(443),
            path: service("path"),
        }
    }

    /// The way there at this moment.
    ///
    /// # Errors
    /// When the URL is none, or nothing is behind the Service.
    pub(in crate::api) fn way(&self, server: &Server) -> Result<Way, String> {
        let (namespace, name, port, path) = match self {
            Place::Url(url) => return to_url(url),
            Place::Service {
                namespace,
                name,
                port,
                path,
            } => (namespace, name, *port, path),
        };
        let stored = |plural: &str| server.stored(plural, Some(namespace), name);
        let service = stored("services").ok_or_else(|| format!("service {name:?} not found"))?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Way {
            dial: dial(&service, stored("endpoints").as_ref(), port)?,
            host: format!("{name}.{namespace}.svc"),
            path: format!("{slash}{path}"),
        })
    }
}

/// Where a call goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api) struct Way {
    /// Name or address, and port, to connect to.
    pub(in crate::api) dial: (String, u16),
    /// The name in the server's certificate.
    pub(in crate::api) host: String,
    /// What is asked for.
    pub(in crate::api) path: String,
}

/// The way to a URL.
///
/// # Errors
/// When it is none that begins with `https://`.
pub(in crate::api) fn to_url(url: &str) -> Result<Way, String> {
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

/// Where a Service's port is: straight at one of its endpoints, since the server's own machine need
/// not know addresses of the cluster; at its cluster address where it has no endpoints.
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
