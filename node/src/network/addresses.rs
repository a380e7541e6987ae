//! Every address of this node's own stack, as links get and lose them.
//!
//! One of each family stands for the node (`--node-ip`); the others are its own nevertheless: what
//! is sent there is the node's business, and node ports are served there too.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Network, chain};
use crate::Config;
use crate::net::{NetError, Netlink, Readdressed};

const RESYNC: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(1);

pub(super) async fn run(network: Arc<Network>) {
    loop {
        let Err(error) = network.follow_addresses().await;
        network.health.set("node-addresses", Some(chain(&error)));
        tokio::time::sleep(RETRY).await;
    }
}

impl Network {
    /// Every address of this node, first those that stand for it.
    #[must_use]
    pub(super) fn own_addresses(&self) -> Arc<Vec<IpAddr>> {
        self.addresses.load_full()
    }

    async fn follow_addresses(&self) -> Result<Infallible, NetError> {
        let mut news = Readdressed::watch()?;
        loop {
            self.have(own_addresses(&self.netlink, &self.config).await?);
            self.health.set("node-addresses", None);
            let _ = tokio::time::timeout(RESYNC, news.again()).await;
        }
    }

    /// Tells whoever plans with the node's addresses, if they are others than before.
    fn have(&self, found: Vec<IpAddr>) {
        if *self.own_addresses() != found {
            tracing::info!(addresses = ?found, "the node's addresses");
            self.addresses.store(Arc::new(found));
            self.readdressed.send_modify(|times| *times += 1);
        }
    }
}

/// Asks the kernel.
///
/// # Errors
/// When it refuses.
pub(super) async fn own_addresses(
    netlink: &Netlink,
    config: &Config,
) -> Result<Vec<IpAddr>, NetError> {
    let present = netlink.addresses().await?;
    Ok(select(
        config,
        present.into_iter().map(|(_, address)| address),
    ))
}

/// Those of the node among all that links have: in its families, and neither the loopback's, nor a
/// link's own, nor of the ranges that the cluster gives away.
fn select(config: &Config, present: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let given = |ip: &IpAddr| {
        let mut ranges = config.cluster_cidr.iter().chain(&config.service_cidr);
        ranges.any(|range| range.contains(ip)) || config.dns().contains(ip)
    };
    let carried = |ip: &IpAddr| {
        config
            .node_ip
            .iter()
            .any(|own| own.is_ipv6() == ip.is_ipv6())
    };
    let is_local = |ip: &IpAddr| match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let mut others: Vec<_> = present
        .filter(|ip| carried(ip) && !given(ip) && !ip.is_loopback() && !is_local(ip))
        .filter(|ip| !config.node_ip.contains(ip))
        .collect();
    others.sort_unstable();
    others.dedup();
    config.node_ip.iter().copied().chain(others).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn selected(node_ip: &str, present: &[&str]) -> Vec<String> {
        let words = [
            "naru-node",
            "--node-name=n",
            "--cluster-cidr=10.244.0.0/16,fd00:10:244::/56",
            "--service-cidr=10.96.0.0/12,fd00:10:96::/112",
            "--node-ip",
            node_ip,
        ];
        let present = present.iter().map(|text| text.parse().unwrap());
        let selected = select(&Config::parse_from(words), present);
        selected.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_of_links_are_the_nodes_but_for_those_that_the_cluster_gives_away() {
        let present = [
            "127.0.0.1",
            "::1",
            "10.244.1.1",
            "10.96.0.10",
            "fd00:10:244:1::1",
            "fe80::7",
            "192.168.77.201",
            "172.17.0.1",
            "192.168.77.101",
            "fd00:77::101",
            "fd00:77::201",
            "172.17.0.1",
        ];
        let both = selected("192.168.77.101,fd00:77::101", &present);
        let expected = [
            "192.168.77.101",
            "fd00:77::101",
            "172.17.0.1",
            "192.168.77.201",
            "fd00:77::201",
        ];
        assert_eq!(both, expected);
        let one = selected("192.168.77.101", &present);
        assert_eq!(one, ["192.168.77.101", "172.17.0.1", "192.168.77.201"]);
    }

    #[test]
    fn what_stands_for_the_node_is_its_own_even_while_no_link_has_it() {
        assert_eq!(selected("192.168.77.101", &[]), ["192.168.77.101"]);
    }
}
