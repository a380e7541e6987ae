//! A server behind an APIService, and what is known about it.

use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::Value;
use tokio_rustls::TlsConnector;

use crate::api::remote::{Place, decoded, roots};
use crate::api::server::Server;
use crate::api::value::{integer, text};
use crate::registry;

/// A version of a group that another server serves.
#[derive(Clone)]
pub(in crate::api) struct Extension {
    pub(in crate::api) group: String,
    pub(in crate::api) version: String,
    /// Of the group among groups and of the version among the group's, higher first.
    pub(super) priority: (i64, i64),
    /// What its APIService says, by which a change is known.
    pub(super) spec: Value,
    pub(super) place: Place,
    /// The way to it, or what is wrong with its certificates.
    pub(super) tls: Result<TlsConnector, String>,
    /// Whether it answered when it was asked last.
    pub(super) available: bool,
    pub(super) told: Told,
}

/// What a server has told about itself.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Told {
    /// The APIResourceList of its version.
    pub(super) resources: Arc<Value>,
    /// Where it keeps its OpenAPI document of version 3, if it has one.
    pub(super) document: Option<String>,
    /// The part of its document of version 2 that is about its version.
    pub(super) swagger: Arc<Value>,
}

impl Extension {
    fn read(server: &Server, service: &Value) -> Extension {
        let spec = service["spec"].clone();
        let number = |key: &str| integer(&spec, key).unwrap_or(0);
        Extension {
            group: text(&spec, "/group").to_owned(),
            version: text(&spec, "/version").to_owned(),
            priority: (number("/groupPriorityMinimum"), number("/versionPriority")),
            place: Place::read(&spec),
            tls: connector(server, &spec),
            available: false,
            told: Told::default(),
            spec,
        }
    }

    /// `/apis/GROUP/VERSION`.
    pub(super) fn path(&self) -> String {
        format!("/apis/{}/{}", self.group, self.version)
    }

    /// Namespace and name of its Service.
    pub(super) fn service(&self) -> (&str, &str) {
        let of = |key: &str| text(&self.spec, key);
        (of("/service/namespace"), of("/service/name"))
    }

    /// The port of its Service.
    pub(super) fn port(&self) -> i64 {
        integer(&self.spec, "/service/port").unwrap_or(443)
    }
}

/// TLS as the front proxy, to a server that the APIService says how to verify.
fn connector(server: &Server, spec: &Value) -> Result<TlsConnector, String> {
    let mut config = if spec["insecureSkipTLSVerify"] == true {
        naru_core::trusting_anybody()
    } else {
        let roots = roots(&decoded(text(spec, "/caBundle"))?)?;
        ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth()
    };
    if let Some(front) = &server.front {
        config.client_auth_cert_resolver = front.shown.clone();
    }
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

/// All servers behind APIServices.
#[derive(Default)]
pub(in crate::api) struct Extensions(Vec<Arc<Extension>>);

impl Extensions {
    pub(super) fn new(all: Vec<Extension>) -> Self {
        Self(all.into_iter().map(Arc::new).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Extension>> {
        self.0.iter().filter(|it| is_free(&it.group, &it.version))
    }

    /// The server behind an APIService, with what it has told if that still says the same.
    pub(super) fn known(&self, server: &Server, service: &Value) -> Extension {
        let mut known = self.0.iter().filter(|it| it.spec == service["spec"]);
        match known.next() {
            Some(known) => Extension::clone(known),
            None => Extension::read(server, service),
        }
    }

    /// Whether requests and discovery are the same with these.
    pub(super) fn same(&self, other: &Extensions) -> bool {
        let facts = |it: &Arc<Extension>| (it.spec.clone(), it.available, it.told.clone());
        self.0.iter().map(facts).eq(other.0.iter().map(facts))
    }

    /// The server that answers a path under `/apis/GROUP/VERSION`, or `/openapi/v3` before that.
    pub(in crate::api) fn of(&self, path: &str) -> Option<&Arc<Extension>> {
        if self.0.is_empty() {
            return None;
        }
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        if parts.next() != Some("apis") {
            return None;
        }
        let (group, version) = (parts.next()?, parts.next()?);
        self.find(group, version)
    }

    /// The server of a version of a group.
    pub(in crate::api) fn find(&self, group: &str, version: &str) -> Option<&Arc<Extension>> {
        self.iter()
            .find(|it| (it.group.as_str(), it.version.as_str()) == (group, version))
    }
}

/// Whether the server has no kinds of its own in a version of a group.
fn is_free(group: &str, version: &str) -> bool {
    let own = registry::KINDS.iter().chain(registry::REVIEWS);
    !own.into_iter()
        .any(|kind| (kind.group, kind.version) == (group, version))
}

#[cfg(test)]
pub(super) fn sample(group: &str, version: &str, priority: (i64, i64)) -> Extension {
    Extension {
        group: group.to_owned(),
        version: version.to_owned(),
        priority,
        spec: serde_json::json!({"group": group, "version": version}),
        place: Place::Url(String::new()),
        tls: Err(String::new()),
        available: true,
        told: Told::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_the_server_of_its_version() {
        let all = vec![sample("a.b", "v1", (1, 1)), sample("apps", "v1", (1, 1))];
        let all = Extensions::new(all);
        let found = |path: &str| all.of(path).map(|it| it.group.as_str());
        assert_eq!(found("/apis/a.b/v1"), Some("a.b"));
        assert_eq!(found("/apis/a.b/v1/namespaces/x/ys/z"), Some("a.b"));
        assert_eq!(found("/apis/a.b/v2/ys"), None);
        assert_eq!(found("/apis/a.b"), None);
        assert_eq!(
            found("/apis/apps/v1/deployments"),
            None,
            "its own is its own"
        );
    }
}
