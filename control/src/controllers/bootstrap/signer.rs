//! Signs `kube-public/cluster-info`, so that a new node which knows a token and nothing else knows
//! whom to trust.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;

use super::{jws, read};
use crate::controllers::Context;
use crate::controllers::runtime::{After, Key, Queue, Reconcile, ReconcileError, meta};
use crate::pki::BootstrapToken;

/// What is signed.
const KUBECONFIG: &str = "kubeconfig";
/// Before the id of a token, the name of its signature.
const SIGNATURE: &str = "jws-kubeconfig-";

/// The reconciler of signatures.
pub struct Signer {
    context: Arc<Context>,
    queue: Queue<Key>,
}

impl Signer {
    /// Subscribes to tokens and to what they sign.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let this = Arc::new(Self {
            context,
            queue: Queue::default(),
        });
        let weak = Arc::downgrade(&this);
        this.context.caches.tokens.subscribe(move |_| {
            weak.upgrade().inspect(|this| this.queue.add(map()));
        });
        let weak = Arc::downgrade(&this);
        this.context.caches.cluster_infos.subscribe(move |_| {
            weak.upgrade().inspect(|this| this.queue.add(map()));
        });
        this
    }
}

fn map() -> Key {
    Key::new("kube-public", "cluster-info")
}

/// The map with the signatures of those tokens that sign at `now`, and no others.
fn signed(info: &ConfigMap, tokens: &[Arc<Secret>], now: Timestamp) -> ConfigMap {
    let mut data: BTreeMap<String, String> = info.data.clone().unwrap_or_default();
    data.retain(|key, _| !key.starts_with(SIGNATURE));
    if let Some(text) = data.get(KUBECONFIG).cloned() {
        let tokens = tokens.iter().filter(|it| is_usable(it)).map(|it| read(it));
        for token in tokens.filter(|token| token.signs(now)) {
            let BootstrapToken { id, secret, .. } = &token;
            let signature = jws::detached(id, secret, &text);
            data.insert(format!("{SIGNATURE}{id}"), signature);
        }
    }
    ConfigMap {
        data: Some(data),
        ..info.clone()
    }
}

/// Whether the Secret stays and is named by its token.
fn is_usable(secret: &Secret) -> bool {
    let name = BootstrapToken::name(&read(secret).id);
    !meta::is_deleting(&secret.metadata) && secret.name_any() == name
}

impl Reconcile for Signer {
    type Key = Key;
    const NAME: &'static str = "bootstrap-signer";
    const WORKERS: usize = 1;

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    fn keys(&self) -> Vec<Key> {
        vec![map()]
    }

    async fn reconcile(&self, key: &Key) -> Result<After, ReconcileError> {
        let caches = &self.context.caches;
        let Some(info) = caches.cluster_infos.at(key) else {
            return Ok(After::Settled);
        };
        // A token that ends is removed, of which this hears.
        let wanted = signed(
            &info,
            &caches.tokens.in_namespace("kube-system"),
            Timestamp::now(),
        );
        self.context.writer.update(info.as_ref(), &wanted).await?;
        Ok(After::Settled)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use serde_json::json;

    use super::*;

    fn token(id: &str, signing: &str) -> Arc<Secret> {
        let encode = |text: &str| BASE64_STANDARD.encode(text);
        let secret = json!({"metadata": {"name": format!("bootstrap-token-{id}")}, "data": {
            "token-id": encode(id), "token-secret": encode("0123456789abcdef"),
            "usage-bootstrap-signing": encode(signing)}});
        Arc::new(serde_json::from_value(secret).unwrap())
    }

    #[test]
    fn the_tokens_of_the_moment_sign_and_no_others() {
        let info: ConfigMap = serde_json::from_value(json!({"data": {"kubeconfig": "text",
            "jws-kubeconfig-gone00": "old", "other": "stays"}}))
        .unwrap();
        let tokens = [token("abcdef", "true"), token("ghijkl", "false")];
        let data = signed(&info, &tokens, Timestamp::now()).data.unwrap();
        let keys: Vec<&str> = data.keys().map(String::as_str).collect();
        assert_eq!(keys, ["jws-kubeconfig-abcdef", "kubeconfig", "other"]);
        let again = ConfigMap {
            data: Some(data.clone()),
            ..info
        };
        assert_eq!(
            signed(&again, &tokens, Timestamp::now()).data.unwrap(),
            data
        );
    }
}
