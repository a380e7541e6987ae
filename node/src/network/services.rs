//! Services: from the API to the maps.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use naru_core::names::labels;

use super::balancers::HealthPorts;
use super::own_network::OwnNetwork;
use super::takeover::Loop;
use super::trigger::Trigger;
use super::{Network, chain};
use crate::PartResult;
use crate::datapath::{Datapath, DatapathError};
use crate::service::{
    Balancing, Contents, Context, Filler, HealthCheck, Plan, Programmed, Tables, Touched,
    has_health_port, health_checks, host_ports,
};

const RESYNC: Duration = Duration::from_secs(300);
const RETRY: Duration = Duration::from_secs(1);

pub(super) async fn run(network: Arc<Network>) {
    let watches = Arc::clone(&network.watches);
    watches.services.synced().await;
    watches.endpoint_slices.synced().await;
    watches.own_pods.synced().await;
    watches.nodes.synced().await;
    let sources = || {
        vec![
            watches.services.subscribe(),
            watches.endpoint_slices.subscribe(),
            watches.own_pods.subscribe(),
            network.readdressed.subscribe(),
        ]
    };
    let mut trigger = Trigger::new(sources(), RESYNC);
    let mut retry = Trigger::new(sources(), RETRY);
    let (mut programmed, mut whole) = (None, true);
    let mut health_ports = HealthPorts::at(network.config.everywhere());
    loop {
        let outcome = network.reconcile_services(&mut programmed, whole).await;
        let failed = outcome.is_err();
        if let (Ok(true), Some(programmed)) = (&outcome, &programmed) {
            network.end_stranded(programmed).await;
        }
        let fault = health_ports.apply(&network.health_checks()).await;
        network.health.set("health-check-ports", fault.err());
        network
            .health
            .set("services", outcome.err().map(|error| chain(error.as_ref())));
        if failed {
            // What the maps hold is not certain any more: they are read again.
            programmed = None;
            retry.wait().await;
            whole = true;
        } else {
            network.has_filled(Loop::Services);
            // Where nothing tells of a change, everything is looked at again.
            whole = !trigger.wait().await;
        }
    }
}

impl Network {
    /// Makes the maps what the API wants, planning everything anew or what has changed. True if datagram
    /// flows may be left over.
    async fn reconcile_services(
        &self,
        programmed: &mut Option<Programmed>,
        whole: bool,
    ) -> PartResult<bool> {
        let started = Instant::now();
        let programmed = match programmed {
            Some(programmed) => programmed,
            empty => empty.insert(adopt(&self.datapath)?),
        };
        let context = self.context();
        let has_host_ports = !context.host_ports.is_empty();
        let plan = self.plan_services(context, programmed, whole);
        let own = OwnNetwork::of(&self.own_addresses());
        if own.has_any(plan.slots.iter().map(|(_, backend)| backend)) {
            self.serve_own_network(true).await?;
        }
        if !plan.is_empty() {
            apply(&self.datapath, &plan).await?;
            tracing::info!(
                written = plan.services.len(),
                removed = plan.gone.len(),
                slots = plan.slots.len(),
                services = programmed.len(),
                took = ?started.elapsed(),
                "services programmed"
            );
        }
        self.look_at_host_ports(has_host_ports)?;
        if whole {
            self.serve_own_network(self.leads_to(&own)).await?;
        }
        if whole || !plan.gone.is_empty() {
            self.forget_affinity(programmed)?;
        }
        Ok(plan.strands_flows)
    }

    /// Forgets what clients keep of services that are gone, or don't ask for it any more.
    fn forget_affinity(&self, programmed: &Programmed) -> Result<(), DatapathError> {
        let kept = self.datapath.affinity.keys()?;
        if kept.is_empty() {
            return Ok(());
        }
        let alive = programmed.with_affinity();
        let stale = kept.iter().filter(|key| !alive.contains(&key.service));
        let stale: Vec<_> = stale.copied().collect();
        self.datapath.affinity.delete_all(&stale)
    }

    /// Whether any Service has an endpoint there.
    fn leads_to(&self, own: &OwnNetwork) -> bool {
        let wanted = self.wanted.lock();
        let mut services = wanted.entries().values();
        services.any(|service| own.has_any(&service.backends))
    }

    /// What all Services depend on.
    fn context(&self) -> Context {
        let pods = self.watches.own_pods.sorted();
        let pods = pods.values().map(Arc::as_ref);
        Context {
            node: self.config.node_name.clone(),
            zone: self.zone(),
            own: self.config.dns(),
            balancing: self.balancing(),
            host_ports: host_ports(pods, &self.own_addresses()),
        }
    }

    fn plan_services(&self, context: Context, programmed: &mut Programmed, whole: bool) -> Plan {
        let mut wanted = self.wanted.lock();
        if whole {
            wanted.forget();
        }
        let tables = Tables {
            services: &self.watches.services,
            slices: &self.watches.endpoint_slices,
        };
        let touched = wanted.update(tables, context);
        let plan = match &touched {
            Touched::All => programmed.plan(wanted.entries()),
            Touched::These(keys) => programmed.plan_some(wanted.entries(), keys),
        };
        let fault = wanted.fault().map(ToOwned::to_owned);
        drop(wanted);
        self.report_health("load-balancer-algorithm", fault);
        if touched != Touched::These(HashSet::new()) {
            self.stale_names.store(true, Ordering::Release);
        }
        plan
    }

    /// What Services get that do not ask for anything else.
    fn balancing(&self) -> Balancing {
        Balancing {
            algorithm: self.config.load_balancer_algorithm,
            table: self.config.maglev_table_size,
        }
    }

    fn health_checks(&self) -> BTreeMap<u16, HealthCheck> {
        let services = self.watches.services.matching(has_health_port);
        if services.is_empty() {
            return BTreeMap::new();
        }
        let slices = self.watches.endpoint_slices.sorted();
        health_checks(&services, &slices, &self.config.node_name)
    }

    /// The zone of this node. It hardly ever changes: a round that runs anyway reads it.
    fn zone(&self) -> Option<String> {
        let own = self.watches.nodes.get("", &self.config.node_name)?;
        own.metadata.labels.as_ref()?.get(labels::ZONE).cloned()
    }
}

/// Reads the maps.
fn adopt(datapath: &Datapath) -> Result<Programmed, DatapathError> {
    Ok(Programmed::adopt(Contents {
        services: datapath.services.entries()?,
        slots: datapath.backends.entries()?,
        members: datapath.members.entries()?,
        tables: datapath.tables.keys()?,
        ranges: datapath.ranges.entries()?,
    }))
}

/// Takes the steps of a plan in the order that no reader sees half of. Filling tables takes milliseconds
/// each, between which others of the network have their turn.
///
/// # Errors
/// When a map is full or the kernel refuses; then what the maps hold has to be read again.
pub async fn apply(datapath: &Datapath, plan: &Plan) -> Result<(), DatapathError> {
    datapath
        .backends
        .put_all(plan.slots.iter().map(|(key, value)| (key, value)))?;
    datapath
        .members
        .put_all(plan.members.iter().map(|(key, value)| (key, value)))?;
    plan.ranges
        .iter()
        .try_for_each(|range| datapath.ranges.put(*range))?;
    let mut filler = Filler::default();
    for (key, service) in &plan.services {
        if let Some(table) = plan.tables.get(&service.revision) {
            let mut blocks = filler.blocks(table, service.revision);
            blocks.try_for_each(|(key, block)| datapath.tables.put(&key, &block))?;
            tokio::task::yield_now().await;
        }
        datapath.services.put(key, service)?;
    }
    datapath.services.delete_all(&plan.gone)?;
    let stale = &plan.stale;
    datapath.backends.delete_all(&stale.slots)?;
    datapath.members.delete_all(&stale.members)?;
    datapath.tables.delete_all(&stale.tables)?;
    stale
        .ranges
        .iter()
        .try_for_each(|range| datapath.ranges.delete(*range))
}
