//! ReplicaSets: keep a number of pods of one template alive.
//!
//! Reads the pods of the namespace from the cache, claims what matches, creates or deletes the
//! difference, writes status. [`expectations`] keeps a stale cache from doubling anything.

pub mod expectations;
pub mod plan;
pub mod rank;
#[cfg(test)]
mod tests;

use super::Context;
use super::runtime::{
    After, ApiError, Change, Key, Queue, Reconcile, ReconcileError, Recorder, Severity, claim,
    lean::Pod, meta, now, pod,
};
use expectations::Expectations;
use futures_util::future::join_all;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1;
use kube::ResourceExt;
use plan::{Failure, Scale};
use std::sync::Arc;

/// The controller; feed it through the caches it subscribes to.
pub struct Controller {
    context: Arc<Context>,
    queue: Queue<Key>,
    expectations: Expectations,
    events: Recorder,
}

impl Controller {
    /// Subscribes to ReplicaSets and pods.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let events = context.events.named("replicaset-controller");
        let controller = Arc::new(Controller {
            context,
            queue: Queue::default(),
            expectations: Expectations::default(),
            events,
        });
        let (sets, pods) = (Arc::downgrade(&controller), Arc::downgrade(&controller));
        controller
            .context
            .caches
            .replicasets
            .subscribe(move |change| {
                if let Some(controller) = sets.upgrade() {
                    controller.on_replicaset(change);
                }
            });
        controller.context.caches.pods.subscribe(move |change| {
            if let Some(controller) = pods.upgrade() {
                controller.on_pod(change);
            }
        });
        controller
    }

    fn on_replicaset(&self, change: &Change<ReplicaSet>) {
        let rs = change.latest();
        if change.new.is_none() {
            self.expectations.forget(meta::uid(&rs.metadata));
        }
        self.queue.add(Key::of(rs));
    }

    fn on_pod(&self, change: &Change<Pod>) {
        self.observe(change);
        let mut controlled = false;
        for pod in change.sides() {
            let Some(owner) = meta::controller_of(&pod.metadata) else {
                continue;
            };
            controlled = true;
            if owner.kind == "ReplicaSet" {
                self.queue
                    .add(Key::new(&pod.namespace().unwrap_or_default(), &owner.name));
            }
        }
        if !controlled && change.new.is_some() {
            self.wake_adopters(change.latest());
        }
    }

    /// Notes which of our own writes this change is.
    fn observe(&self, change: &Change<Pod>) {
        let pod = change.latest();
        let Some(owner) = meta::controller_of(&pod.metadata) else {
            return;
        };
        if change.old.is_none() {
            self.expectations.created(&owner.uid, 1);
        }
        if change.new.is_none() || pod::is_terminating(pod) {
            self.expectations
                .deleted(&owner.uid, meta::uid(&pod.metadata));
        }
    }

    /// An orphan may be what some ReplicaSet is looking for.
    fn wake_adopters(&self, pod: &Pod) {
        let labels = pod.labels();
        for rs in self
            .context
            .caches
            .replicasets
            .in_namespace(&pod.namespace().unwrap_or_default())
        {
            let selector = meta::workload_selector(&rs.spec.selector);
            if selector.is_some_and(|selector| kube::core::SelectorExt::matches(&selector, labels))
            {
                self.queue.add(Key::of(rs.as_ref()));
            }
        }
    }

    /// The pods of every ReplicaSet that shares this one's controller, for spreading deletions.
    fn siblings(&self, rs: &ReplicaSet) -> Vec<Arc<Pod>> {
        let namespace = rs.namespace().unwrap_or_default();
        let owner = meta::controller_of(&rs.metadata).map(|owner| owner.uid.clone());
        let family: Vec<String> = match owner {
            None => vec![rs.uid().unwrap_or_default()],
            Some(uid) => self
                .context
                .caches
                .replicasets
                .in_namespace(&namespace)
                .iter()
                .filter(|set| {
                    meta::controller_of(&set.metadata).is_some_and(|owner| owner.uid == uid)
                })
                .filter_map(|set| set.uid())
                .collect(),
        };
        let mut pods = self.context.caches.pods.in_namespace(&namespace);
        pods.retain(|pod| {
            meta::controller_of(&pod.metadata).is_some_and(|owner| family.contains(&owner.uid))
        });
        pods
    }

    async fn apply_scale(&self, rs: &ReplicaSet, scale: Scale) -> Result<(), (Failure, ApiError)> {
        match scale {
            Scale::Keep => Ok(()),
            Scale::Create(count) => self.create(rs, count).await,
            Scale::Delete(pods) => self.delete(rs, pods).await,
        }
    }

    /// Creates in batches of 1, 2, 4, … so that a template the server refuses fails once.
    async fn create(&self, rs: &ReplicaSet, count: usize) -> Result<(), (Failure, ApiError)> {
        let uid = meta::uid(&rs.metadata);
        self.expectations.expect(uid, count, []);
        let template = plan::new_pod(rs);
        let (mut left, mut batch) = (count, 1);
        while left > 0 {
            let size = batch.min(left);
            let answers = join_all((0..size).map(|_| self.create_one(rs, &template))).await;
            left -= size;
            batch *= 2;
            if let Some(error) = answers.into_iter().find_map(Result::err) {
                self.expectations.created(uid, left);
                return Err((
                    Failure {
                        reason: "FailedCreate",
                        message: error.message(),
                    },
                    error,
                ));
            }
        }
        Ok(())
    }

    async fn create_one(&self, rs: &ReplicaSet, template: &v1::Pod) -> Result<(), ApiError> {
        match self.context.writer.create(template).await {
            Ok(pod) => {
                let message = format!("Created pod: {}", pod.name_any());
                self.events
                    .record(rs, Severity::Normal, "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) => {
                self.expectations.created(meta::uid(&rs.metadata), 1);
                let message = format!("Error creating: {}", error.message());
                self.events
                    .record(rs, Severity::Warning, "FailedCreate", message);
                Err(error)
            }
        }
    }

    async fn delete(
        &self,
        rs: &ReplicaSet,
        pods: Vec<Arc<Pod>>,
    ) -> Result<(), (Failure, ApiError)> {
        let uids = pods.iter().filter_map(|pod| pod.uid());
        self.expectations.expect(meta::uid(&rs.metadata), 0, uids);
        let answers = join_all(pods.iter().map(|pod| self.delete_one(rs, pod))).await;
        match answers.into_iter().find_map(Result::err) {
            Some(error) => Err((
                Failure {
                    reason: "FailedDelete",
                    message: error.message(),
                },
                error,
            )),
            None => Ok(()),
        }
    }

    async fn delete_one(&self, rs: &ReplicaSet, pod: &Pod) -> Result<(), ApiError> {
        match self.context.writer.delete(pod).await {
            Ok(()) => {
                let message = format!("Deleted pod: {}", pod.name_any());
                self.events
                    .record(rs, Severity::Normal, "SuccessfulDelete", message);
                Ok(())
            }
            Err(error) => {
                self.expectations
                    .deleted(meta::uid(&rs.metadata), meta::uid(&pod.metadata));
                let message = format!("Error deleting: {}", error.message());
                self.events
                    .record(rs, Severity::Warning, "FailedDelete", message);
                Err(error)
            }
        }
    }

    async fn report(
        &self,
        rs: &ReplicaSet,
        pods: &[Arc<Pod>],
        failure: Option<&Failure>,
    ) -> Result<(), ApiError> {
        let mut reported = rs.clone();
        reported.status = Some(plan::status(rs, pods, failure, now()));
        self.context
            .writer
            .update_status(rs, &reported)
            .await
            .map(drop)
    }
}

impl Reconcile for Controller {
    type Key = Key;
    const NAME: &'static str = "replicaset";
    const WORKERS: usize = 4;

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    fn keys(&self) -> Vec<Key> {
        self.context.caches.replicasets.keys()
    }

    async fn reconcile(&self, key: &Key) -> Result<After, ReconcileError> {
        let Some(rs) = self.context.caches.replicasets.at(key) else {
            return Ok(After::Settled);
        };
        let Some(selector) = meta::workload_selector(&rs.spec.selector) else {
            let fault = "the selector is malformed or selects everything".to_owned();
            return Err(ReconcileError::Invalid {
                object: key.to_string(),
                fault,
            });
        };
        let settled = self.expectations.met(meta::uid(&rs.metadata));
        let mut pods = self.context.caches.pods.in_namespace(&key.namespace);
        pods.retain(|pod| pod::is_active(pod));
        let owned = claim::apply(
            &self.context.writer,
            rs.as_ref(),
            claim::sort(rs.as_ref(), &selector, pods),
        )
        .await?;
        let scaled = match settled {
            true => {
                self.apply_scale(&rs, plan::scale(&rs, &owned, &self.siblings(&rs)))
                    .await
            }
            false => Ok(()),
        };
        let failure = scaled.as_ref().err().map(|(failure, _)| failure);
        self.report(&rs, &owned, failure).await?;
        scaled.map_err(|(_, error)| error)?;
        Ok(plan::next_available(&rs, &owned, now()).map_or(After::Settled, After::Again))
    }
}
