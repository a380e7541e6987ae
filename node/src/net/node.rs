//! The node's own addresses, parameters and routes to other nodes' pods.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::netlink::{Link, NetError, Netlink, Route};
use super::overlay::{gateway_on_overlay, tunnel_to};
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

/// What the routes to other nodes go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The uplink.
    Uplink,
    /// The overlay's device.
    Overlay {
        /// Its interface index.
        link: u32,
        /// This node's address in the network between nodes.
        own: Ipv4Addr,
    },
}

/// The routes to other nodes' pod ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRoutes {
    /// Ranges that pods of the whole cluster come from; only routes within them are ours.
    pub cluster: Vec<IpNet>,
    /// Interface index of the uplink.
    pub uplink: u32,
    /// What the routes go over.
    pub over: Over,
    /// This node's addresses, the sources of its own packets to pods.
    pub sources: Vec<IpAddr>,
    /// Pod range → the node where it lives, in the range's family or, over an overlay, in IPv4.
    pub ranges: BTreeMap<IpNet, IpAddr>,
}

impl NodeRoutes {
    /// Makes the routes as they shall be: missing ones are added, stale ones removed.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn apply(&self, netlink: &Netlink) -> Result<(), NetError> {
        let mut present = Vec::new();
        for link in self.links() {
            present.extend(netlink.gateway_routes(link, false).await?);
            present.extend(netlink.gateway_routes(link, true).await?);
        }
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

    /// Where routes of ours may be: on the uplink also those of a time without an overlay.
    fn links(&self) -> Vec<u32> {
        match self.over {
            Over::Uplink => vec![self.uplink],
            Over::Overlay { link, .. } => vec![self.uplink, link],
        }
    }

    fn plan(&self, present: &[Route]) -> (Vec<Route>, Vec<Route>) {
        let wanted: Vec<Route> = self
            .ranges
            .iter()
            .filter_map(|(to, node)| self.route(*to, *node))
            .collect();
        let key = |route: &Route| (route.to, route.link, route.via, route.source);
        let same = |a: &Route, b: &Route| key(a) == key(b);
        let missing = |route: &&Route| !present.iter().any(|there| same(there, route));
        // A replaced next hop is an add: the kernel swaps it in one step.
        let within = |route: &Route, net: &IpNet| net.contains(&route.to) && route.to != *net;
        let ours = |route: &&Route| self.cluster.iter().any(|net| within(route, net));
        let stale = |route: &&Route| {
            let replaced = |wish: &Route| (wish.to, wish.link) == (route.to, route.link);
            !wanted.iter().any(replaced)
        };
        let add = wanted.iter().filter(missing).cloned().collect();
        let remove = present.iter().filter(ours).filter(stale).cloned().collect();
        (add, remove)
    }

    /// The route to the range `to` of `node`; none to a node that the overlay cannot reach.
    fn route(&self, to: IpNet, node: IpAddr) -> Option<Route> {
        let mut sources = self.sources.iter().copied();
        let (link, via, tunnel) = match (self.over, node) {
            (Over::Uplink, node) => (self.uplink, node, None),
            (Over::Overlay { link, own }, IpAddr::V4(node)) => {
                let via = gateway_on_overlay(node, to.addr());
                (link, via, Some(tunnel_to(node, own)))
            }
            (Over::Overlay { .. }, IpAddr::V6(_)) => return None,
        };
        Some(Route {
            to,
            link,
            via: Some(via),
            source: sources.find(|source| source.is_ipv6() == to.addr().is_ipv6()),
            onlink: true,
            tunnel,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 101);

    fn routes(over: Over, ranges: &[(&str, &str)]) -> NodeRoutes {
        let range = |(to, via): &(&str, &str)| (to.parse().unwrap(), via.parse().unwrap());
        NodeRoutes {
            cluster: ["10.244.0.0/16", "fd00:10:244::/56"]
                .map(|net| net.parse().unwrap())
                .into(),
            uplink: 2,
            over,
            sources: ["192.168.77.101", "fd00:77::101"]
                .map(|ip| ip.parse().unwrap())
                .into(),
            ranges: ranges.iter().map(range).collect(),
        }
    }

    fn there(routes: &NodeRoutes, to: &str, via: &str) -> Route {
        let route = routes.route(to.parse().unwrap(), via.parse().unwrap());
        route.expect("a route")
    }

    #[test]
    fn only_differences_are_applied_and_foreign_routes_are_left_alone() {
        let routes = routes(
            Over::Uplink,
            &[
                ("10.244.1.0/24", "192.168.77.102"),
                ("10.244.2.0/24", "192.168.77.103"),
                ("fd00:10:244:2::/64", "fd00:77::103"),
            ],
        );
        let there = |to: &str, via: &str| there(&routes, to, via);
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

    #[test]
    fn over_an_overlay_routes_say_which_node_and_those_of_the_uplink_go() {
        let ranges = [
            ("10.244.1.0/24", "192.168.77.102"),
            ("fd00:10:244:1::/64", "192.168.77.102"),
        ];
        let native = routes(Over::Uplink, &[]);
        let overlay = Over::Overlay { link: 9, own: OWN };
        let routes = routes(overlay, &ranges);
        let foreign = there(&native, "0.0.0.0/0", "192.168.77.2");
        let former = there(&native, "10.244.1.0/24", "192.168.77.102");
        let (add, remove) = routes.plan(&[former.clone(), foreign]);
        assert_eq!(remove, [former]);
        let texts = add.iter().map(|route| {
            let tunnel = route.tunnel.expect("a tunnel");
            let via = route.via.expect("a next hop");
            format!(
                "{} via {via} dev {} to {}",
                route.to, route.link, tunnel.destination
            )
        });
        assert_eq!(
            texts.collect::<Vec<_>>(),
            [
                "10.244.1.0/24 via 192.168.77.102 dev 9 to 192.168.77.102",
                "fd00:10:244:1::/64 via fe80::c0a8:4d66 dev 9 to 192.168.77.102",
            ]
        );
        // The kernel's answer has no tunnel; the next hop says as much.
        let read = add.iter().map(|route| Route {
            tunnel: None,
            ..route.clone()
        });
        let read: Vec<_> = read.collect();
        assert_eq!(routes.plan(&read), (vec![], vec![]));
    }
}
