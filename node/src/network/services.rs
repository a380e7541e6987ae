//! Services: from the API to the maps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::names::ServiceNames;
use super::trigger::Trigger;
use super::{Network, chain};
use crate::PartResult;
use crate::datapath::{Datapath, DatapathError};
use crate::service::{Plan, Programmed, desired};

const RESYNC: Duration = Duration::from_secs(300);
const RETRY: Duration = Duration::from_secs(1);

pub(super) async fn run(network: Arc<Network>) {
    let watches = Arc::clone(&network.watches);
    watches.services.synced().await;
    watches.endpoint_slices.synced().await;
    let sources = || {
        vec![
            watches.services.subscribe(),
            watches.endpoint_slices.subscribe(),
        ]
    };
    let mut trigger = Trigger::new(sources(), RESYNC);
    let mut retry = Trigger::new(sources(), RETRY);
    let mut programmed = None;
    loop {
        let outcome = network.reconcile_services(&mut programmed);
        let failed = outcome.is_err();
        network
            .health
            .set("services", outcome.err().map(|error| chain(error.as_ref())));
        if failed {
            // What the maps hold is not certain any more: they are read again.
            programmed = None;
            retry.wait().await;
        } else {
            trigger.wait().await;
        }
    }
}

impl Network {
    fn reconcile_services(&self, programmed: &mut Option<Programmed>) -> PartResult {
        let started = Instant::now();
        let programmed = match programmed {
            Some(programmed) => programmed,
            empty => empty.insert(adopt(&self.datapath)?),
        };
        let (services, slices) = (
            self.watches.services.sorted(),
            self.watches.endpoint_slices.sorted(),
        );
        let own = [self.config.cluster_dns];
        let desired = desired(&services, &slices, &self.config.node_name, &own);
        let plan = programmed.plan(&desired);
        if !plan.is_empty() {
            apply(&self.datapath, &plan)?;
            tracing::info!(
                written = plan.services.len(),
                removed = plan.gone.len(),
                slots = plan.slots.len(),
                services = programmed.len(),
                took = ?started.elapsed(),
                "services programmed"
            );
        }
        self.service_names
            .store(Arc::new(ServiceNames::new(&desired)));
        Ok(())
    }
}

/// Reads the maps.
fn adopt(datapath: &Datapath) -> Result<Programmed, DatapathError> {
    Ok(Programmed::adopt(
        datapath.services.entries()?,
        datapath.backends.entries()?,
    ))
}

/// Takes the steps in the order that no reader sees half of.
fn apply(datapath: &Datapath, plan: &Plan) -> Result<(), DatapathError> {
    datapath
        .backends
        .put_all(plan.slots.iter().map(|(key, value)| (key, value)))?;
    datapath
        .services
        .put_all(plan.services.iter().map(|(key, value)| (key, value)))?;
    datapath.services.delete_all(&plan.gone)?;
    datapath.backends.delete_all(&plan.stale)
}
