//! The reconciler of nodes.

use super::health;
use super::ledger::Ledger;
use crate::controllers::Context;
use crate::controllers::range::Range;
use crate::controllers::runtime::lean::Pod;
use crate::controllers::runtime::{
    After, Change, Key, Queue, Reconcile, ReconcileError, Recorder, Severity, now, pod, taints,
    time,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, PodCondition};
use kube::ResourceExt;
use naru_core::names::namespaces::KUBE_NODE_LEASE;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;

/// Gives ranges, watches over leases, sets conditions and taints.
pub struct Lifecycle {
    context: Arc<Context>,
    queue: Queue<Key>,
    events: Recorder,
    /// When each node was heard last.
    heard: Mutex<HashMap<String, Instant>>,
    /// Who holds which ranges; those just given too, which the cache may not show yet.
    ledger: Mutex<Ledger>,
}

impl Lifecycle {
    /// Subscribes to nodes and leases.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let events = context.events.named("node-controller");
        let lifecycle = Arc::new(Lifecycle {
            context,
            queue: Queue::default(),
            events,
            heard: Mutex::default(),
            ledger: Mutex::default(),
        });
        let weak = Arc::downgrade(&lifecycle);
        lifecycle.context.caches.nodes.subscribe(move |change| {
            weak.upgrade().inspect(|this| this.on_node(change));
        });
        let weak = Arc::downgrade(&lifecycle);
        lifecycle.context.caches.leases.subscribe(move |change| {
            weak.upgrade().inspect(|this| this.on_lease(change));
        });
        lifecycle
    }

    fn on_node(&self, change: &Change<Node>) {
        let name = change.latest().name_any();
        match &change.new {
            Some(new) => {
                self.hear(change.old.as_deref(), new);
                let ranges = ranges(new);
                if !ranges.is_empty() {
                    self.ledger.lock().hold(&name, ranges);
                }
            }
            None => {
                self.heard.lock().remove(&name);
                self.release(&name);
            }
        }
        self.queue.add(Key::cluster(&name));
    }

    /// The ranges of a node that is gone are free again: for those who wait.
    fn release(&self, node: &str) {
        let waiting = self.ledger.lock().release(node);
        let keys = waiting.iter().map(|name| Key::cluster(name));
        keys.for_each(|key| self.queue.add(key));
    }

    /// A new node was heard just now, and so was one that posted its status.
    fn hear(&self, old: Option<&Node>, new: &Node) {
        let spoke = old.is_none_or(|old| health::heartbeat(old) != health::heartbeat(new));
        let recovered = health::is_ready(new) && !old.is_some_and(health::is_ready);
        if spoke || recovered {
            self.heard.lock().insert(new.name_any(), Instant::now());
        }
    }

    fn on_lease(&self, change: &Change<Lease>) {
        let Some(lease) = change.new.as_ref() else {
            return;
        };
        let renewal = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        let renewed = change
            .old
            .as_ref()
            .is_none_or(|old| renewal(old) != renewal(lease));
        if renewed && lease.namespace().as_deref() == Some(KUBE_NODE_LEASE) {
            self.heard.lock().insert(lease.name_any(), Instant::now());
        }
    }

    /// First ranges, one of each family, for a node without any. One worker calls this, so no range
    /// is given twice.
    async fn give_ranges(&self, node: &Node) -> Result<Option<Node>, ReconcileError> {
        let name = node.name_any();
        if !ranges(node).is_empty() {
            return Ok(None);
        }
        let config = &self.context.config;
        let given = self
            .ledger
            .lock()
            .give(&name, &config.pod_cidrs, config.node_mask);
        let free = match given {
            Ok(free) => free,
            Err(exhausted) => {
                let message = format!("No range is left in {exhausted} for node {name}");
                self.events
                    .record(node, Severity::Warning, "CIDRNotAvailable", message);
                return Err(ReconcileError::Pending {
                    object: name,
                    what: format!("a free range in {exhausted}"),
                });
            }
        };
        let mut ranged = node.clone();
        let spec = ranged.spec.get_or_insert_default();
        spec.pod_cidr = free.first().map(Range::to_string);
        spec.pod_cidrs = Some(free.iter().map(Range::to_string).collect());
        let answer = self.context.writer.update(node, &ranged).await;
        // After any other error it may hold them all the same; the next attempt gives it others.
        if answer.as_ref().is_err_and(|error| error.is_not_found()) {
            self.release(&name);
        }
        Ok(answer?)
    }

    /// Marks a node unknown once its lease is older than the grace period.
    async fn check_lease(&self, node: &Node) -> Result<(After, bool), ReconcileError> {
        let name = node.name_any();
        let silence = self
            .heard
            .lock()
            .get(&name)
            .map_or_else(Default::default, Instant::elapsed);
        let grace = self.context.config.node_grace;
        if silence < grace {
            return Ok((After::Again(grace - silence), false));
        }
        let silenced = health::silenced(node, now());
        if self.context.writer.update_status(node, &silenced).await? {
            let message = format!("Node {name} status is now: NodeNotReady");
            self.events
                .record(node, Severity::Normal, "NodeNotReady", message);
            tracing::warn!(node = name, silent_s = silence.as_secs(), "node is silent");
        }
        Ok((After::Settled, true))
    }

    async fn set_taints(&self, node: &Node) -> Result<(), ReconcileError> {
        let wanted = health::taints(node, now());
        if wanted == taints::of(node) {
            return Ok(());
        }
        let mut tainted = node.clone();
        tainted.spec.get_or_insert_default().taints =
            Some(wanted).filter(|taints| !taints.is_empty());
        self.context.writer.update(node, &tainted).await?;
        Ok(())
    }

    /// Takes the readiness from the pods of a silent node, so that endpoints drop them.
    async fn unready_pods(&self, node: &str) -> Result<(), ReconcileError> {
        for pod in self.context.caches.pods.in_group(node) {
            if pod::is_ready(&pod) {
                self.unready(&pod).await?;
            }
        }
        Ok(())
    }

    async fn unready(&self, pod: &Pod) -> Result<(), ReconcileError> {
        let unready = PodCondition {
            type_: "Ready".into(),
            status: "False".into(),
            reason: Some("NodeNotReady".into()),
            last_transition_time: Some(time(now())),
            ..PodCondition::default()
        };
        self.events
            .record(pod, Severity::Warning, "NodeNotReady", "Node is not ready");
        match self.context.writer.set_condition(pod, &unready).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => Ok(other?),
        }
    }
}

/// The ranges of a node, each once.
fn ranges(node: &Node) -> Vec<Range> {
    let Some(spec) = node.spec.as_ref() else {
        return Vec::new();
    };
    let all = spec.pod_cidr.iter().chain(spec.pod_cidrs.iter().flatten());
    let mut ranges: Vec<Range> = all.filter_map(|text| text.parse().ok()).collect();
    ranges.dedup();
    ranges
}

impl Reconcile for Lifecycle {
    type Key = Key;
    const NAME: &'static str = "node";
    /// One at a time: ranges are given in order.
    const WORKERS: usize = 1;

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    fn keys(&self) -> Vec<Key> {
        self.context.caches.nodes.keys()
    }

    async fn reconcile(&self, key: &Key) -> Result<After, ReconcileError> {
        let Some(node) = self.context.caches.nodes.at(key) else {
            return Ok(After::Settled);
        };
        if self.give_ranges(&node).await?.is_some() {
            // The change comes back and is the next attempt's start.
            return Ok(After::Settled);
        }
        let (after, silent) = self.check_lease(&node).await?;
        if silent && health::is_ready(&node) {
            return Ok(after);
        }
        self.set_taints(&node).await?;
        if silent {
            self.unready_pods(&key.name).await?;
            // A recovered node is noticed by its own status; until then look at new pods' readiness.
            return Ok(After::Again(self.context.config.node_grace));
        }
        Ok(after)
    }
}
