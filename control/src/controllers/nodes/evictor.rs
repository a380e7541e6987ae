//! The reconciler of pods on tainted and vanished nodes.

use super::eviction::{Verdict, judge};
use super::health;
use crate::controllers::Context;
use crate::controllers::runtime::lean::Pod;
use crate::controllers::runtime::{
    After, Change, Key, Queue, Reconcile, ReconcileError, Recorder, Severity, now, pod, taints,
};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::DeleteParams;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;

/// Evicts pods from nodes that expel them and removes those of nodes that are gone.
pub struct Evictor {
    context: Arc<Context>,
    queue: Queue<Key>,
    events: Recorder,
    /// The nodes that are ready: when none is, every pod asks.
    ready: Mutex<HashSet<String>>,
}

impl Evictor {
    /// Subscribes to nodes and pods.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let events = context.events.named("taint-eviction-controller");
        let evictor = Arc::new(Evictor {
            context,
            queue: Queue::default(),
            events,
            ready: Mutex::default(),
        });
        let weak = Arc::downgrade(&evictor);
        evictor.context.caches.nodes.subscribe(move |change| {
            weak.upgrade().inspect(|this| this.on_node(change));
        });
        let weak = Arc::downgrade(&evictor);
        evictor.context.caches.pods.subscribe(move |change| {
            weak.upgrade().inspect(|this| this.on_pod(change));
        });
        evictor
    }

    fn on_node(&self, change: &Change<Node>) {
        self.note_readiness(change);
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && taints::of(old) == taints::of(new)
        {
            return;
        }
        let name = change.latest().name_any();
        let pods = self.context.caches.pods.in_group(&name);
        pods.iter()
            .for_each(|pod| self.queue.add(Key::of(pod.as_ref())));
    }

    fn note_readiness(&self, change: &Change<Node>) {
        let name = change.latest().name_any();
        let mut ready = self.ready.lock();
        if change.new.as_deref().is_some_and(health::is_ready) {
            ready.insert(name);
        } else {
            ready.remove(&name);
        }
    }

    /// Only binding and deletion matter: a heartbeat of a container does not.
    fn on_pod(&self, change: &Change<Pod>) {
        let Some(pod) = change.new.as_ref() else {
            return;
        };
        let facts = |pod: &Pod| (pod::node_name(pod).to_owned(), pod::is_terminating(pod));
        let changed = change
            .old
            .as_ref()
            .is_none_or(|old| facts(old) != facts(pod));
        if changed && !pod::node_name(pod).is_empty() {
            self.queue.add(Key::of(pod.as_ref()));
        }
    }

    async fn evict(&self, pod: &Pod) -> Result<(), ReconcileError> {
        let message = format!("Marking for deletion Pod {}", Key::of(pod));
        self.events
            .record(pod, Severity::Normal, "TaintManagerEviction", message);
        Ok(self.context.writer.delete(pod).await?)
    }

    /// Removes a pod after asking the API itself whether its node is gone.
    async fn remove(&self, pod: &Pod) -> Result<(), ReconcileError> {
        let node: Option<Node> = self
            .context
            .writer
            .live(&Key::cluster(pod::node_name(pod)))
            .await?;
        if node.is_some() {
            return Ok(());
        }
        tracing::info!(pod = %Key::of(pod), node = pod::node_name(pod), "removing a pod of a vanished node");
        Ok(self
            .context
            .writer
            .delete_with(pod, DeleteParams::default().grace_period(0))
            .await?)
    }
}

impl Reconcile for Evictor {
    type Key = Key;
    const NAME: &'static str = "eviction";

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    fn keys(&self) -> Vec<Key> {
        self.context.caches.pods.keys()
    }

    async fn reconcile(&self, key: &Key) -> Result<After, ReconcileError> {
        let Some(pod) = self.context.caches.pods.at(key) else {
            return Ok(After::Settled);
        };
        let nodes = &self.context.caches.nodes;
        let node = nodes.get("", pod::node_name(&pod));
        let any_ready = || !self.ready.lock().is_empty();
        match judge(&pod, node.as_deref(), any_ready, now()) {
            Verdict::Stay => return Ok(After::Settled),
            Verdict::Wait(time) => return Ok(After::Again(time)),
            Verdict::Evict => self.evict(&pod).await?,
            Verdict::Remove => self.remove(&pod).await?,
        }
        Ok(After::Settled)
    }
}
