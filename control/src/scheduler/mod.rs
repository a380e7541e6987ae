//! The scheduler: gives every pod without a node the best one.
//!
//! Expected flow: the watch feeds a queue and a snapshot; one worker takes a pod, decides in a pure
//! function, assumes the result in the snapshot and binds in the background, so that the next
//! decision need not wait for the write. Pods that fit nowhere are parked until nodes or pods
//! change. It reads and writes the API only, under a name of its own; nodes and pods it reads from
//! the caches of the controllers, since a second copy of all pods would be most of the process.

pub mod affinity;
pub mod decide;
pub mod filter;
pub mod parked;
pub mod resources;
pub mod score;
pub mod snapshot;
#[cfg(test)]
mod tests;

use crate::controllers::Caches;
use crate::controllers::runtime::error::chain;
use crate::controllers::runtime::lean::Pod;
use crate::controllers::runtime::writer::failed;
use crate::controllers::runtime::{
    After, ApiError, Change, Key, Queue, Reconcile, ReconcileError, Recorder, Severity, Store,
    Writer, now, pod, time,
};
use decide::{Decision, decide};
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use naru_core::names::defaults;
use parked::Parked;
use parking_lot::Mutex;
use snapshot::{Placed, Snapshot, takes_room};
use std::sync::Arc;
use tokio::time::Instant;

/// The reconciler of pods without a node.
pub struct Scheduler {
    writer: Writer,
    events: Recorder,
    pods: Arc<Store<Pod>>,
    queue: Queue<Key>,
    snapshot: Mutex<Snapshot>,
    parked: Mutex<Parked>,
    this: std::sync::Weak<Scheduler>,
}

impl Scheduler {
    /// Subscribes to nodes and pods; decisions are written through `client`. The future writes its
    /// events.
    pub fn new(
        client: Client,
        caches: &Caches,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static) {
        let writer = Writer::new(client);
        let (events, background) = Recorder::new(defaults::SCHEDULER, writer.clone());
        let scheduler = Arc::new_cyclic(|this| Scheduler {
            writer,
            events,
            pods: caches.pods.clone(),
            queue: Queue::default(),
            snapshot: Mutex::default(),
            parked: Mutex::default(),
            this: this.clone(),
        });
        let weak = Arc::downgrade(&scheduler);
        scheduler.pods.subscribe(move |change| {
            if let Some(scheduler) = weak.upgrade() {
                scheduler.on_pod(change);
            }
        });
        let weak = Arc::downgrade(&scheduler);
        caches.nodes.subscribe(move |change| {
            if let Some(scheduler) = weak.upgrade() {
                scheduler.on_node(change);
            }
        });
        (scheduler, background)
    }

    fn on_pod(&self, change: &Change<Pod>) {
        let pod = change.latest();
        let uid = pod.uid().unwrap_or_default();
        match change.new.as_deref().filter(|pod| takes_room(pod)) {
            Some(placed) => {
                self.snapshot
                    .lock()
                    .place(&uid, pod::node_name(placed), Placed::read(placed));
                self.parked.lock().forget(&Key::of(pod));
            }
            None if change.new.is_none() || !pod::node_name(pod).is_empty() => {
                self.snapshot.lock().remove_pod(&uid);
                self.parked.lock().forget(&Key::of(pod));
                self.wake();
            }
            None => self.offer(change),
        }
    }

    /// Queues an unbound pod when it is new or was edited; its status is our own doing.
    fn offer(&self, change: &Change<Pod>) {
        let pod = change.latest();
        let edited = change
            .old
            .as_ref()
            .is_none_or(|old| old.spec != pod.spec || old.labels() != pod.labels());
        if edited && is_ours(pod) {
            self.queue.add(Key::of(pod));
        }
    }

    fn on_node(&self, change: &Change<Node>) {
        let name = change.latest().name_any();
        match change.new.clone() {
            Some(node) => self.snapshot.lock().set_node(&name, node),
            None => self.snapshot.lock().remove_node(&name),
        }
        if matters(change) {
            self.wake();
        }
    }

    fn wake(&self) {
        for (key, wait) in self.parked.lock().wake(Instant::now()) {
            self.queue.add_after(key, wait);
        }
    }

    /// Decides under the lock of the parked pods: a change is either seen by the decision or finds
    /// the pod parked.
    fn decide_or_park(&self, pod: &Pod, key: &Key) -> Decision {
        let mut parked = self.parked.lock();
        let decision = decide(&self.snapshot.lock(), pod);
        if matches!(decision, Decision::Unschedulable(_)) {
            parked.park(key, Instant::now());
        }
        decision
    }

    /// Counts on the decision and writes it in the background.
    fn assume(&self, pod: Arc<Pod>, node: String) {
        let uid = pod.uid().unwrap_or_default();
        self.snapshot.lock().place(&uid, &node, Placed::read(&pod));
        self.parked.lock().forget(&Key::of(pod.as_ref()));
        if let Some(scheduler) = self.this.upgrade() {
            tokio::spawn(async move { scheduler.bind(pod, node).await });
        }
    }

    async fn bind(&self, pod: Arc<Pod>, node: String) {
        let key = Key::of(pod.as_ref());
        let api: Api<Pod> = Api::namespaced(self.writer.client().clone(), &key.namespace);
        let binding = binding(&pod, &node);
        let answer: Result<serde_json::Value, _> = api
            .create_subresource("binding", &key.name, &PostParams::default(), &binding)
            .await;
        match answer.map_err(failed::<Pod>("bind", &key)) {
            Ok(_) => {
                self.queue.forget(&key);
                let message = format!("Successfully assigned {key} to {node}");
                self.events
                    .record(pod.as_ref(), Severity::Normal, "Scheduled", message);
            }
            Err(error) => self.unbind(&pod, &key, error),
        }
    }

    /// Takes an assumption back. A pod that is gone or bound meanwhile needs nothing more.
    fn unbind(&self, pod: &Pod, key: &Key, error: ApiError) {
        let bound = self.pods.at(key).is_some_and(|pod| takes_room(&pod));
        if !bound {
            self.snapshot
                .lock()
                .remove_pod(&pod.uid().unwrap_or_default());
        }
        if !error.is_not_found() && !bound {
            tracing::warn!(pod = %key, error = chain(&error), "binding failed");
            self.queue.retry(key.clone());
        }
    }

    async fn report_unschedulable(&self, pod: &Pod, message: String) -> Result<(), ReconcileError> {
        let condition = unschedulable(pod, &message);
        self.events
            .record(pod, Severity::Warning, "FailedScheduling", message);
        let Some(condition) = condition else {
            return Ok(());
        };
        match self.writer.set_condition(pod, &condition).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => Ok(other?),
        }
    }
}

impl Reconcile for Scheduler {
    type Key = Key;
    const NAME: &'static str = "scheduler";
    /// One decision at a time: each must see the one before.
    const WORKERS: usize = 1;

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    fn keys(&self) -> Vec<Key> {
        let unbound = |pod: &Arc<Pod>| pod::node_name(pod).is_empty() && is_ours(pod);
        self.pods
            .all()
            .iter()
            .filter(|pod| unbound(pod))
            .map(|pod| Key::of(pod.as_ref()))
            .collect()
    }

    async fn reconcile(&self, key: &Key) -> Result<After, ReconcileError> {
        let Some(pod) = self
            .pods
            .at(key)
            .filter(|pod| is_ours(pod) && pod::node_name(pod).is_empty())
        else {
            self.parked.lock().forget(key);
            return Ok(After::Settled);
        };
        if self
            .snapshot
            .lock()
            .is_placed(pod.metadata.uid.as_deref().unwrap_or_default())
        {
            return Ok(After::Settled);
        }
        let decision = self.decide_or_park(&pod, key);
        match decision {
            Decision::Bind(node) => self.assume(pod, node),
            Decision::Unschedulable(message) => self.report_unschedulable(&pod, message).await?,
        }
        Ok(After::Settled)
    }
}

/// Whether this scheduler is asked for, and the pod is alive and not held back by a gate.
fn is_ours(pod: &Pod) -> bool {
    let wanted = pod.spec.scheduler_name.as_deref();
    wanted.is_none_or(|name| name == defaults::SCHEDULER) && !pod.spec.gated && pod::is_active(pod)
}

/// Whether a node's change can make room: heartbeats alone cannot.
fn matters(change: &Change<Node>) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else {
        return change.new.is_some();
    };
    let allocatable = |node: &Node| {
        node.status
            .as_ref()
            .and_then(|status| status.allocatable.clone())
    };
    old.spec != new.spec || old.labels() != new.labels() || allocatable(old) != allocatable(new)
}

fn binding(pod: &Pod, node: &str) -> Binding {
    Binding {
        metadata: ObjectMeta {
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(node.into()),
            ..ObjectReference::default()
        },
    }
}

/// Condition `PodScheduled` with the reason; none when the pod says so already.
fn unschedulable(pod: &Pod, message: &str) -> Option<PodCondition> {
    let before = pod.status.unscheduled.as_deref();
    let before = before.filter(|condition| condition.status == "False");
    if before.is_some_and(|condition| condition.message.as_deref() == Some(message)) {
        return None;
    }
    let since = before.and_then(|condition| condition.last_transition_time.clone());
    Some(PodCondition {
        type_: "PodScheduled".into(),
        status: "False".into(),
        reason: Some("Unschedulable".into()),
        message: Some(message.into()),
        last_transition_time: since.or_else(|| Some(time(now()))),
        ..PodCondition::default()
    })
}
