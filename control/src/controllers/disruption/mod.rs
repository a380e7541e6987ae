//! PodDisruptionBudgets: says how many pods may be missing, and gives the budget back that an
//! eviction took and did not use.
//!
//! Evictions are the API server's (`api/subresources/eviction`): it takes one off what a budget
//! allows and notes the pod and the time in `disruptedPods`, in one write. Here it is counted again
//! what is there: a noted pod is missing already, until it is seen to be terminating or has not been
//! for [`plan::DELETION_TIMEOUT`]. Both write under the version that they read, so that neither
//! undoes the other, and whoever starts anew reads the notes. What cannot be counted allows nothing.
//!
//! A pod's change wakes the budgets that match it and no others; pods are read from the shared cache
//! and not kept. It will not evict anybody.

pub mod condition;
pub mod plan;
mod scale;
mod stale;
#[cfg(test)]
mod tests;

pub use stale::Stale;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use kube::ResourceExt;

use self::plan::{Basis, Plan};
use self::scale::Controllers;
use super::Context;
use super::runtime::lean::Pod;
use super::runtime::{
    After, ApiError, Change, Key, Queue, Reconcile, ReconcileError, Recorder, Severity, meta, pod,
};

/// The reconciler of budgets.
pub struct Controller {
    context: Arc<Context>,
    queue: Queue<Key>,
    events: Recorder,
}

/// Why it cannot be said how many pods there should be.
#[derive(Debug)]
pub(crate) enum Fault {
    /// What the pods or their controllers are; trying again changes nothing.
    Told(String),
    /// A call that may succeed next time.
    Call(ApiError),
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Self {
        Fault::Call(error)
    }
}

impl Controller {
    /// Subscribes to budgets and pods.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let events = context.events.named("controllermanager");
        let this = Arc::new(Controller {
            context,
            queue: Queue::default(),
            events,
        });
        let weak = Arc::downgrade(&this);
        this.context.caches.budgets.subscribe(move |change| {
            weak.upgrade()
                .inspect(|this| this.queue.add(Key::of(change.latest())));
        });
        let weak = Arc::downgrade(&this);
        this.context.caches.pods.subscribe(move |change| {
            weak.upgrade().inspect(|this| this.on_pod(change));
        });
        this
    }

    fn on_pod(&self, change: &Change<Pod>) {
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && counts_the_same(old, new)
        {
            return;
        }
        let namespace = change.latest().metadata.namespace.as_deref();
        let mut budgets = self
            .context
            .caches
            .budgets
            .in_namespace(namespace.unwrap_or_default());
        budgets.retain(|budget| change.sides().any(|pod| plan::selects(budget, pod)));
        budgets
            .iter()
            .for_each(|budget| self.queue.add(Key::of(budget.as_ref())));
        if let Some(pod) = &change.new
            && change.old.as_ref().map(|old| old.labels()) != Some(pod.labels())
        {
            self.tell_of_many(pod, &budgets);
        }
    }

    /// Tells whoever looks at a pod why it cannot be evicted.
    fn tell_of_many(&self, pod: &Pod, budgets: &[Arc<PodDisruptionBudget>]) {
        let matching = budgets.iter().filter(|budget| plan::selects(budget, pod));
        let names: Vec<String> = matching.map(|budget| budget.name_any()).collect();
        if names.len() > 1 {
            let message = format!(
                "Pod {:?}/{:?} matches multiple PodDisruptionBudgets: {}. It cannot be evicted.",
                pod.namespace().unwrap_or_default(),
                pod.name_any(),
                names.join(", ")
            );
            let reason = "MultiplePodDisruptionBudgets";
            self.events.record(pod, Severity::Warning, reason, message);
        }
    }

    /// How many pods there should be, and those that no controller would replace.
    async fn expected(
        &self,
        budget: &PodDisruptionBudget,
        pods: &[Arc<Pod>],
    ) -> Result<(i32, Vec<Arc<Pod>>), Fault> {
        match Basis::of(budget) {
            Basis::None => Ok((0, Vec::new())),
            Basis::Pods => Ok((i32::try_from(pods.len()).unwrap_or(i32::MAX), Vec::new())),
            Basis::Scale => Controllers::new(&self.context).scale(pods).await,
        }
    }

    /// Writes what was counted, and tells what is news.
    async fn report(
        &self,
        budget: &PodDisruptionBudget,
        pods: &[Arc<Pod>],
        unmanaged: &[Arc<Pod>],
        plan: &Plan,
    ) -> Result<(), ReconcileError> {
        if !self.write(budget, plan.status.clone()).await? {
            return Ok(());
        }
        if pods.is_empty() {
            let message = "No matching pods found";
            self.events
                .record(budget, Severity::Normal, "NoPods", message);
        }
        if !unmanaged.is_empty() {
            let message = format!(
                "Pods selected by this PodDisruptionBudget (selector: {}) were found to be \
                 unmanaged. As a result, the status of the PDB cannot be calculated correctly, \
                 which may result in undefined behavior. To account for these pods please set \
                 \".spec.minAvailable\" field of the PDB to an integer value.",
                plan::selector(budget)
                    .map(|it| it.to_string())
                    .unwrap_or_default()
            );
            self.events
                .record(budget, Severity::Warning, "UnmanagedPods", message);
        }
        for pod in &plan.overdue {
            let message = format!(
                "Pod was expected by PDB {} to be deleted but it wasn't",
                Key::of(budget)
            );
            self.events
                .record(pod.as_ref(), Severity::Warning, "NotDeleted", message);
        }
        Ok(())
    }

    /// Allows nothing, and says why.
    async fn fail(
        &self,
        budget: &PodDisruptionBudget,
        fault: Fault,
    ) -> Result<After, ReconcileError> {
        let why = match &fault {
            Fault::Told(why) => why.clone(),
            Fault::Call(error) => error.message(),
        };
        let status = plan::failed(budget, &why, Timestamp::now());
        if self.write(budget, status).await? {
            let message = format!("Failed to calculate the number of expected pods: {why}");
            let reason = "CalculateExpectedPodCountFailed";
            self.events
                .record(budget, Severity::Warning, reason, message);
        }
        match fault {
            Fault::Told(_) => Ok(After::Settled),
            Fault::Call(error) => Err(error.into()),
        }
    }

    async fn write(
        &self,
        budget: &PodDisruptionBudget,
        status: PodDisruptionBudgetStatus,
    ) -> Result<bool, ReconcileError> {
        let wanted = PodDisruptionBudget {
            status: Some(status),
            ..budget.clone()
        };
        Ok(self.context.writer.update_status(budget, &wanted).await?)
    }
}

/// Whether two versions of a pod are the same to every budget.
fn counts_the_same(old: &Pod, new: &Pod) -> bool {
    let controller = |pod: &Pod| meta::controller_of(&pod.metadata).map(|owner| owner.uid.clone());
    old.metadata.uid == new.metadata.uid
        && old.labels() == new.labels()
        && pod::is_ready(old) == pod::is_ready(new)
        && pod::is_terminating(old) == pod::is_terminating(new)
        && controller(old) == controller(new)
}

impl Reconcile for Controller {
    type Key = Key;
    const NAME: &'static str = "disruption";

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    fn keys(&self) -> Vec<Key> {
        self.context.caches.budgets.keys()
    }

    async fn reconcile(&self, key: &Key) -> Result<After, ReconcileError> {
        let Some(budget) = self.context.caches.budgets.at(key) else {
            return Ok(After::Settled);
        };
        let pods = match plan::selector(&budget) {
            Some(selector) => {
                let mut pods = self.context.caches.pods.in_namespace(&key.namespace);
                pods.retain(|pod| plan::matches(&selector, pod));
                pods
            }
            None => Vec::new(),
        };
        let (expected, unmanaged) = match self.expected(&budget, &pods).await {
            Ok(expected) => expected,
            Err(fault) => return self.fail(&budget, fault).await,
        };
        let plan = plan::plan(&budget, &pods, expected, Timestamp::now());
        self.report(&budget, &pods, &unmanaged, &plan).await?;
        Ok(plan.again.map_or(After::Settled, After::Again))
    }
}
