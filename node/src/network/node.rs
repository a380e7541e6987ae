//! The node's own facts: its pod range, its local addresses, its routes to other nodes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use k8s_openapi::api::core::v1::Node;
use naru_ebpf_common::config::{FLOW_EVENTS, Family, HOST_PORTS, NodeConfig, Timeouts};
use naru_ebpf_common::names;

use super::trigger::Trigger;
use super::{Network, chain};
use crate::PartResult;
use crate::datapath::DatapathError;
use crate::ipcache::NodeView;
use crate::net::{GATEWAY, NodeRoutes, local_addresses};

const RESYNC: Duration = Duration::from_secs(60);

pub(super) async fn run(network: Arc<Network>) {
    let watches = &network.watches;
    watches.nodes.synced().await;
    let mut trigger = Trigger::new(vec![watches.nodes.subscribe()], RESYNC);
    loop {
        let outcome = network.reconcile_node().await;
        network.health.set(
            "node-network",
            outcome.err().map(|error| chain(error.as_ref())),
        );
        trigger.wait().await;
    }
}

impl Network {
    async fn reconcile_node(&self) -> PartResult {
        let nodes = self.node_views();
        let own = nodes.iter().find(|node| node.name == self.config.node_name);
        let Some(range) = own.and_then(|node| node.ranges.iter().find_map(ipv4)) else {
            return Err("waiting for the pod CIDR of this node".into());
        };
        self.ipam.set_range(range);
        let ingress = ingress_address(range);
        let mut local = vec![ingress];
        local.extend(self.config.dns().and_then(as_ipv4));
        local_addresses(&self.netlink, &local).await?;
        self.routes(&nodes).apply(&self.netlink).await?;
        self.datapath.set_node_config(self.facts(range, ingress))?;
        Ok(())
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
            let via = node.addresses.first().copied().and_then(as_ipv4);
            node.ranges
                .iter()
                .filter_map(ipv4)
                .filter_map(move |range| Some((range, via?)))
        });
        NodeRoutes {
            cluster: self.config.cluster_cidr,
            uplink: self.uplink.index,
            source: self.node_ip,
            ranges: ranges.collect::<BTreeMap<Ipv4Net, Ipv4Addr>>(),
        }
    }

    fn facts(&self, range: Ipv4Net, ingress: Ipv4Addr) -> NodeConfig {
        let services = self.config.service_cidr;
        NodeConfig {
            v4: Family {
                node_addr: self.node_ip.into(),
                ingress_addr: ingress.into(),
                gateway_addr: GATEWAY.into(),
                pod_net: range.network().into(),
                service_net: services.network().into(),
                pod_prefix: 96 + u32::from(range.prefix_len()),
                service_prefix: 96 + u32::from(services.prefix_len()),
                reserved: [0; 2],
            },
            v6: Family::NONE,
            uplink_ifindex: self.uplink.index,
            flags: self.flags(),
            uplink_mac: self.uplink.mac.0,
            node_port_first: NodeConfig::NODE_PORT_FIRST,
            node_port_last: NodeConfig::NODE_PORT_LAST,
            snat_port_first: NodeConfig::SNAT_PORT_FIRST,
            snat_port_last: NodeConfig::SNAT_PORT_LAST,
            reserved: 0,
            timeouts: Timeouts::DEFAULT,
            epoch: 0,
            reserved2: 0,
        }
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

    fn switch(&self) -> Result<(), DatapathError> {
        let facts = self.datapath.node_config()?;
        let flags = self.flags();
        match facts.uplink_ifindex {
            0 => Ok(()),
            _ => self.datapath.set_node_config(NodeConfig { flags, ..facts }),
        }
    }

    fn flags(&self) -> u32 {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        flag(self.is_watched(), FLOW_EVENTS)
            | flag(self.has_host_ports.load(Ordering::Relaxed), HOST_PORTS)
    }
}

/// The first address of a pod range.
fn ingress_address(range: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(range.network()) + 1)
}

fn ipv4(net: &IpNet) -> Option<Ipv4Net> {
    match net {
        IpNet::V4(net) => Some(*net),
        IpNet::V6(_) => None,
    }
}

fn as_ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
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
        assert_eq!(
            ingress_address("10.244.7.0/24".parse().unwrap()),
            Ipv4Addr::new(10, 244, 7, 1)
        );
    }
}
