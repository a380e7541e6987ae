//! Addresses for Services of type LoadBalancer, from the cluster's AddressPools.
//!
//! All Services are decided about together, because they compete for the same addresses: one key,
//! one pure [`plan`], then a write of every status that differs. While there is no pool, Services
//! are left alone, so that another controller may serve them; the same holds for Services of
//! another `loadBalancerClass` and for those that have addresses which they did not get here. Who
//! answers for an address on the network is the nodes' business.

pub mod plan;
pub mod pool;
mod service;
#[cfg(test)]
mod tests;

use super::Context;
use super::runtime::{After, Change, Key, Queue, Reconcile, ReconcileError, Severity};
use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use kube::ResourceExt;
use parking_lot::Mutex;
use plan::{Outcome, Taken};
use pool::{AddressPool, Pool};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// The one unit of work: everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Everything;

impl fmt::Display for Everything {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("load balancers")
    }
}

/// A Service as it was written, and the version that the write was planned on.
type Written = (Option<String>, Arc<Service>);

/// The controller; feed it through the caches it subscribes to.
pub struct Controller {
    context: Arc<Context>,
    queue: Queue<Everything>,
    /// Stands in for what the cache shows until it has seen the write, lest an address be given
    /// twice in between.
    written: Mutex<HashMap<Key, Written>>,
}

impl Controller {
    /// Subscribes to Services, pools, namespaces and nodes.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let controller = Arc::new(Controller {
            context,
            queue: Queue::default(),
            written: Mutex::default(),
        });
        let caches = &controller.context.caches;
        let this = || Arc::downgrade(&controller);
        let weak = this();
        caches.services.subscribe(move |change| {
            if change.sides().any(|service| concerns(service)) {
                weak.upgrade().inspect(|this| this.queue.add(Everything));
            }
        });
        let weak = this();
        caches.pools.subscribe(move |_| {
            weak.upgrade().inspect(|this| this.queue.add(Everything));
        });
        let weak = this();
        caches.namespaces.subscribe(move |change| {
            if relabelled(change) {
                weak.upgrade().inspect(|this| this.queue.add(Everything));
            }
        });
        controller
    }

    /// Services as the last write left them.
    fn services(&self) -> Vec<Arc<Service>> {
        let mut written = self.written.lock();
        let mut services = self.context.caches.services.all();
        written.retain(|key, _| self.context.caches.services.at(key).is_some());
        for service in &mut services {
            let key = Key::of(service.as_ref());
            match written.get(&key) {
                Some((version, newer)) if *version == service.resource_version() => {
                    *service = newer.clone();
                }
                Some(_) => drop(written.remove(&key)),
                None => {}
            }
        }
        services.sort_by_key(|service| (service.creation_timestamp(), Key::of(service.as_ref())));
        services
    }

    fn decide(&self, services: &[Arc<Service>], pools: &[Pool]) -> BTreeMap<Key, Outcome> {
        let namespaces = &self.context.caches.namespaces;
        let labels = |service: &Service| {
            let namespace = namespaces.get("", &service.namespace().unwrap_or_default());
            namespace
                .map(|namespace| namespace.labels().clone())
                .unwrap_or_default()
        };
        let ours = services.iter().filter(|service| service::is_ours(service));
        let claimants: Vec<_> = ours
            .map(|service| service::claimant(service, labels(service)))
            .collect();
        let others = services.iter().filter(|service| !service::is_ours(service));
        let taken = taken(
            others.map(AsRef::as_ref),
            &self.context.caches.nodes.all(),
            services,
        );
        plan::plan(&claimants, pools, &taken)
    }

    async fn write(&self, old: &Arc<Service>, new: Service) -> Result<(), ReconcileError> {
        if self
            .context
            .writer
            .update_status(old.as_ref(), &new)
            .await?
        {
            let entry = (old.resource_version(), Arc::new(new));
            self.written.lock().insert(Key::of(old.as_ref()), entry);
        }
        Ok(())
    }

    /// Tells people when the answer changed.
    fn tell(&self, old: &Service, new: &Service) {
        let said = |service: &Service| {
            let condition = service::condition(service)?;
            Some((condition.reason.clone(), condition.message.clone()))
        };
        let Some((reason, message)) = said(new).filter(|now| said(old).as_ref() != Some(now))
        else {
            return;
        };
        let events = self.context.events.named("load-balancer");
        if reason == service::ASSIGNED {
            events.record(new, Severity::Normal, "AddressAssigned", message);
        } else {
            events.record(new, Severity::Warning, "AddressNotAssigned", message);
        }
    }

    async fn apply(
        &self,
        services: &[Arc<Service>],
        outcomes: &BTreeMap<Key, Outcome>,
    ) -> Result<(), ReconcileError> {
        let mut fault = Ok(());
        for old in services {
            let new = match outcomes.get(&Key::of(old.as_ref())) {
                Some(_) if super::runtime::meta::is_deleting(&old.metadata) => continue,
                Some(outcome) => service::with(old, outcome),
                None if service::condition(old).is_some() => service::without(old),
                None => continue,
            };
            match self.write(old, new.clone()).await {
                Ok(()) => self.tell(old, &new),
                // One that can't be written holds up no other.
                Err(error) => fault = Err(error),
            }
        }
        fault
    }

    async fn count(
        &self,
        pools: &[(Arc<AddressPool>, Pool)],
        outcomes: &BTreeMap<Key, Outcome>,
    ) -> Result<(), ReconcileError> {
        for (object, pool) in pools {
            let used = outcomes.values().flat_map(|outcome| &outcome.addresses);
            let mut counted = object.as_ref().clone();
            counted.status = Some(pool.status(used));
            self.context
                .writer
                .update_status(object.as_ref(), &counted)
                .await?;
        }
        Ok(())
    }
}

/// Whether a Service has or wants anything from here, or has an address that others must not get.
fn concerns(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    let external = spec.and_then(|spec| spec.external_ips.as_ref());
    service::is_ours(service)
        || service::condition(service).is_some()
        || !service::held(service).is_empty()
        || external.is_some_and(|all| !all.is_empty())
}

fn relabelled(change: &Change<Namespace>) -> bool {
    let labels = |side: &Option<Arc<Namespace>>| side.as_ref().map(|ns| ns.labels().clone());
    labels(&change.old) != labels(&change.new)
}

/// What is not to be given away: addresses of nodes, of load balancers that `others` serve, and
/// external addresses of all Services.
fn taken<'a>(
    others: impl Iterator<Item = &'a Service>,
    nodes: &[Arc<Node>],
    all: &[Arc<Service>],
) -> Taken {
    let mut taken = Taken::new();
    for service in all {
        let external = service
            .spec
            .as_ref()
            .and_then(|spec| spec.external_ips.as_ref());
        for address in external
            .into_iter()
            .flatten()
            .filter_map(|text| text.parse().ok())
        {
            taken.insert(
                address,
                format!("the externalIPs of Service {}", Key::of(service.as_ref())),
            );
        }
    }
    for service in others {
        for address in service::held(service) {
            taken.insert(address, format!("Service {}", Key::of(service)));
        }
    }
    for node in nodes {
        let status = node.status.as_ref();
        let addresses = status.and_then(|status| status.addresses.as_ref());
        for address in addresses.into_iter().flatten() {
            if let Ok(address) = address.address.parse() {
                taken.insert(address, format!("node {}", node.name_any()));
            }
        }
    }
    taken
}

impl Reconcile for Controller {
    type Key = Everything;
    const NAME: &'static str = "balancers";
    const WORKERS: usize = 1;

    fn queue(&self) -> &Queue<Everything> {
        &self.queue
    }

    fn keys(&self) -> Vec<Everything> {
        vec![Everything]
    }

    async fn reconcile(&self, _key: &Everything) -> Result<After, ReconcileError> {
        let mut pools = self.context.caches.pools.all();
        pools.sort_by_key(|pool| pool.name_any());
        let (objects, pools): (Vec<_>, Vec<_>) = pools
            .into_iter()
            .map(|pool| (pool.clone(), Pool::read(&pool)))
            .unzip();
        let services = self.services();
        let mut outcomes = self.decide(&services, &pools);
        if pools.is_empty() {
            let served = |key: &Key| {
                let service = services
                    .iter()
                    .find(|service| Key::of(service.as_ref()) == *key);
                service.is_some_and(|service| service::condition(service).is_some())
            };
            outcomes.retain(|key, _| served(key));
        }
        self.apply(&services, &outcomes).await?;
        let pools: Vec<_> = objects.into_iter().zip(pools).collect();
        self.count(&pools, &outcomes).await?;
        Ok(After::Settled)
    }
}
