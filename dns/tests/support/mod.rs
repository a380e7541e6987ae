//! Real servers on loopback, and `dig` to ask them.

// Every test binary uses its own part of this.
#![allow(dead_code, unreachable_pub)]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_proto::rr::Name;
use naru_dns::zone::{Endpoint, Port, Service, Services};
use naru_dns::{Domain, Resolver, ResolverConfig, Server, Zone};
use tokio::process::Command;
use tokio::task::JoinHandle;

/// A server that ends when dropped.
pub struct Running {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves `domain` on a free port of 127.0.0.1.
pub fn serve(domain: &str, services: Services, upstream: Vec<SocketAddr>) -> Running {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
    let zone = Zone::empty(Domain::parse(domain).unwrap(), server.address().ip());
    let zone = Arc::new(ArcSwap::from_pointee(
        zone.with_services(Arc::new(services)),
    ));
    let patience = Duration::from_millis(300);
    let config = ResolverConfig {
        upstream,
        patience,
        ..ResolverConfig::default()
    };
    let resolver = Arc::new(Resolver::new(zone, config));
    let address = server.address();
    Running {
        address,
        task: tokio::spawn(server.serve(resolver)),
    }
}

/// Services in the namespace `shop`.
pub fn shop(services: impl IntoIterator<Item = (&'static str, Service)>) -> Services {
    let mut all = Services::default();
    let services = services
        .into_iter()
        .map(|(name, service)| (name.into(), service));
    all.by_namespace.insert("shop".into(), services.collect());
    all
}

pub fn cluster(address: &str) -> Service {
    let ports = vec![Port {
        name: "http".into(),
        protocol: "tcp".into(),
        number: 80,
    }];
    Service::Cluster {
        addresses: vec![address.parse().unwrap()],
        ports,
    }
}

pub fn external(name: &str) -> Service {
    Service::External(Name::from_ascii(name).unwrap())
}

/// A headless Service with so many endpoints, 10.1.0.0 and up.
pub fn headless(count: u16) -> Service {
    let endpoint = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let hostname = format!("pod-{number}").into();
        Endpoint {
            hostname,
            address: IpAddr::from([10, 1, high, low]),
            ports: Vec::new(),
        }
    };
    Service::Headless((0..count).map(endpoint).collect())
}

/// What `dig` prints.
pub async fn dig(server: SocketAddr, args: &[&str]) -> String {
    let mut command = Command::new("dig");
    command
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string()]);
    command
        .args(["+tries=1", "+time=4", "+nocookie"])
        .args(args)
        .kill_on_drop(true);
    let output = command
        .output()
        .await
        .expect("`dig` must be installed (Debian: bind9-dnsutils)");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The answers alone, sorted.
pub async fn short(server: SocketAddr, args: &[&str]) -> Vec<String> {
    let text = dig(server, &[args, &["+short"]].concat()).await;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}
