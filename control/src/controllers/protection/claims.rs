//! Claims that are to be deleted go when no pod mounts them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use naru_core::names::finalizers::CLAIM_IN_USE;

use super::{is_held, released};
use crate::controllers::Context;
use crate::controllers::runtime::writer::failed;
use crate::controllers::runtime::{After, Key, Kind, Queue, Reconcile, ReconcileError, lean, pod};

/// The reconciler of claims that are to be deleted.
pub struct Claims {
    context: Arc<Context>,
    queue: Queue<Key>,
}

impl Claims {
    /// Subscribes to claims, and to pods because one that ends may be the last user.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let this = Arc::new(Self {
            context,
            queue: Queue::default(),
        });
        let weak = Arc::downgrade(&this);
        this.context.caches.claims.subscribe(move |change| {
            let claim = change.latest();
            let held = is_held(&claim.metadata, CLAIM_IN_USE);
            if let Some(this) = weak.upgrade().filter(|_| held) {
                this.queue.add(Key::of(claim));
            }
        });
        let weak = Arc::downgrade(&this);
        this.context.caches.pods.subscribe(move |change| {
            if let Some(this) = weak.upgrade()
                && change.new.as_deref().is_none_or(pod::is_finished)
            {
                this.look(change.latest());
            }
        });
        this
    }

    /// Looks at the claims of a namespace in which a pod has ended.
    fn look(&self, pod: &lean::Pod) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let claims = self.context.caches.claims.in_namespace(namespace);
        let held = claims
            .iter()
            .filter(|claim| is_held(&claim.metadata, CLAIM_IN_USE));
        held.for_each(|claim| self.queue.add(Key::of(claim.as_ref())));
    }
}

/// Whether a pod has run to its end.
fn is_over(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether a pod mounts the claim of that name.
fn uses(pod: &Pod, claim: &str) -> bool {
    let own = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    let mut volumes = volumes.filter(|_| !is_over(pod));
    volumes.any(|volume| {
        let named = volume.persistent_volume_claim.as_ref();
        named.is_some_and(|named| named.claim_name == claim)
            || (volume.ephemeral.is_some() && format!("{own}-{}", volume.name) == claim)
    })
}

impl Reconcile for Claims {
    type Key = Key;
    const NAME: &'static str = "claim-protection";
    const WORKERS: usize = 1;

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    fn keys(&self) -> Vec<Key> {
        self.context.caches.claims.keys()
    }

    async fn reconcile(&self, key: &Key) -> Result<After, ReconcileError> {
        let claim = self.context.caches.claims.at(key);
        let Some(claim) = claim.filter(|claim| is_held(&claim.metadata, CLAIM_IN_USE)) else {
            return Ok(After::Settled);
        };
        let writer = &self.context.writer;
        let pods = Pod::api(writer.client(), &key.namespace);
        let pods = pods.list(&ListParams::default()).await;
        let pods = pods.map_err(failed::<Pod>("list", key))?;
        if !pods.items.iter().any(|pod| uses(pod, &key.name)) {
            let wanted = PersistentVolumeClaim {
                metadata: released(claim.metadata.clone(), CLAIM_IN_USE),
                ..(*claim).clone()
            };
            writer.update(claim.as_ref(), &wanted).await?;
        }
        Ok(After::Settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_uses_a_claim_until_it_is_over() {
        let pod = |phase: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p"},
                "spec": {"containers": [], "volumes": [
                    {"name": "v", "persistentVolumeClaim": {"claimName": "data"}},
                    {"name": "e", "ephemeral": {}}]},
                "status": {"phase": phase}}))
            .unwrap()
        };
        assert!(uses(&pod("Running"), "data") && uses(&pod("Pending"), "p-e"));
        assert!(!uses(&pod("Running"), "other"));
        assert!(!uses(&pod("Succeeded"), "data"));
    }
}
