//! Deployments: roll from one template to the next without losing availability.
//!
//! The plan is one step; the changes that a step causes (ReplicaSets, then pods) wake the next.

pub mod bounds;
pub mod hash;
pub mod names;
pub mod plan;
pub mod rolling;
pub mod status;
#[cfg(test)]
mod tests;

use super::Context;
use super::runtime::lean::Pod;
use super::runtime::{
    After, Change, Key, Queue, Reconcile, ReconcileError, Recorder, Severity, claim, meta, now,
};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::ResourceExt;
use names::wanted;
use plan::{Input, Plan};
use std::sync::Arc;

/// The controller; feed it through the caches it subscribes to.
pub struct Controller {
    context: Arc<Context>,
    queue: Queue<Key>,
    events: Recorder,
}

impl Controller {
    /// Subscribes to Deployments, their ReplicaSets and the end of their pods.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let events = context.events.named("deployment-controller");
        let controller = Arc::new(Controller {
            context,
            queue: Queue::default(),
            events,
        });
        let caches = &controller.context.caches;
        let weak = Arc::downgrade(&controller);
        caches.deployments.subscribe(move |change| {
            if let Some(controller) = weak.upgrade() {
                controller.queue.add(Key::of(change.latest()));
            }
        });
        let weak = Arc::downgrade(&controller);
        caches.replicasets.subscribe(move |change| {
            if let Some(controller) = weak.upgrade() {
                controller.on_replicaset(change);
            }
        });
        let weak = Arc::downgrade(&controller);
        caches.pods.subscribe(move |change| {
            if let Some(controller) = weak.upgrade() {
                controller.on_pod(change);
            }
        });
        controller
    }

    fn on_replicaset(&self, change: &Change<ReplicaSet>) {
        let owners = change
            .sides()
            .filter_map(|rs| Some((rs, meta::controller_of(&rs.metadata)?)));
        let mut owned = false;
        for (rs, owner) in owners.filter(|(_, owner)| owner.kind == "Deployment") {
            owned = true;
            self.queue
                .add(Key::new(&rs.namespace().unwrap_or_default(), &owner.name));
        }
        if !owned && change.new.is_some() {
            self.wake_adopters(change.latest());
        }
    }

    fn wake_adopters(&self, rs: &ReplicaSet) {
        for deployment in self
            .context
            .caches
            .deployments
            .in_namespace(&rs.namespace().unwrap_or_default())
        {
            let selector = meta::workload_selector(&deployment.spec.selector);
            if selector
                .is_some_and(|selector| kube::core::SelectorExt::matches(&selector, rs.labels()))
            {
                self.queue.add(Key::of(deployment.as_ref()));
            }
        }
    }

    /// `Recreate` waits for the last old pod to be gone.
    fn on_pod(&self, change: &Change<Pod>) {
        if change.new.is_some() {
            return;
        }
        let pod = change.latest();
        let namespace = pod.namespace().unwrap_or_default();
        let Some(owner) =
            meta::controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet")
        else {
            return;
        };
        let Some(rs) = self.context.caches.replicasets.get(&namespace, &owner.name) else {
            return;
        };
        let Some(owner) = meta::controller_of(&rs.metadata) else {
            return;
        };
        let deployment = self.context.caches.deployments.get(&namespace, &owner.name);
        if deployment.is_some_and(|deployment| bounds::recreates(&deployment)) {
            self.queue.add(Key::new(&namespace, &owner.name));
        }
    }

    fn pods_of(&self, namespace: &str, sets: &[Arc<ReplicaSet>]) -> Vec<Arc<Pod>> {
        let uids: Vec<_> = sets.iter().map(|rs| meta::uid(&rs.metadata)).collect();
        let mut pods = self.context.caches.pods.in_namespace(namespace);
        pods.retain(|pod| {
            meta::controller_of(&pod.metadata)
                .is_some_and(|owner| uids.contains(&owner.uid.as_str()))
        });
        pods
    }

    async fn apply(&self, deployment: &Deployment, mut plan: Plan) -> Result<(), ReconcileError> {
        let writer = &self.context.writer;
        for (before, after) in &plan.update {
            writer.update(before.as_ref(), after).await?;
            self.tell_scaled(
                deployment,
                &before.name_any(),
                wanted(before),
                wanted(after),
            );
        }
        if let Some(rs) = plan.create.take() {
            self.create(deployment, rs, &mut plan).await?;
        }
        for rs in &plan.delete {
            writer.delete(rs.as_ref()).await?;
        }
        let noted = self.note_revision(deployment, plan.revision.take()).await?;
        let base = noted.as_ref().unwrap_or(deployment);
        let mut reported = base.clone();
        reported.status = Some(plan.status);
        Ok(writer.update_status(base, &reported).await.map(drop)?)
    }

    async fn note_revision(
        &self,
        deployment: &Deployment,
        revision: Option<String>,
    ) -> Result<Option<Deployment>, ReconcileError> {
        let Some(revision) = revision else {
            return Ok(None);
        };
        let mut noted = deployment.clone();
        noted
            .annotations_mut()
            .insert(names::REVISION.into(), revision);
        Ok(self.context.writer.update(deployment, &noted).await?)
    }

    /// Creates the new ReplicaSet. A taken name is ours from a step that the cache does not show
    /// yet, or a collision of hashes, which the next step resolves by counting it.
    async fn create(
        &self,
        deployment: &Deployment,
        rs: ReplicaSet,
        plan: &mut Plan,
    ) -> Result<(), ReconcileError> {
        match self.context.writer.create(&rs).await {
            Ok(created) => self.tell_scaled(deployment, &created.name_any(), 0, wanted(&created)),
            Err(error) if error.is_already_exists() => {
                let taken: Option<ReplicaSet> = self.context.writer.live(&Key::of(&rs)).await?;
                if !taken.is_some_and(|taken| is_ours(deployment, &taken)) {
                    let count = plan.status.collision_count.unwrap_or(0) + 1;
                    plan.status.collision_count = Some(count);
                    plan.revision = None;
                }
            }
            Err(error) => {
                let message = format!(
                    "Failed to create new replica set \"{}\": {}",
                    rs.name_any(),
                    error.message()
                );
                self.events.record(
                    deployment,
                    Severity::Warning,
                    "ReplicaSetCreateError",
                    message,
                );
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn tell_scaled(&self, deployment: &Deployment, name: &str, from: i32, to: i32) {
        let direction = match to.cmp(&from) {
            std::cmp::Ordering::Equal => return,
            std::cmp::Ordering::Greater => "up",
            std::cmp::Ordering::Less => "down",
        };
        let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
        self.events
            .record(deployment, Severity::Normal, "ScalingReplicaSet", message);
    }
}

fn is_ours(deployment: &Deployment, rs: &ReplicaSet) -> bool {
    let owned = meta::controller_of(&rs.metadata)
        .is_some_and(|owner| Some(&owner.uid) == deployment.uid().as_ref());
    let template = rs.spec.template.as_ref();
    owned
        && template.is_some_and(|template| plan::same_template(&deployment.spec.template, template))
}

impl Reconcile for Controller {
    type Key = Key;
    const NAME: &'static str = "deployment";

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    fn keys(&self) -> Vec<Key> {
        self.context.caches.deployments.keys()
    }

    async fn reconcile(&self, key: &Key) -> Result<After, ReconcileError> {
        let Some(deployment) = self.context.caches.deployments.at(key) else {
            return Ok(After::Settled);
        };
        let Some(selector) = meta::workload_selector(&deployment.spec.selector) else {
            let fault = "the selector is malformed or selects everything".to_owned();
            return Err(ReconcileError::Invalid {
                object: key.to_string(),
                fault,
            });
        };
        let sets = self.context.caches.replicasets.in_namespace(&key.namespace);
        let sorted = claim::sort(deployment.as_ref(), &selector, sets);
        let sets = claim::apply(&self.context.writer, deployment.as_ref(), sorted).await?;
        let pods = self.pods_of(&key.namespace, &sets);
        let plan = plan::plan(&Input {
            deployment: &deployment,
            sets,
            pods,
            now: now(),
        });
        let again = plan.again;
        self.apply(&deployment, plan).await?;
        Ok(again.map_or(After::Settled, After::Again))
    }
}
