//! Controllers: clients of the API that make reality follow the objects.
//!
//! One module each, all of one shape: read caches, plan in a pure function, apply through the
//! writer, write status. They share one watch per kind ([`Caches`]), which feeds the scheduler too,
//! and one recorder of events, and know nothing of the store. Service addresses are no controller's work: the API server allocates
//! them before a Service is stored.

pub mod runtime;

pub mod balancers;
pub mod bootstrap;
pub mod certificates;
pub mod context;
pub mod deployment;
pub mod disruption;
pub mod election;
pub mod endpoints;
pub mod gc;
pub mod namespaces;
pub mod nodes;
pub mod protection;
pub mod quota;
pub mod range;
pub mod replicaset;
pub mod roles;

pub use context::{Caches, Config, Context};
pub use range::Range;

use crate::scheduler::Scheduler;
use kube::Client;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Runs all controllers over `client`, and the scheduler, which writes through a client of its own,
/// until `shutdown` is cancelled; then returns after the writes in hand.
pub async fn run(client: Client, scheduler: Client, config: Config, shutdown: CancellationToken) {
    let mut start = runtime::Start::new(client.clone());
    let (context, background) = Context::new(client, config);
    let context = Arc::new(context);
    start.watches().spawn(background);

    let replicasets = replicaset::Controller::new(context.clone());
    let endpoints = endpoints::Controller::new(context.clone());
    let lifecycle = nodes::Lifecycle::new(context.clone());
    let evictor = nodes::Evictor::new(context.clone());
    let furnisher = namespaces::Furnisher::new(context.clone());
    let terminator = namespaces::Terminator::new(context.clone());
    let collector = gc::Collector::new(context.clone());
    let deployments = deployment::Controller::new(context.clone());
    let quotas = quota::Controller::new(context.clone(), &collector);
    let budgets = disruption::Controller::new(context.clone());
    let stale = disruption::Stale::new(context.clone());
    let claims = protection::Claims::new(context.clone());
    let volumes = protection::Volumes::new(context.clone());
    let balancers = balancers::Controller::new(context.clone());
    let certificates = certificates::Controller::new(context.clone());
    let cleaner = bootstrap::Cleaner::new(context.clone());
    let signer = bootstrap::Signer::new(context.clone());
    let gatherer = roles::Gatherer::new(context.clone());
    let (scheduler, background) = Scheduler::new(scheduler, &context.caches);
    start.watches().spawn(background);

    collector.follow(start.watches());
    context.caches.follow(&mut start);
    let Some(mut running) = start.ready(shutdown).await else {
        return;
    };
    running.spawn(replicasets);
    running.spawn(deployments);
    running.spawn(endpoints);
    running.spawn(lifecycle);
    running.spawn(evictor);
    running.spawn(furnisher);
    running.spawn(terminator);
    running.spawn(collector);
    running.spawn(quotas);
    running.spawn(budgets);
    running.spawn(stale);
    running.spawn(claims);
    running.spawn(volumes);
    running.spawn(balancers);
    running.spawn(certificates);
    running.spawn(cleaner);
    running.spawn(signer);
    running.spawn(gatherer);
    running.spawn(scheduler);
    tracing::info!("controllers and scheduler running");
    running.finish().await;
}
