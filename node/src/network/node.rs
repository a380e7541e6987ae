//! The node's own facts: its pod range, its local addresses, its routes to other nodes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use naru_ebpf_common::config::{
    DIRECT_OTHERS, DIRECT_TCP, FLOW_EVENTS, Family, HOST_PORTS, NodeConfig, OWN_NETWORK, Timeouts,
};
use naru_ebpf_common::{Pace, names};

use super::open::mtu_of_pods;
use super::takeover::Loop;
use super::trigger::Trigger;
use super::{Network, Overlay, chain, mtu};
use crate::PartResult;
use crate::config::Mode;
use crate::datapath::DatapathError;
use crate::ipam::first_address;
use crate::ipcache::{NodeView, prefix};
use crate::net::{NetError, NodeRoutes, Over, gateway, local_addresses};

const RESYNC: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(1);

pub(super) async fn run(network: Arc<Network>) {
    let watches = &network.watches;
    watches.nodes.synced().await;
    let mut trigger = Trigger::new(vec![watches.nodes.subscribe()], RESYNC);
    let mut retry = Trigger::new(vec![watches.nodes.subscribe()], RETRY);
    loop {
        match network.mtu_fault().await {
            Ok(fault) => network.health.set("mtu", fault),
            Err(error) => network.health.set("mtu", Some(chain(&error))),
        }
        let outcome = network.reconcile_node().await;
        let failed = outcome.is_err();
        network.health.set(
            "node-network",
            outcome.err().map(|error| chain(error.as_ref())),
        );
        if failed {
            retry.wait().await;
        } else {
            network.has_filled(Loop::Node);
            trigger.wait().await;
        }
    }
}

impl Network {
    async fn reconcile_node(&self) -> PartResult {
        let nodes = self.node_views();
        let own = nodes.iter().find(|node| node.name == self.config.node_name);
        let all = own.map(|node| node.ranges.as_slice()).unwrap_or_default();
        let ranges = carried(all, self.node_ips());
        if ranges.is_empty() {
            return Err("waiting for the pod CIDR of this node".into());
        }
        let mut local: Vec<IpAddr> = ranges.iter().map(first_address).collect();
        local.extend(self.config.dns());
        local_addresses(&self.netlink, &local).await?;
        self.routes(&nodes).apply(&self.netlink).await?;
        self.datapath.set_node_config(self.facts(&ranges))?;
        // Only now may pods have addresses of them.
        self.ipam.set_ranges(&ranges);
        Ok(())
    }

    /// What the uplink and the pods' links say against the MTU that pods get.
    async fn mtu_fault(&self) -> Result<Option<String>, NetError> {
        let links = self.netlink.links().await?;
        let uplink = self.netlink.link(&self.uplink.name).await?;
        let attached: Vec<u32> = self.attachments().iter().map(|pod| pod.ifindex).collect();
        let pods = links.iter().filter(|link| attached.contains(&link.index));
        let largest = pods.map(|link| link.mtu).max().unwrap_or_default();
        let right = mtu_of_pods(&self.config, &uplink);
        Ok(mtu::fault(self.mtu, right, largest))
    }

    /// Every node of the API as the plans see it.
    pub(super) fn node_views(&self) -> Vec<NodeView> {
        self.watches
            .nodes
            .sorted()
            .values()
            .map(|node| view(node))
            .collect()
    }

    fn routes(&self, nodes: &[NodeView]) -> NodeRoutes {
        let others = nodes
            .iter()
            .filter(|node| node.name != self.config.node_name);
        let ranges = others.flat_map(|node| {
            let ranges = node.ranges.iter().copied();
            ranges.filter_map(|range| Some((range, self.reached(node, range.addr())?)))
        });
        // The kernel is not asked for a family that the node does not have.
        let ranges = ranges.filter(|(range, _)| of_family(self.node_ips(), range.addr()).is_some());
        NodeRoutes {
            cluster: self.config.cluster_cidr.clone(),
            uplink: self.uplink.index,
            over: match self.pod_overlay() {
                None => Over::Uplink,
                Some(Overlay { link, own, .. }) => Over::Overlay { link, own },
            },
            sources: self.node_ips().to_vec(),
            ranges: ranges.collect(),
        }
    }

    /// The address by which `node` is reached with packets for `address`.
    fn reached(&self, node: &NodeView, address: IpAddr) -> Option<IpAddr> {
        let overlay = self.pod_overlay().map(|_| Ipv4Addr::UNSPECIFIED.into());
        node.reached_at(overlay.unwrap_or(address))
    }

    fn facts(&self, ranges: &[IpNet]) -> NodeConfig {
        let side = |v6: bool| {
            let range = ranges.iter().find(|range| range.addr().is_ipv6() == v6);
            let node = self.node_ips().iter().find(|ip| ip.is_ipv6() == v6);
            let mut services = self.config.service_cidr.iter();
            let services = services.find(|range| range.addr().is_ipv6() == v6);
            match (node, range) {
                (Some(node), Some(range)) => Family {
                    hand_on_ifindex: self.overlay.map_or(0, |overlay| overlay.link),
                    ..family(*node, range, services)
                },
                _ => Family::NONE,
            }
        };
        NodeConfig {
            v4: side(false),
            v6: side(true),
            uplink_ifindex: self.uplink.index,
            flags: self.flags(),
            uplink_mac: self.uplink.mac.0,
            node_port_first: NodeConfig::NODE_PORT_FIRST,
            node_port_last: NodeConfig::NODE_PORT_LAST,
            snat_port_first: NodeConfig::SNAT_PORT_FIRST,
            snat_port_last: NodeConfig::SNAT_PORT_LAST,
            snat_low_first: NodeConfig::SNAT_LOW_FIRST,
            snat_low_ports: NodeConfig::SNAT_LOW_PORTS,
            rush: self.rush(),
            timeouts: Timeouts {
                tcp_established: self.config.tcp_established_timeout,
                ..Timeouts::DEFAULT
            },
            epoch: 0,
            overlay_ifindex: self.pod_overlay().map_or(0, |overlay| overlay.link),
        }
    }

    /// How many flows at once are a rush, for the tables that there are.
    fn rush(&self) -> u16 {
        Pace::rush(self.datapath.conntrack.capacity())
    }

    /// Tells the programs how much room there is. A node without facts yet hears it with them.
    pub(super) fn tell_of_room(&self) -> Result<(), DatapathError> {
        self.switch()
    }

    /// Somebody watches flows (`more`) or stopped: the programs report starts and ends only while
    /// there is a watcher. A node without facts yet gets the flag with them.
    pub fn watch_flows(&self, more: bool) {
        if more {
            self.watchers.fetch_add(1, Ordering::Relaxed);
        } else {
            self.watchers.fetch_sub(1, Ordering::Relaxed);
        }
        if let Err(error) = self.switch() {
            tracing::warn!(map = names::NODE_CONFIG, %error, "flow events not switched");
        }
    }

    /// This node has ports of the host (`any`), or none any more. A node without facts yet gets the
    /// flag with them.
    pub(super) fn look_at_host_ports(&self, any: bool) -> Result<(), DatapathError> {
        self.has_host_ports.store(any, Ordering::Relaxed);
        self.switch()
    }

    /// Writes the flags anew. A node without facts yet gets them with these.
    pub(super) fn switch(&self) -> Result<(), DatapathError> {
        let facts = self.datapath.node_config()?;
        let (flags, rush) = (self.flags(), self.rush());
        let facts = NodeConfig {
            flags,
            rush,
            ..facts
        };
        match facts.uplink_ifindex {
            0 => Ok(()),
            _ => self.datapath.set_node_config(facts),
        }
    }

    fn flags(&self) -> u32 {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        flag(self.is_watched(), FLOW_EVENTS)
            | flag(self.has_host_ports.load(Ordering::Relaxed), HOST_PORTS)
            | flag(self.serves_own_network(), OWN_NETWORK)
            | handed_on(self.config.load_balancer_mode)
    }
}

/// Which packets from outside go to an endpoint's node as they came.
const fn handed_on(mode: Mode) -> u32 {
    match mode {
        Mode::Snat => 0,
        Mode::Hybrid => DIRECT_TCP,
        Mode::Dsr => DIRECT_TCP | DIRECT_OTHERS,
    }
}

/// The node's side in the family of its address.
fn family(node: IpAddr, range: &IpNet, services: Option<&IpNet>) -> Family {
    let (pods, none) = (prefix(range), Family::NONE);
    let services = services.map(prefix);
    Family {
        node_addr: node.into(),
        ingress_addr: first_address(range).into(),
        gateway_addr: gateway(node).0.into(),
        pod_net: pods.addr,
        pod_prefix: pods.length,
        service_net: services.map_or(none.service_net, |net| net.addr),
        service_prefix: services.map_or(none.service_prefix, |net| net.length),
        hand_on_ifindex: none.hand_on_ifindex,
        reserved: none.reserved,
    }
}

/// The ranges in whose family the node has an address.
fn carried(ranges: &[IpNet], node: &[IpAddr]) -> Vec<IpNet> {
    let carried = |range: &&IpNet| of_family(node, range.addr()).is_some();
    ranges.iter().filter(carried).copied().collect()
}

/// The first of `addresses` that is of the family of `like`.
fn of_family(addresses: &[IpAddr], like: IpAddr) -> Option<IpAddr> {
    let mut addresses = addresses.iter().copied();
    addresses.find(|address| address.is_ipv6() == like.is_ipv6())
}

fn view(node: &Node) -> NodeView {
    let status = node.status.as_ref();
    let addresses = status
        .and_then(|status| status.addresses.as_ref())
        .into_iter()
        .flatten();
    let mut sorted: Vec<_> = addresses
        .filter(|a| a.type_ == "InternalIP" || a.type_ == "ExternalIP")
        .collect();
    // Nodes reach each other by the internal address.
    sorted.sort_by_key(|address| address.type_ != "InternalIP");
    let spec = node.spec.as_ref();
    let ranges = spec
        .iter()
        .flat_map(|spec| spec.pod_cidr.iter().chain(spec.pod_cidrs.iter().flatten()));
    let mut ranges: Vec<IpNet> = ranges.filter_map(|range| range.parse().ok()).collect();
    ranges.dedup();
    NodeView {
        name: node.metadata.name.clone().unwrap_or_default(),
        addresses: sorted
            .iter()
            .filter_map(|address| address.address.parse().ok())
            .collect(),
        ranges,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_internal_address_comes_first_and_ranges_once() {
        let node = serde_json::from_value(json!({
            "metadata": {"name": "node1"},
            "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]},
            "status": {"addresses": [
                {"type": "ExternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": "node1"},
                {"type": "InternalIP", "address": "192.168.77.101"}]}
        }));
        let view = view(&node.unwrap());
        assert_eq!(
            view.addresses[0],
            "192.168.77.101".parse::<IpAddr>().unwrap()
        );
        assert_eq!(view.ranges, ["10.244.0.0/24".parse::<IpNet>().unwrap()]);
    }

    #[test]
    fn a_family_needs_a_range_and_an_address_of_the_node() {
        let ranges = ["10.244.7.0/24", "fd00:10:244:7::/64"].map(|net| net.parse().unwrap());
        let [v4, v6] = ["192.168.77.101", "fd00:77::101"].map(|ip| ip.parse().unwrap());
        assert_eq!(carried(&ranges, &[v4, v6]), ranges);
        assert_eq!(carried(&ranges, &[v6]), ranges[1..]);
        let side = family(v6, &ranges[1], None);
        assert_eq!(side.ingress_addr.to_string(), "fd00:10:244:7::1");
        assert_eq!(side.gateway_addr.to_string(), "fe80::1");
        assert_eq!((side.pod_prefix, side.service_prefix), (64, 128));
        let side = family(v4, &ranges[0], "10.96.0.0/12".parse().ok().as_ref());
        assert_eq!((side.pod_prefix, side.service_prefix), (120, 108));
    }
}
