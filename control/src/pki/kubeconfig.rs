//! Kubeconfig files.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::authority::{Authority, Leaf};

/// What a kubeconfig points to.
#[derive(Debug, Clone)]
pub struct KubeconfigSpec<'a> {
    /// URL of the API server.
    pub server: &'a str,
    /// Name of the user entry.
    pub user: &'a str,
}

/// What somebody needs who has no credential yet: where the cluster is and by whom its certificate
/// is signed.
pub fn cluster_info(authority: &str, server: &str) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "", "cluster": {
            "server": server,
            "certificate-authority-data": STANDARD.encode(authority),
        }}],
        "users": [],
        "contexts": [],
        "current-context": "",
        "preferences": {},
    });
    text(&config)
}

/// A kubeconfig with everything embedded. The text is JSON, which is YAML.
pub fn kubeconfig(authority: &Authority, spec: &KubeconfigSpec<'_>, leaf: &Leaf) -> String {
    let config: Value = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "naru", "cluster": {
            "server": spec.server,
            "certificate-authority-data": STANDARD.encode(authority.certificate()),
        }}],
        "users": [{"name": spec.user, "user": {
            "client-certificate-data": STANDARD.encode(&leaf.certificate),
            "client-key-data": STANDARD.encode(&leaf.key),
        }}],
        "contexts": [{"name": "naru", "context": {"cluster": "naru", "user": spec.user}}],
        "current-context": "naru",
        "preferences": {},
    });
    text(&config)
}

fn text(config: &Value) -> String {
    let mut text = serde_json::to_string_pretty(config).expect("a JSON value encodes");
    text.push('\n');
    text
}
