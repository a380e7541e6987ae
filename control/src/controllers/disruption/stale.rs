//! Takes back the word that a pod is about to be deleted, where its deletion has not begun.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PodCondition;

use crate::controllers::Context;
use crate::controllers::runtime::lean::Pod;
use crate::controllers::runtime::{
    After, Change, Key, Queue, Reconcile, ReconcileError, now, pod, time,
};

/// How long the word may stand.
const TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

/// The reconciler of condition `DisruptionTarget`.
pub struct Stale {
    context: Arc<Context>,
    queue: Queue<Key>,
}

impl Stale {
    /// Subscribes to pods.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let this = Arc::new(Stale {
            context,
            queue: Queue::default(),
        });
        let weak = Arc::downgrade(&this);
        this.context.caches.pods.subscribe(move |change| {
            weak.upgrade().inspect(|this| this.on_pod(change));
        });
        this
    }

    fn on_pod(&self, change: &Change<Pod>) {
        if let Some(pod) = &change.new
            && let Some(left) = left(pod, Timestamp::now())
        {
            self.queue.add_after(Key::of(pod.as_ref()), left);
        }
    }
}

/// How long the pod's condition may still stand; `None` where it is none of ours: not there, on a
/// pod that goes or has ended, or its kubelet's own.
pub(super) fn left(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let since = pod.status.disrupted_since.as_deref()?;
    if !pod::is_active(pod) {
        return None;
    }
    let left = (*since + TIMEOUT).duration_since(now);
    Some(Duration::try_from(left).unwrap_or_default())
}

impl Reconcile for Stale {
    type Key = Key;
    const NAME: &'static str = "stale-disruption";
    const WORKERS: usize = 1;

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    fn keys(&self) -> Vec<Key> {
        let pods = self.context.caches.pods.all();
        let told = pods
            .iter()
            .filter(|pod| left(pod, Timestamp::now()).is_some());
        told.map(|pod| Key::of(pod.as_ref())).collect()
    }

    async fn reconcile(&self, key: &Key) -> Result<After, ReconcileError> {
        let Some(pod) = self.context.caches.pods.at(key) else {
            return Ok(After::Settled);
        };
        match left(&pod, Timestamp::now()) {
            None => return Ok(After::Settled),
            Some(left) if !left.is_zero() => return Ok(After::Again(left)),
            Some(_) => {}
        }
        let condition = PodCondition {
            type_: "DisruptionTarget".into(),
            status: "False".into(),
            reason: Some(String::new()),
            message: Some(String::new()),
            last_transition_time: Some(time(now())),
            ..PodCondition::default()
        };
        self.context.writer.set_condition(&pod, &condition).await?;
        Ok(After::Settled)
    }
}
