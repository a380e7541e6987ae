//! Gives every namespace a default ServiceAccount and the cluster's CA.

use crate::controllers::Context;
use crate::controllers::runtime::{After, Key, Queue, Reconcile, ReconcileError, meta};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Name of the ConfigMap that pods verify the API server with.
const ROOT_CA: &str = "kube-root-ca.crt";
const ACCOUNT: &str = "default";

/// The reconciler of what every namespace has.
pub struct Furnisher {
    context: Arc<Context>,
    queue: Queue<Key>,
}

impl Furnisher {
    /// Subscribes to namespaces and to what it makes in them.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let furnisher = Arc::new(Furnisher {
            context,
            queue: Queue::default(),
        });
        let caches = &furnisher.context.caches;
        let weak = Arc::downgrade(&furnisher);
        caches.namespaces.subscribe(move |change| {
            weak.upgrade()
                .inspect(|this| this.queue.add(Key::of(change.latest())));
        });
        let weak = Arc::downgrade(&furnisher);
        caches.accounts.subscribe(move |change| {
            weak.upgrade().inspect(|this| this.look(change.latest()));
        });
        let weak = Arc::downgrade(&furnisher);
        caches.root_cas.subscribe(move |change| {
            weak.upgrade().inspect(|this| this.look(change.latest()));
        });
        furnisher
    }

    fn look(&self, object: &impl ResourceExt) {
        self.queue
            .add(Key::cluster(&object.namespace().unwrap_or_default()));
    }

    async fn account(&self, namespace: &str) -> Result<(), ReconcileError> {
        if self
            .context
            .caches
            .accounts
            .get(namespace, ACCOUNT)
            .is_some()
        {
            return Ok(());
        }
        let account = ServiceAccount {
            metadata: named(namespace, ACCOUNT),
            ..ServiceAccount::default()
        };
        present(self.context.writer.create(&account).await)
    }

    async fn root_ca(&self, namespace: &str) -> Result<(), ReconcileError> {
        let authority = self.context.config.authority.certificate();
        let data = BTreeMap::from([("ca.crt".to_owned(), authority.to_owned())]);
        let Some(existing) = self.context.caches.root_cas.get(namespace, ROOT_CA) else {
            let map = ConfigMap {
                metadata: named(namespace, ROOT_CA),
                data: Some(data),
                ..ConfigMap::default()
            };
            return present(self.context.writer.create(&map).await);
        };
        let mut wanted = (*existing).clone();
        wanted.data = Some(data);
        self.context
            .writer
            .update(existing.as_ref(), &wanted)
            .await?;
        Ok(())
    }
}

fn named(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        namespace: Some(namespace.into()),
        ..ObjectMeta::default()
    }
}

/// An object that somebody else made is as good; the cache will show it.
fn present<T>(
    answer: Result<T, crate::controllers::runtime::ApiError>,
) -> Result<(), ReconcileError> {
    match answer {
        Err(error) if !error.is_already_exists() => Err(error.into()),
        _ => Ok(()),
    }
}

impl Reconcile for Furnisher {
    type Key = Key;
    const NAME: &'static str = "namespace-furnisher";
    const WORKERS: usize = 1;

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    fn keys(&self) -> Vec<Key> {
        self.context.caches.namespaces.keys()
    }

    async fn reconcile(&self, key: &Key) -> Result<After, ReconcileError> {
        let namespace = self.context.caches.namespaces.at(key);
        if namespace.is_none_or(|namespace| meta::is_deleting(&namespace.metadata)) {
            return Ok(After::Settled);
        }
        self.account(&key.name).await?;
        self.root_ca(&key.name).await?;
        Ok(After::Settled)
    }
}
