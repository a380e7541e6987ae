//! Volumes that are to be deleted go when no claim is bound to them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolume;
use naru_core::names::finalizers::VOLUME_IN_USE;

use super::{is_held, released};
use crate::controllers::Context;
use crate::controllers::runtime::{After, Key, Queue, Reconcile, ReconcileError};

/// The reconciler of volumes that are to be deleted.
pub struct Volumes {
    context: Arc<Context>,
    queue: Queue<Key>,
}

impl Volumes {
    /// Subscribes to volumes.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let this = Arc::new(Self {
            context,
            queue: Queue::default(),
        });
        let weak = Arc::downgrade(&this);
        this.context.caches.volumes.subscribe(move |change| {
            let volume = change.latest();
            if let Some(this) = weak.upgrade().filter(|_| may_go(volume)) {
                this.queue.add(Key::of(volume));
            }
        });
        this
    }
}

/// Whether only its protection holds a volume.
fn may_go(volume: &PersistentVolume) -> bool {
    let phase = volume
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    is_held(&volume.metadata, VOLUME_IN_USE) && phase != Some("Bound")
}

impl Reconcile for Volumes {
    type Key = Key;
    const NAME: &'static str = "volume-protection";
    const WORKERS: usize = 1;

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    fn keys(&self) -> Vec<Key> {
        self.context.caches.volumes.keys()
    }

    async fn reconcile(&self, key: &Key) -> Result<After, ReconcileError> {
        let volume = self.context.caches.volumes.at(key);
        if let Some(volume) = volume.filter(|volume| may_go(volume)) {
            let wanted = PersistentVolume {
                metadata: released(volume.metadata.clone(), VOLUME_IN_USE),
                ..(*volume).clone()
            };
            let writer = &self.context.writer;
            writer.update(volume.as_ref(), &wanted).await?;
        }
        Ok(After::Settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bound_volume_stays() {
        let volume = |phase: &str| -> PersistentVolume {
            serde_json::from_value(json!({"metadata": {"name": "v",
                "deletionTimestamp": "1970-01-01T00:00:00Z", "finalizers": [VOLUME_IN_USE]},
                "status": {"phase": phase}}))
            .unwrap()
        };
        assert!(may_go(&volume("Available")) && may_go(&volume("Released")));
        assert!(!may_go(&volume("Bound")));
    }
}
