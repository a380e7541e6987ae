//! HTTP routing by host and path, in the embedded proxy.
//!
//! [`plan`] makes the route table from Ingresses, IngressClasses, Services and EndpointSlices;
//! the proxy reads the table of the moment for each request and goes straight to a ready endpoint,
//! past the Service's address. The table is swapped as a whole, a few milliseconds after a change
//! reaches the watches; requests in progress keep the endpoint that they have.
//!
//! Connections to endpoints come from the node's ingress address, so that NetworkPolicy can tell
//! the proxy from everything else on the node.
//!
//! Not here yet: TLS (an Ingress's `tls` section is accepted and its hosts are served in plain
//! HTTP), HTTP/2 from clients, gRPC to endpoints.

pub mod backend;
pub mod body;
pub mod connect;
pub mod headers;
pub mod listen;
pub mod plan;
pub mod proxy;
pub mod status;
pub mod table;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::follow::follow;
use crate::ipam::first_address;
use crate::{Health, PartResult, Shared, Watches};
use backend::Endpoints;
use connect::{Connector, Source};
use proxy::Proxy;
use table::RouteTable;

const COMPONENT: &str = "ingress";
/// How long an endpoint may be silent before its response begins.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long until binding is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Runs the proxy until `shutdown`.
///
/// # Errors
/// Never at present; what can fail is tried again and shown in the node's health.
pub async fn run(shared: Shared, shutdown: CancellationToken) -> PartResult {
    let table = Arc::new(ArcSwap::from_pointee(RouteTable::default()));
    let source = Arc::new(ArcSwap::from_pointee(Source::Unknown));
    let connector = Connector::new(Arc::clone(&source));
    let proxy = Arc::new(Proxy::new(Arc::clone(&table), connector, PATIENCE));
    let built = Notify::new();
    let serve = async {
        let Some(listener) = shutdown.run_until_cancelled(open(&shared, &built)).await else {
            return;
        };
        listen::serve(listener, proxy, shutdown.clone()).await;
    };
    tokio::select! {
        () = serve => {}
        () = follow_routes(&table, &shared.watches, &built) => {}
        () = follow_source(&source, &shared) => {}
        () = status::run(&shared) => {}
    }
    Ok(())
}

/// Opens the socket once there are routes: a wrong 404 is worse than a refused connection.
async fn open(shared: &Shared, built: &Notify) -> TcpListener {
    built.notified().await;
    bind(
        SocketAddr::new(shared.config.everywhere(), shared.config.ingress_port),
        &shared.health,
    )
    .await
}

async fn synced(watches: &Watches) {
    tokio::join!(
        watches.ingresses.synced(),
        watches.ingress_classes.synced(),
        watches.services.synced(),
        watches.endpoint_slices.synced(),
    );
}

async fn bind(address: SocketAddr, health: &Health) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                health.set(COMPONENT, None);
                tracing::info!(%address, "ingress listens");
                return listener;
            }
            Err(error) => {
                health.set(COMPONENT, Some(format!("listen on {address}: {error}")));
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn follow_routes(table: &ArcSwap<RouteTable>, watches: &Watches, built: &Notify) {
    synced(watches).await;
    let tables = vec![
        watches.ingresses.subscribe(),
        watches.ingress_classes.subscribe(),
        watches.services.subscribe(),
        watches.endpoint_slices.subscribe(),
    ];
    let mut endpoints = Endpoints::default();
    follow(tables, || {
        table.store(Arc::new(plan::table(&objects(watches), &mut endpoints)));
        endpoints.sweep();
        built.notify_one();
    })
    .await;
}

fn objects(watches: &Watches) -> plan::Objects {
    plan::Objects {
        ingresses: watches.ingresses.list(),
        classes: watches.ingress_classes.list(),
        services: watches.services.list(),
        slices: watches.endpoint_slices.list(),
    }
}

/// Keeps the source address of connections at what the Node object says.
async fn follow_source(source: &ArcSwap<Source>, shared: &Shared) {
    follow(vec![shared.watches.nodes.subscribe()], || {
        let node = shared.watches.nodes.get("", &shared.config.node_name);
        let addresses = node.as_deref().map(ingress_addresses).unwrap_or_default();
        source.store(Arc::new(Source::Addresses(addresses)));
    })
    .await;
}

/// The first address of each of a node's pod CIDRs, IPv4 first: the proxy's.
fn ingress_addresses(node: &Node) -> [Option<IpAddr>; 2] {
    let spec = node.spec.iter();
    let cidrs = spec.flat_map(|spec| spec.pod_cidr.iter().chain(spec.pod_cidrs.iter().flatten()));
    let cidrs: Vec<IpNet> = cidrs.filter_map(|cidr| cidr.parse().ok()).collect();
    [false, true].map(|v6| {
        let mut cidrs = cidrs.iter();
        let cidr = cidrs.find(|cidr| cidr.addr().is_ipv6() == v6);
        cidr.map(first_address)
    })
}

#[cfg(test)]
mod tests;
