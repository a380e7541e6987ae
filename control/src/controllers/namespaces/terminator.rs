//! Empties namespaces that are being deleted.

use super::terminate::{self, Remains};
use crate::controllers::Context;
use crate::controllers::runtime::discovery::{Offered, offered};
use crate::controllers::runtime::error::chain;
use crate::controllers::runtime::writer::failed;
use crate::controllers::runtime::{After, ApiError, Key, Queue, Reconcile, ReconcileError, now};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use std::sync::Arc;
use std::time::Duration;

/// How soon a namespace with remains is looked at again if no pod's end wakes it earlier.
const AGAIN: Duration = Duration::from_secs(1);

/// The reconciler of terminating namespaces.
pub struct Terminator {
    context: Arc<Context>,
    queue: Queue<Key>,
}

impl Terminator {
    /// Subscribes to namespaces, and to the end of pods, which keep a namespace the longest.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let terminator = Arc::new(Terminator {
            context,
            queue: Queue::default(),
        });
        let weak = Arc::downgrade(&terminator);
        terminator
            .context
            .caches
            .namespaces
            .subscribe(move |change| {
                let pending = change
                    .new
                    .as_ref()
                    .filter(|namespace| terminate::is_pending(namespace));
                if let (Some(this), Some(namespace)) = (weak.upgrade(), pending) {
                    this.queue.add(Key::of(namespace.as_ref()));
                }
            });
        let weak = Arc::downgrade(&terminator);
        terminator.context.caches.pods.subscribe(move |change| {
            if let (Some(this), None) = (weak.upgrade(), &change.new) {
                this.on_pod_gone(&change.latest().namespace().unwrap_or_default());
            }
        });
        terminator
    }

    fn on_pod_gone(&self, namespace: &str) {
        let pending = self.context.caches.namespaces.get("", namespace);
        if pending.is_some_and(|namespace| terminate::is_pending(&namespace)) {
            self.queue.add(Key::cluster(namespace));
        }
    }

    async fn empty(&self, namespace: &str) -> Result<Remains, ReconcileError> {
        let mut remains = Remains::default();
        let kinds = offered(self.context.writer.client()).await?;
        for kind in kinds
            .iter()
            .filter(|kind| kind.namespaced && kind.can(&["list", "delete"]))
        {
            if let Err(error) = self.empty_kind(kind, namespace, &mut remains).await {
                remains.failures.push(chain(&error));
            }
        }
        Ok(remains)
    }

    async fn empty_kind(
        &self,
        kind: &Offered,
        namespace: &str,
        remains: &mut Remains,
    ) -> Result<(), ApiError> {
        let api = kind.api(self.context.writer.client(), namespace);
        let key = Key::new(namespace, "*");
        let list = ListParams::default();
        let found = api
            .list_metadata(&list)
            .await
            .map_err(kind.failed("list", &key))?;
        if found.items.is_empty() {
            return Ok(());
        }
        for object in found
            .items
            .iter()
            .filter(|object| object.metadata.deletion_timestamp.is_none())
        {
            let key = Key::new(namespace, &object.name_any());
            match api
                .delete(&key.name, &DeleteParams::background())
                .await
                .map_err(kind.failed("delete", &key))
            {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        let left = api
            .list_metadata(&list)
            .await
            .map_err(kind.failed("list", &key))?;
        if !left.items.is_empty() {
            let name = format!("{}.{}", kind.resource.plural, kind.resource.group);
            remains.objects.insert(name, left.items.len());
        }
        for finalizer in left.items.iter().flat_map(|object| object.finalizers()) {
            *remains.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
        Ok(())
    }

    async fn release(&self, namespace: &Namespace) -> Result<(), ReconcileError> {
        let key = Key::of(namespace);
        let api: Api<Namespace> = Api::all(self.context.writer.client().clone());
        let released = terminate::released(namespace);
        let answer = api
            .replace_subresource("finalize", &key.name, &PostParams::default(), &released)
            .await;
        match answer.map_err(failed::<Namespace>("finalize", &key)) {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Reconcile for Terminator {
    type Key = Key;
    const NAME: &'static str = "namespace-terminator";

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    fn keys(&self) -> Vec<Key> {
        let namespaces = self.context.caches.namespaces.all();
        namespaces
            .iter()
            .filter(|one| terminate::is_pending(one))
            .map(|one| Key::of(one.as_ref()))
            .collect()
    }

    async fn reconcile(&self, key: &Key) -> Result<After, ReconcileError> {
        let namespace = self
            .context
            .caches
            .namespaces
            .at(key)
            .filter(|namespace| terminate::is_pending(namespace));
        let Some(namespace) = namespace else {
            return Ok(After::Settled);
        };
        let remains = self.empty(&key.name).await?;
        if remains.is_empty() {
            self.release(&namespace).await?;
            return Ok(After::Settled);
        }
        let reported = terminate::reported(&namespace, &remains, now());
        self.context
            .writer
            .update_status(namespace.as_ref(), &reported)
            .await?;
        Ok(After::Again(AGAIN))
    }
}
