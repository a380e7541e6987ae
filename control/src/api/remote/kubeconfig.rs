//! A server that a kubeconfig leads to: where it is, whom to trust, as whom to ask.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderValue};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio_rustls::TlsConnector;

use super::{Identity, Way, authorities, call, connector, post, to_url};
use crate::api::value::{items, text};

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer, at most.
const MOST: usize = 1 << 20;
/// What a kubeconfig may say that is not understood here.
const UNKNOWN: [&str; 10] = [
    "/cluster/insecure-skip-tls-verify",
    "/cluster/proxy-url",
    "/cluster/tls-server-name",
    "/user/as",
    "/user/auth-provider",
    "/user/exec",
    "/user/password",
    "/user/tokenFile",
    "/user/username",
    "/user/as-groups",
];

/// A server, and as whom it is asked.
pub(in crate::api) struct Endpoint {
    url: String,
    way: Way,
    tls: TlsConnector,
    authorization: Option<HeaderValue>,
}

impl Endpoint {
    /// The cluster and user of the current context of the kubeconfig at `path`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(in crate::api) fn of_kubeconfig(path: &Path) -> Result<Self, String> {
        let config = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let config: Value = serde_saphyr::from_str(&config).map_err(|error| {
            let error = error.to_string();
            error.lines().next().unwrap_or_default().to_owned()
        })?;
        let chosen = chosen(&config)?;
        if let Some(field) = UNKNOWN.iter().find(|field| is_said(&chosen, field)) {
            return Err(format!("{} is not supported", &field[1..]));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let bytes = |field: &str| bytes(&chosen, field, folder);
        let roots = authorities(&bytes("/cluster/certificate-authority")?)?;
        let shown = identity(
            &bytes("/user/client-certificate")?,
            &bytes("/user/client-key")?,
        )?;
        let url = text(&chosen, "/cluster/server").to_owned();
        let token = text(&chosen, "/user/token");
        let authorization = (!token.is_empty())
            .then(|| HeaderValue::from_str(&format!("Bearer {token}")))
            .transpose()
            .map_err(|_| "user/token is none".to_owned())?;
        Ok(Self {
            way: to_url(&url)?,
            url,
            tls: connector(roots, shown)?,
            authorization,
        })
    }

    /// Posts JSON; what is answered beside success is of no interest.
    ///
    /// # Errors
    /// Why it may not have been taken.
    pub(in crate::api) async fn post(&self, body: Bytes) -> Result<(), String> {
        let failed = |why: String| format!("Post {:?}: {why}", self.url);
        let mut request = post(&self.way.path, body).map_err(failed)?;
        if let Some(authorization) = &self.authorization {
            let headers = request.headers_mut();
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let call = call(&self.tls, &self.way, request, MOST);
        match tokio::time::timeout(PATIENCE, call).await {
            Ok(answer) => answer.map(drop).map_err(failed),
            Err(_) => Err(failed("context deadline exceeded".to_owned())),
        }
    }
}

/// Cluster and user of the current context.
fn chosen(config: &Value) -> Result<Value, String> {
    let named = |list: &str, name: &str| {
        let entries = items(config, &format!("/{list}s")).iter();
        let mut named = entries.filter(|entry| text(entry, "/name") == name);
        named.next().map(|entry| entry[list].clone())
    };
    let current = text(config, "/current-context");
    let context = named("context", current);
    let context = context.ok_or_else(|| format!("no context has the name {current:?}"))?;
    let (cluster, user) = (text(&context, "/cluster"), text(&context, "/user"));
    let place = named("cluster", cluster);
    let place = place.ok_or_else(|| format!("no cluster has the name {cluster:?}"))?;
    let who = match user {
        "" => Value::Null,
        user => named("user", user).ok_or_else(|| format!("no user has the name {user:?}"))?,
    };
    Ok(serde_json::json!({"cluster": place, "user": who}))
}

fn is_said(chosen: &Value, field: &str) -> bool {
    let value = chosen.pointer(field);
    value.is_some_and(|value| !value.is_null() && *value != false && *value != "")
}

/// What stands in a field's `-data`, or in the file that the field names; nothing if in neither.
fn bytes(chosen: &Value, field: &str, folder: &Path) -> Result<Vec<u8>, String> {
    let told = |why: &dyn std::fmt::Display| format!("{}: {why}", &field[1..]);
    let data = text(chosen, &format!("{field}-data"));
    if !data.is_empty() {
        let decoded = BASE64_STANDARD.decode(data);
        return decoded.map_err(|error| told(&error));
    }
    match text(chosen, field) {
        "" => Ok(Vec::new()),
        path => std::fs::read(folder.join(path)).map_err(|error| told(&error)),
    }
}

fn identity(chain: &[u8], key: &[u8]) -> Result<Option<Identity>, String> {
    if chain.is_empty() && key.is_empty() {
        return Ok(None);
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.map_err(|error| format!("user/client-certificate: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(key);
    let key = key.map_err(|error| format!("user/client-key: {error}"))?;
    Ok(Some((chain, key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "
current-context: here
contexts: [{name: here, context: {cluster: sink, user: me}}]
clusters: [{name: sink, cluster: {server: 'https://sink.example.org/events'}}]
users: [{name: me, user: {token: abc}}]
";

    fn open(config: &str) -> Result<Endpoint, String> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, config).unwrap();
        Endpoint::of_kubeconfig(&path)
    }

    #[test]
    fn a_kubeconfig_leads_somewhere_as_somebody() {
        let endpoint = open(CONFIG).ok().unwrap();
        assert_eq!(endpoint.way.host, "sink.example.org");
        assert_eq!(endpoint.way.path, "/events");
        assert_eq!(endpoint.authorization.unwrap(), "Bearer abc");
    }

    #[test]
    fn what_leads_nowhere_is_one_error() {
        for (from, to, why) in [
            (
                "name: here",
                "name: there",
                "no context has the name \"here\"",
            ),
            (
                "{name: sink",
                "{name: drain",
                "no cluster has the name \"sink\"",
            ),
            ("{name: me", "{name: you", "no user has the name \"me\""),
            ("token: abc", "exec: {}", "user/exec is not supported"),
            ("https:", "http:", "must begin with https://"),
            (
                "token: abc",
                "client-certificate: gone.crt",
                "user/client-certificate: No such file",
            ),
        ] {
            let said = open(&CONFIG.replace(from, to)).err().unwrap();
            assert!(said.contains(why), "{said}");
        }
    }
}
