//! Feeds the cluster DNS from the API and runs it on this node.
//!
//! Two tasks beside the server: one rebuilds the Services half of the zone, one the pods half,
//! each whenever its tables change. A rebuild reads whole tables and takes no hint.
//!
//! A node with addresses of two families serves both addresses of the DNS from the same zone.
//!
//! Nothing is answered from an empty zone: the sockets open when Services, EndpointSlices and pods
//! have been read once, because a wrong "no such name" would be cached by clients.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use naru_dns::{Domain, Resolver, ResolverConfig, Server, Zone, plan};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::follow::follow;
use crate::{Health, PartResult, Shared, Watches};

const PORT: u16 = 53;
const COMPONENT: &str = "cluster-dns";
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Datagram loops: one for each worker of the daemon's runtime.
const LOOPS: usize = 2;
/// How long until binding is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Runs the cluster DNS until `shutdown`.
///
/// # Errors
/// When the cluster's domain is no DNS name.
pub async fn run(shared: Shared, shutdown: CancellationToken) -> PartResult {
    let domain = Domain::parse(&shared.config.cluster_domain)?;
    let addresses = shared.config.dns();
    let Some(first) = addresses.first().copied() else {
        shutdown.cancelled().await;
        return Ok(());
    };
    let zone = Arc::new(ArcSwap::from_pointee(Zone::empty(domain, first)));
    let resolver = Arc::new(Resolver::new(Arc::clone(&zone), config(&shared)));
    let serve = async {
        synced(&shared.watches).await;
        rebuild_services(&zone, &shared.watches);
        rebuild_pods(&zone, &shared.watches);
        let mut servers = JoinSet::new();
        for address in addresses {
            let server = bind(SocketAddr::new(address, PORT), &shared.health).await;
            tracing::info!(address = %server.address(), "cluster DNS listens");
            servers.spawn(server.serve(Arc::clone(&resolver)));
        }
        servers.join_all().await;
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = follow_services(&zone, &shared.watches) => {}
        () = follow_pods(&zone, &shared.watches) => {}
        () = serve => {}
    }
    Ok(())
}

async fn synced(watches: &Watches) {
    tokio::join!(
        watches.services.synced(),
        watches.endpoint_slices.synced(),
        watches.pods.synced(),
    );
}

/// Opens the sockets, as often as it takes.
async fn bind(address: SocketAddr, health: &Health) -> Server {
    loop {
        match Server::bind(address, LOOPS) {
            Ok(server) => {
                health.set(COMPONENT, None);
                return server;
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                health.set(
                    COMPONENT,
                    Some(format!("{error}: {}", cause.unwrap_or_default())),
                );
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn follow_services(zone: &ArcSwap<Zone>, watches: &Watches) {
    let tables = vec![
        watches.services.subscribe(),
        watches.endpoint_slices.subscribe(),
    ];
    follow(tables, || rebuild_services(zone, watches)).await;
}

async fn follow_pods(zone: &ArcSwap<Zone>, watches: &Watches) {
    follow(vec![watches.pods.subscribe()], || {
        rebuild_pods(zone, watches)
    })
    .await;
}

fn rebuild_services(zone: &ArcSwap<Zone>, watches: &Watches) {
    let (services, slices) = (watches.services.list(), watches.endpoint_slices.list());
    let services = services.iter().map(AsRef::as_ref);
    let plan = Arc::new(plan::services(services, slices.iter().map(AsRef::as_ref)));
    zone.rcu(|zone| zone.with_services(Arc::clone(&plan)));
}

fn rebuild_pods(zone: &ArcSwap<Zone>, watches: &Watches) {
    let pods = watches.pods.list();
    let alive = pods.iter().filter(|pod| pod.owns_addresses());
    let addresses = alive.flat_map(|pod| pod.ips.iter().map(|ip| (pod.namespace.as_str(), *ip)));
    let plan = Arc::new(plan::pods(addresses));
    zone.rcu(|zone| zone.with_pods(Arc::clone(&plan)));
}

fn config(shared: &Shared) -> ResolverConfig {
    let mut upstream = shared.config.upstream_dns.clone();
    if upstream.is_empty() {
        upstream = servers_of(Path::new(RESOLV_CONF), &shared.config.dns());
    }
    tracing::info!(?upstream, "servers for names outside the cluster");
    ResolverConfig {
        upstream,
        ..ResolverConfig::default()
    }
}

fn servers_of(path: &Path, own: &[IpAddr]) -> Vec<SocketAddr> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse_servers(&text, own),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "no upstream DNS servers");
            Vec::new()
        }
    }
}

/// The `nameserver` lines of a resolv.conf, without ourselves, which would be a loop.
fn parse_servers(text: &str, own: &[IpAddr]) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        words.next()?.parse::<IpAddr>().ok()
    };
    let others = text
        .lines()
        .filter_map(address)
        .filter(|ip| !own.contains(ip));
    others.map(|ip| SocketAddr::new(ip, PORT)).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;

    use super::*;
    use crate::watches::Key;

    fn service(name: &str) -> Service {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"clusterIP": "10.96.0.20"}
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_change_reaches_the_zone_and_so_does_the_next_one() {
        let watches = Watches::new();
        let domain = Domain::parse("cluster.local").unwrap();
        let zone = Arc::new(ArcSwap::from_pointee(Zone::empty(
            domain,
            [10, 96, 0, 10].into(),
        )));
        let follower = tokio::spawn({
            let (zone, watches) = (Arc::clone(&zone), Arc::clone(&watches));
            async move { follow_services(&zone, &watches).await }
        });
        for name in ["one", "two", "three"] {
            tokio::task::yield_now().await;
            watches
                .services
                .apply(Key::new("shop", name), service(name));
            let known = async {
                while zone.load().service("shop", name).is_none() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(1), known)
                .await
                .unwrap();
        }
        follower.abort();
    }

    #[test]
    fn upstream_servers_come_from_resolv_conf_without_ourselves() {
        let text = "# comment\nsearch a b\nnameserver 192.0.2.1\nnameserver 10.96.0.10\n \
                    nameserver\t2001:db8::1 \nnameserver broken\nnameserver\noptions ndots:5";
        let own = ["10.96.0.10".parse().unwrap()];
        let expected: [SocketAddr; 2] = [
            "192.0.2.1:53".parse().unwrap(),
            "[2001:db8::1]:53".parse().unwrap(),
        ];
        assert_eq!(parse_servers(text, &own), expected);
    }
}
