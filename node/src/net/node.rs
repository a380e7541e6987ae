//! The node's own addresses, parameters and routes to other nodes' pods.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::netlink::{Link, NetError, Netlink, Route};
use super::sysctl;

/// Sets what the node's namespace needs before the first pod, and returns the uplink.
///
/// # Errors
/// When the uplink does not exist or the kernel refuses a step.
pub async fn prepare_node(netlink: &Netlink, uplink: &str) -> Result<Link, NetError> {
    sysctl::set("ipv4/ip_forward", "1")?;
    netlink.set_up(netlink.link("lo").await?.index).await?;
    netlink.link(uplink).await
}

/// Puts addresses that end in the node's own stack on `lo`.
///
/// # Errors
/// When the kernel refuses.
pub async fn local_addresses(netlink: &Netlink, addresses: &[IpAddr]) -> Result<(), NetError> {
    let lo = netlink.link("lo").await?.index;
    for address in addresses {
        netlink.address(lo, IpNet::from(*address)).await?;
    }
    Ok(())
}

/// The routes to other nodes' pod ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRoutes {
    /// Ranges that pods of the whole cluster come from; only routes within them are ours.
    pub cluster: Vec<IpNet>,
    /// Interface index of the uplink.
    pub uplink: u32,
    /// This node's addresses, the sources of its own packets to pods.
    pub sources: Vec<IpAddr>,
    /// Pod range → the node where it lives, in the range's family.
    pub ranges: BTreeMap<IpNet, IpAddr>,
}

impl NodeRoutes {
    /// Makes the routes as they shall be: missing ones are added, stale ones removed.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn apply(&self, netlink: &Netlink) -> Result<(), NetError> {
        let mut present = netlink.gateway_routes(self.uplink, false).await?;
        present.extend(netlink.gateway_routes(self.uplink, true).await?);
        let (add, remove) = self.plan(&present);
        for route in &remove {
            netlink.remove_route(route).await?;
            tracing::info!(to = %route.to, "route removed");
        }
        for route in &add {
            netlink.route(route).await?;
            tracing::info!(to = %route.to, via = ?route.via, "route added");
        }
        Ok(())
    }

    fn plan(&self, present: &[Route]) -> (Vec<Route>, Vec<Route>) {
        let wanted: Vec<Route> = self
            .ranges
            .iter()
            .map(|(to, via)| self.route(*to, *via))
            .collect();
        let same = |a: &Route, b: &Route| (a.to, a.via, a.source) == (b.to, b.via, b.source);
        let missing = |route: &&Route| !present.iter().any(|there| same(there, route));
        // A replaced next hop is an add: the kernel swaps it in one step.
        let within = |route: &Route, net: &IpNet| net.contains(&route.to) && route.to != *net;
        let ours = |route: &&Route| self.cluster.iter().any(|net| within(route, net));
        let stale = |route: &&Route| !wanted.iter().any(|wish| wish.to == route.to);
        let add = wanted.iter().filter(missing).cloned().collect();
        let remove = present.iter().filter(ours).filter(stale).cloned().collect();
        (add, remove)
    }

    fn route(&self, to: IpNet, via: IpAddr) -> Route {
        let mut sources = self.sources.iter().copied();
        Route {
            to,
            link: self.uplink,
            via: Some(via),
            source: sources.find(|source| source.is_ipv6() == to.addr().is_ipv6()),
            onlink: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differences_are_applied_and_foreign_routes_are_left_alone() {
        let routes = NodeRoutes {
            cluster: ["10.244.0.0/16", "fd00:10:244::/56"]
                .map(|net| net.parse().unwrap())
                .into(),
            uplink: 2,
            sources: ["192.168.77.101", "fd00:77::101"]
                .map(|ip| ip.parse().unwrap())
                .into(),
            ranges: [
                ("10.244.1.0/24", "192.168.77.102"),
                ("10.244.2.0/24", "192.168.77.103"),
                ("fd00:10:244:2::/64", "fd00:77::103"),
            ]
            .map(|(to, via)| (to.parse().unwrap(), via.parse().unwrap()))
            .into(),
        };
        let there = |to: &str, via: &str| routes.route(to.parse().unwrap(), via.parse().unwrap());
        let present = [
            there("10.244.1.0/24", "192.168.77.102"),
            there("10.244.9.0/24", "192.168.77.109"),
            there("0.0.0.0/0", "192.168.77.2"),
            there("fd00:10:244:9::/64", "fd00:77::109"),
            there("::/0", "fd00:77::2"),
        ];
        let (add, remove) = routes.plan(&present);
        let new = there("fd00:10:244:2::/64", "fd00:77::103");
        assert_eq!(new.source, "fd00:77::101".parse().ok());
        assert_eq!(add, [there("10.244.2.0/24", "192.168.77.103"), new]);
        let stale = there("fd00:10:244:9::/64", "fd00:77::109");
        assert_eq!(remove, [there("10.244.9.0/24", "192.168.77.109"), stale]);
    }
}
