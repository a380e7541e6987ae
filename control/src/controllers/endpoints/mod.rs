//! Endpoints and EndpointSlices: which pods stand behind a Service, within milliseconds.
//!
//! One reconciler writes both, slices first, since the data paths read these. There is no batching
//! delay: the queue folds bursts of changes into one pass per Service anyway.

pub mod backend;
pub mod slices;
pub mod subsets;
#[cfg(test)]
mod tests;

use super::Context;
use super::runtime::lean::Pod;
use super::runtime::{After, Change, Key, Queue, Reconcile, ReconcileError, meta, pod};
use backend::Backend;
use k8s_openapi::api::core::v1::{Endpoints, Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use naru_core::names::labels;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The controller; feed it through the caches it subscribes to.
pub struct Controller {
    context: Arc<Context>,
    queue: Queue<Key>,
}

impl Controller {
    /// Subscribes to Services, pods, nodes, and to what it writes itself.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let controller = Arc::new(Controller {
            context,
            queue: Queue::default(),
        });
        let caches = &controller.context.caches;
        let this = || Arc::downgrade(&controller);
        let weak = this();
        caches.services.subscribe(move |change| {
            weak.upgrade()
                .inspect(|this| this.queue.add(Key::of(change.latest())));
        });
        let weak = this();
        caches.pods.subscribe(move |change| {
            weak.upgrade().inspect(|this| this.on_pod(change));
        });
        let weak = this();
        caches.nodes.subscribe(move |change| {
            weak.upgrade().inspect(|this| this.on_node(change));
        });
        let weak = this();
        caches.slices.subscribe(move |change| {
            weak.upgrade()
                .inspect(|this| this.on_slice(change.latest()));
        });
        let weak = this();
        caches.endpoints.subscribe(move |change| {
            weak.upgrade()
                .inspect(|this| this.queue.add(Key::of(change.latest())));
        });
        controller
    }

    fn on_pod(&self, change: &Change<Pod>) {
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && same_endpoint(old, new)
        {
            return;
        }
        let namespace = change.latest().namespace().unwrap_or_default();
        for service in self.context.caches.services.in_namespace(&namespace) {
            if change
                .sides()
                .any(|pod| backend::is_selected(&service, pod))
            {
                self.queue.add(Key::of(service.as_ref()));
            }
        }
    }

    fn on_node(&self, change: &Change<Node>) {
        let zone = |node: &Option<Arc<Node>>| {
            node.as_ref()
                .and_then(|node| node.labels().get(labels::ZONE).cloned())
        };
        if zone(&change.old) != zone(&change.new) {
            self.context
                .caches
                .services
                .keys()
                .into_iter()
                .for_each(|key| self.queue.add(key));
        }
    }

    fn on_slice(&self, slice: &EndpointSlice) {
        if let Some(service) = slice
            .labels()
            .get(labels::SERVICE_NAME)
            .filter(|_| slices::is_ours(slice))
        {
            self.queue
                .add(Key::new(&slice.namespace().unwrap_or_default(), service));
        }
    }

    fn backends(&self, service: &Service, v6: bool) -> Vec<Backend> {
        let pods = self
            .context
            .caches
            .pods
            .in_namespace(&service.namespace().unwrap_or_default());
        let nodes = self.context.caches.nodes.all();
        backend::backends(
            service,
            &pods,
            &backend::zones(nodes.iter().map(AsRef::as_ref)),
            v6,
        )
    }

    /// Removes the slices of families that the Service has no more.
    async fn remove_slices(
        &self,
        service: &Service,
        kept: &[String],
    ) -> Result<(), ReconcileError> {
        for slice in self.slices_of(service) {
            if !kept.contains(&slice.address_type) {
                self.context.writer.delete(slice.as_ref()).await?;
            }
        }
        Ok(())
    }

    /// Our slices of a Service that are not being deleted.
    fn slices_of(&self, service: &Service) -> Vec<Arc<EndpointSlice>> {
        let namespace = service.namespace().unwrap_or_default();
        let mut slices = self.context.caches.slices.in_namespace(&namespace);
        slices.retain(|slice| {
            let of_service = slice.labels().get(labels::SERVICE_NAME) == Some(&service.name_any());
            of_service && slices::is_ours(slice) && !meta::is_deleting(&slice.metadata)
        });
        slices
    }

    async fn sync_slices(&self, service: &Service, family: &str) -> Result<(), ReconcileError> {
        let mut existing = self.slices_of(service);
        existing.retain(|slice| slice.address_type == family);
        let plan = slices::plan(
            service,
            family,
            self.backends(service, family == "IPv6"),
            existing,
        );
        let writer = &self.context.writer;
        for slice in &plan.create {
            writer.create(slice).await?;
        }
        for (before, after) in &plan.update {
            writer.update(before.as_ref(), after).await?;
        }
        for slice in &plan.delete {
            writer.delete(slice.as_ref()).await?;
        }
        Ok(())
    }

    async fn sync_endpoints(&self, service: &Service, family: &str) -> Result<(), ReconcileError> {
        let existing = self.context.caches.endpoints.at(&Key::of(service));
        let backends = self.backends(service, family == "IPv6");
        let desired = subsets::desired(service, backends, existing.as_deref());
        match existing {
            None => drop(self.context.writer.create(&desired).await?),
            Some(existing) => drop(
                self.context
                    .writer
                    .update(existing.as_ref(), &desired)
                    .await?,
            ),
        }
        Ok(())
    }

    /// Slices go with their Service by owner reference; Endpoints have none.
    async fn remove_endpoints(&self, key: &Key) -> Result<(), ReconcileError> {
        match self
            .context
            .caches
            .endpoints
            .at(key)
            .filter(|endpoints| is_ours(endpoints))
        {
            Some(endpoints) => Ok(self.context.writer.delete(endpoints.as_ref()).await?),
            None => Ok(()),
        }
    }
}

fn is_ours(endpoints: &Endpoints) -> bool {
    endpoints
        .labels()
        .get(subsets::MANAGED_BY)
        .map(String::as_str)
        == Some(subsets::MANAGER)
}

/// Whether two versions of a pod are the same endpoint.
fn same_endpoint(old: &Pod, new: &Pod) -> bool {
    old.uid() == new.uid()
        && old.labels() == new.labels()
        && old.status.addresses == new.status.addresses
        && pod::is_ready(old) == pod::is_ready(new)
        && pod::is_terminating(old) == pod::is_terminating(new)
        && pod::is_finished(old) == pod::is_finished(new)
        && pod::node_name(old) == pod::node_name(new)
}

fn families(service: &Service) -> Vec<String> {
    let families = service
        .spec
        .as_ref()
        .and_then(|spec| spec.ip_families.clone());
    families
        .filter(|families| !families.is_empty())
        .unwrap_or_else(|| vec!["IPv4".into()])
}

impl Reconcile for Controller {
    type Key = Key;
    const NAME: &'static str = "endpoints";

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    /// Services, and Endpoints whose Service may have gone unseen.
    fn keys(&self) -> Vec<Key> {
        let ours = self
            .context
            .caches
            .endpoints
            .all()
            .into_iter()
            .filter(|endpoints| is_ours(endpoints));
        let orphans = ours.map(|endpoints| Key::of(endpoints.as_ref()));
        let keys: BTreeSet<Key> = self
            .context
            .caches
            .services
            .keys()
            .into_iter()
            .chain(orphans)
            .collect();
        keys.into_iter().collect()
    }

    async fn reconcile(&self, key: &Key) -> Result<After, ReconcileError> {
        let Some(service) = self.context.caches.services.at(key) else {
            self.remove_endpoints(key).await?;
            return Ok(After::Settled);
        };
        if !backend::is_managed(&service) || meta::is_deleting(&service.metadata) {
            return Ok(After::Settled);
        }
        let families = families(&service);
        for family in &families {
            self.sync_slices(&service, family).await?;
        }
        self.remove_slices(&service, &families).await?;
        self.sync_endpoints(&service, &families[0]).await?;
        Ok(After::Settled)
    }
}
