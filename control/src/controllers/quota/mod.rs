//! Counts again what quotas have charged: after deletions, after changes of the quota, and now and
//! then.
//!
//! Admission charges before an object is stored, so that a count may miss what is charged and about
//! to be stored. What is counted higher than charged is written at once; what is counted lower only
//! when the quota has been left alone for [`QUIET`], and under the version at which it was. A write
//! that takes longer than that from its charge to the store can be missed once.

mod count;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apimachinery::pkg::api::resource;
use kube::ResourceExt;
use parking_lot::Mutex;

use self::count::{Counted, Kinds};
use super::Context;
use super::gc::Collector;
use super::runtime::lean::Pod;
use super::runtime::{After, Change, Key, Queue, Reconcile, ReconcileError, pod};
use crate::measure::{Amounts, amounts};

/// How long nothing may have been charged before less is written than was charged.
const QUIET: Duration = Duration::from_millis(300);
/// How soon charges are looked over.
const AUDIT: Duration = Duration::from_secs(1);

/// The reconciler of quotas.
pub struct Controller {
    context: Arc<Context>,
    queue: Queue<Key>,
    kinds: Mutex<Kinds>,
    /// The version of a quota and since when it is known to be that.
    seen: Mutex<HashMap<Key, (String, Instant)>>,
}

impl Controller {
    /// Subscribes to quotas, and to everything that is deleted.
    pub fn new(context: Arc<Context>, collector: &Collector) -> Arc<Self> {
        let this = Arc::new(Controller {
            context,
            queue: Queue::default(),
            kinds: Mutex::default(),
            seen: Mutex::default(),
        });
        let caches = &this.context.caches;
        let weak = Arc::downgrade(&this);
        caches.quotas.subscribe(move |change| {
            weak.upgrade().inspect(|this| this.changed(change));
        });
        let weak = Arc::downgrade(&this);
        caches.pods.subscribe(move |change| ended(&weak, change));
        let weak = Arc::downgrade(&this);
        caches.services.subscribe(move |change| {
            let namespace = change.latest().namespace().unwrap_or_default();
            weak.upgrade().inspect(|this| this.look(&namespace));
        });
        let weak = Arc::downgrade(&this);
        collector.on_removal(move |namespace| {
            weak.upgrade().inspect(|this| this.look(namespace));
        });
        this
    }

    fn changed(&self, change: &Change<ResourceQuota>) {
        let key = Key::of(change.latest());
        let bounds = |quota: &Arc<ResourceQuota>| quota.spec.clone();
        if change.old.as_ref().map(bounds) != change.new.as_ref().map(bounds) {
            self.queue.add(key);
        } else {
            self.queue.add_after(key, AUDIT);
        }
    }

    /// Looks at the quotas of a namespace in which something has changed.
    fn look(&self, namespace: &str) {
        let quotas = self.context.caches.quotas.in_namespace(namespace);
        quotas
            .iter()
            .for_each(|quota| self.queue.add(Key::of(quota.as_ref())));
    }

    /// How long the quota has been as it is.
    fn quiet_for(&self, key: &Key, version: &str) -> Duration {
        let mut seen = self.seen.lock();
        let known = seen.get(key).filter(|(known, _)| known == version);
        match known {
            Some((_, since)) => since.elapsed(),
            None => {
                seen.insert(key.clone(), (version.to_owned(), Instant::now()));
                Duration::ZERO
            }
        }
    }

    fn forget(&self, key: &Key) {
        self.seen.lock().remove(key);
    }
}

/// A pod that has ended frees what it held before it is deleted.
fn ended(controller: &Weak<Controller>, change: &Change<Pod>) {
    let over = |pod: &Option<Arc<Pod>>| pod.as_deref().is_some_and(pod::is_finished);
    let ends = over(&change.new) && !over(&change.old);
    if let Some(controller) = controller.upgrade().filter(|_| ends) {
        controller.look(&change.latest().namespace().unwrap_or_default());
    }
}

/// What is to become of what a quota says.
#[derive(Debug, PartialEq)]
enum Plan {
    /// It says what there is.
    Agreed,
    /// It charges more than there is.
    Lower,
    /// It charges less, or says nothing.
    Raise,
}

fn plan(charged: &Amounts, counted: &Amounts) -> Plan {
    let lower = |(name, amount): (&String, &naru_core::Quantity)| {
        charged.get(name).is_some_and(|have| have > amount)
    };
    if charged == counted {
        Plan::Agreed
    } else if counted.iter().any(lower) {
        Plan::Lower
    } else {
        Plan::Raise
    }
}

impl Reconcile for Controller {
    type Key = Key;
    const NAME: &'static str = "resource-quota";
    const WORKERS: usize = 1;

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    fn keys(&self) -> Vec<Key> {
        self.context.caches.quotas.keys()
    }

    async fn reconcile(&self, key: &Key) -> Result<After, ReconcileError> {
        let writer = &self.context.writer;
        let Some(quota) = writer.live::<ResourceQuota>(key).await? else {
            self.forget(key);
            return Ok(After::Settled);
        };
        let version = quota.resource_version().unwrap_or_default();
        let quiet = self.quiet_for(key, &version);
        let counted = Counted {
            client: writer.client(),
            kinds: &self.kinds,
            key,
        };
        let counted = counted.of(&quota).await?;
        let status = quota.status.clone().unwrap_or_default();
        let encoded = serde_json::to_value(&status.used).unwrap_or_default();
        let hard = quota.spec.as_ref().and_then(|spec| spec.hard.clone());
        match plan(&amounts::read(Some(&encoded)), &counted) {
            Plan::Agreed if status.hard == hard => {
                self.forget(key);
                return Ok(After::Settled);
            }
            Plan::Lower if quiet < QUIET => return Ok(After::Again(QUIET)),
            _ => {}
        }
        let mut wanted = quota.clone();
        let status = wanted.status.get_or_insert_default();
        status.hard = hard;
        let text = |amount: naru_core::Quantity| resource::Quantity(amount.to_string());
        status.used = Some(
            counted
                .into_iter()
                .map(|(name, amount)| (name, text(amount)))
                .collect(),
        );
        writer.update_status(&quota, &wanted).await?;
        Ok(After::Settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_charged_is_told_from_more() {
        let amounts = |pairs: &[(&str, &str)]| -> Amounts {
            let read = |(name, text): &(&str, &str)| ((*name).to_owned(), text.parse().unwrap());
            pairs.iter().map(read).collect()
        };
        let charged = amounts(&[("pods", "2"), ("cpu", "1")]);
        assert_eq!(
            plan(&charged, &amounts(&[("pods", "2"), ("cpu", "1000m")])),
            Plan::Agreed
        );
        assert_eq!(
            plan(&charged, &amounts(&[("pods", "1"), ("cpu", "3")])),
            Plan::Lower
        );
        assert_eq!(
            plan(&charged, &amounts(&[("pods", "3"), ("cpu", "1")])),
            Plan::Raise
        );
        assert_eq!(
            plan(&Amounts::new(), &amounts(&[("pods", "3")])),
            Plan::Raise
        );
    }
}
