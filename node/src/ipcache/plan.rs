//! Which addresses exist, and of which class each is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;
use naru_ebpf_common::Addr;
use naru_ebpf_common::ipcache::{HOST, NO_MASQUERADE, NODE, POD, ROUTED};

use super::class::{Class, Labels};
use crate::datapath::Prefix;
use crate::ipam::first_address;
use crate::watches::PodInfo;

/// One prefix of the ipcache, before its class has a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its class.
    pub class: Class,
    /// `POD`, `NODE`, `HOST`, `NO_MASQUERADE`, `ROUTED`.
    pub flags: u32,
    /// The node where it lives, if it lives on one.
    pub node: Option<IpAddr>,
}

/// A node, as far as addresses go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Its addresses, first those that others reach it by.
    pub addresses: Vec<IpAddr>,
    /// Its pod ranges.
    pub ranges: Vec<IpNet>,
}

impl NodeView {
    /// Its address in the outer packets of an overlay.
    fn tunnel_end(&self) -> Option<IpAddr> {
        self.reached_at(Ipv4Addr::UNSPECIFIED.into())
    }

    /// The address by which others reach it in the family of `like`.
    #[must_use]
    pub fn reached_at(&self, like: IpAddr) -> Option<IpAddr> {
        let mut addresses = self.addresses.iter().copied();
        addresses.find(|address| address.is_ipv6() == like.is_ipv6())
    }
}

/// A pod of this node at one of its addresses, which is known here before the API knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPod {
    /// Its address.
    pub address: IpAddr,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its labels.
    pub labels: Labels,
}

/// What this node knows of the cluster's addresses.
#[derive(Debug)]
pub struct View<'a> {
    /// This node's name.
    pub node_name: &'a str,
    /// Whether an overlay leads to other nodes: it knows their IPv4 addresses alone.
    pub overlay: bool,
    /// Every address of this node's own stack.
    pub own_addresses: &'a [IpAddr],
    /// Address of the cluster DNS, on every node's `lo`, if nodes serve it.
    pub cluster_dns: &'a [IpAddr],
    /// Every node.
    pub nodes: &'a [NodeView],
    /// Every pod.
    pub pods: &'a [Arc<PodInfo>],
    /// This node's pods.
    pub local: &'a [LocalPod],
    /// Every CIDR that a policy names.
    pub blocks: &'a BTreeSet<IpNet>,
    /// Networks outside that know the ways to pods.
    pub routed: &'a [IpNet],
}

impl Entry {
    /// An entry without flags, for tests of what only looks at classes.
    #[cfg(test)]
    pub(crate) fn of(class: Class) -> Self {
        Self {
            class,
            flags: 0,
            node: None,
        }
    }
}

/// The ipcache as it should be. Later steps overrule earlier ones for the same prefix: a pod's
/// address is a pod's, whatever block has the same prefix.
#[must_use]
pub fn classify(view: &View<'_>) -> BTreeMap<IpNet, Entry> {
    let mut entries = BTreeMap::new();
    for net in view.blocks.iter().chain(view.routed) {
        entries.insert(*net, view.outside(*net));
    }
    view.part_families(&mut entries);
    view.add_ranges(&mut entries);
    view.add_pods(&mut entries);
    view.add_nodes(&mut entries);
    entries
}

impl View<'_> {
    /// The address by which other nodes reach what lives on `node` at `address`.
    fn reached(&self, node: &NodeView, address: IpAddr) -> Option<IpAddr> {
        if self.overlay {
            node.tunnel_end()
        } else {
            node.reached_at(address)
        }
    }

    /// The policies' blocks that hold all of `net`.
    fn holding(&self, net: IpNet) -> Vec<IpNet> {
        self.blocks
            .iter()
            .filter(|block| block.contains(&net))
            .copied()
            .collect()
    }

    /// A network of the outside.
    fn outside(&self, net: IpNet) -> Entry {
        let is_routed = self.routed.iter().any(|routed| routed.contains(&net));
        Entry {
            class: Class::Outside {
                blocks: self.holding(net),
            },
            flags: if is_routed { ROUTED } else { 0 },
            node: None,
        }
    }

    /// In the map, IPv4 addresses lie among those of IPv6: a block as wide as `::/0` holds them, too.
    /// So whatever of IPv4 no block holds gets an entry of its own in front of it.
    fn part_families(&self, entries: &mut BTreeMap<IpNet, Entry>) {
        let mapped = IpNet::from(IpAddr::from(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()));
        let mut wide = self.blocks.iter().chain(self.routed);
        if wide.any(|net| net.contains(&mapped)) {
            let all = IpNet::new_assert(Ipv4Addr::UNSPECIFIED.into(), 0);
            entries.insert(all, self.outside(all));
        }
    }

    /// A pod range stands for pods that are not known yet: without labels, and never masqueraded.
    fn add_ranges(&self, entries: &mut BTreeMap<IpNet, Entry>) {
        for node in self.nodes {
            for range in &node.ranges {
                let class = Class::Outside {
                    blocks: self.holding(*range),
                };
                let node = self.reached(node, range.addr());
                entries.insert(
                    *range,
                    Entry {
                        class,
                        flags: NO_MASQUERADE,
                        node,
                    },
                );
            }
        }
        let ranges: Vec<(IpNet, Option<IpAddr>)> = self
            .nodes
            .iter()
            .flat_map(|node| {
                node.ranges
                    .iter()
                    .map(|range| (*range, self.reached(node, range.addr())))
            })
            .collect();
        // A block inside a range must not make its pods look like the outside.
        for (net, entry) in entries.iter_mut() {
            if let Some((_, node)) = ranges.iter().find(|(range, _)| range.contains(net)) {
                (entry.flags, entry.node) = (NO_MASQUERADE, *node);
            }
        }
    }

    fn add_pods(&self, entries: &mut BTreeMap<IpNet, Entry>) {
        let nodes: BTreeMap<&str, &NodeView> = self
            .nodes
            .iter()
            .map(|node| (node.name.as_str(), node))
            .collect();
        let reached = |name: &str, ip: IpAddr| {
            let node = nodes.get(name);
            node.and_then(|node| self.reached(node, ip))
        };
        for pod in self.pods.iter().filter(|pod| pod.owns_addresses()) {
            let labels = Arc::new(pod.labels.clone());
            for ip in &pod.ips {
                let entry = self.pod(
                    *ip,
                    pod.namespace.as_str().into(),
                    Arc::clone(&labels),
                    reached(&pod.node_name, *ip),
                );
                entries.insert(IpNet::from(*ip), entry);
            }
        }
        for pod in self.local {
            let entry = self.pod(
                pod.address,
                Arc::clone(&pod.namespace),
                Arc::clone(&pod.labels),
                reached(self.node_name, pod.address),
            );
            entries.insert(IpNet::from(pod.address), entry);
        }
    }

    fn pod(&self, ip: IpAddr, namespace: Arc<str>, labels: Labels, node: Option<IpAddr>) -> Entry {
        let blocks = self.holding(IpNet::from(ip));
        Entry {
            class: Class::Pod {
                namespace,
                labels,
                blocks,
            },
            flags: POD | NO_MASQUERADE,
            node,
        }
    }

    fn add_nodes(&self, entries: &mut BTreeMap<IpNet, Entry>) {
        let (own, others): (Vec<_>, Vec<_>) = self
            .nodes
            .iter()
            .partition(|node| node.name == self.node_name);
        for node in others {
            self.add_other(entries, node);
        }
        // An address that moves between nodes is of the one whose link has it.
        for node in own {
            self.add_own(entries, node);
        }
        for node in self.nodes {
            let host = if node.name == self.node_name { HOST } else { 0 };
            for ingress in node.ranges.iter().map(first_address) {
                entries.insert(
                    IpNet::from(ingress),
                    self.proxy(ingress, host | NO_MASQUERADE, self.reached(node, ingress)),
                );
            }
        }
        for dns in self.cluster_dns {
            entries.insert(IpNet::from(*dns), self.dns(*dns));
        }
    }

    fn add_other(&self, entries: &mut BTreeMap<IpNet, Entry>, node: &NodeView) {
        for address in &node.addresses {
            let class = Class::RemoteNode {
                blocks: self.holding(IpNet::from(*address)),
            };
            entries.insert(
                IpNet::from(*address),
                Entry {
                    class,
                    flags: NODE | NO_MASQUERADE,
                    node: node.tunnel_end().or_else(|| self.reached(node, *address)),
                },
            );
        }
    }

    fn add_own(&self, entries: &mut BTreeMap<IpNet, Entry>, own: &NodeView) {
        for address in own.addresses.iter().chain(self.own_addresses) {
            let flags = NODE | HOST | NO_MASQUERADE;
            let entry = Entry {
                class: Class::Host,
                flags,
                node: self.reached(own, *address),
            };
            entries.insert(IpNet::from(*address), entry);
        }
    }

    /// ARCHITECTURE.md, "Defaults and names": how policies name the ingress proxy.
    fn proxy(&self, ip: IpAddr, flags: u32, node: Option<IpAddr>) -> Entry {
        let labels = label("app.kubernetes.io/name", "naru-ingress");
        Entry {
            flags,
            ..self.pod(ip, "naru-system".into(), labels, node)
        }
    }

    /// The same page: how policies name the cluster DNS.
    fn dns(&self, address: IpAddr) -> Entry {
        let labels = label("k8s-app", "kube-dns");
        let entry = self.pod(address, "kube-system".into(), labels, None);
        Entry {
            flags: HOST | NO_MASQUERADE,
            ..entry
        }
    }
}

fn label(key: &str, value: &str) -> Labels {
    Arc::new(BTreeMap::from([(key.to_owned(), value.to_owned())]))
}

/// A prefix as the map has it: IPv4 mapped, its length counted from 96.
#[must_use]
pub fn prefix(net: &IpNet) -> Prefix {
    let length = u32::from(net.prefix_len()) + if net.addr().is_ipv4() { 96 } else { 0 };
    Prefix {
        length,
        addr: Addr::from(net.network()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn pod(name: &str, address: &str, node: &str) -> Arc<PodInfo> {
        Arc::new(PodInfo {
            namespace: "shop".into(),
            name: name.into(),
            uid: String::new(),
            labels: BTreeMap::from([("app".into(), "web".into())]),
            node_name: node.into(),
            host_network: false,
            hostname: None,
            subdomain: None,
            ports: vec![],
            ips: vec![ip(address)],
            phase: "Running".into(),
            ready: true,
            terminating: false,
        })
    }

    fn view(pods: &[Arc<PodInfo>], blocks: &[&str]) -> BTreeMap<IpNet, Entry> {
        seen(pods, blocks, false)
    }

    fn seen(pods: &[Arc<PodInfo>], blocks: &[&str], overlay: bool) -> BTreeMap<IpNet, Entry> {
        routed(pods, blocks, overlay, &[])
    }

    fn routed(
        pods: &[Arc<PodInfo>],
        blocks: &[&str],
        overlay: bool,
        routed: &[&str],
    ) -> BTreeMap<IpNet, Entry> {
        let node = |name: &str, address: (&str, &str), range: (&str, &str)| NodeView {
            name: name.into(),
            addresses: vec![ip(address.0), ip(address.1)],
            ranges: vec![net(range.0), net(range.1)],
        };
        let nodes = [
            node(
                "node1",
                ("192.168.77.101", "fd00:77::101"),
                ("10.244.0.0/24", "fd00:10:244::/64"),
            ),
            node(
                "node2",
                ("192.168.77.102", "fd00:77::102"),
                ("10.244.1.0/24", "fd00:10:244:1::/64"),
            ),
        ];
        classify(&View {
            node_name: "node1",
            overlay,
            own_addresses: &[ip("192.168.77.101"), ip("192.168.77.201"), ip("10.244.0.1")],
            cluster_dns: &[ip("10.96.0.10")],
            nodes: &nodes,
            pods,
            local: &[],
            blocks: &blocks.iter().map(|block| net(block)).collect(),
            routed: &routed.iter().map(|block| net(block)).collect::<Vec<_>>(),
        })
    }

    #[test]
    fn a_network_that_knows_pods_is_reached_as_it_is_and_so_is_every_part_of_it() {
        let pods = [pod("b", "10.244.1.2", "node2")];
        let blocks = ["172.16.7.0/24", "10.0.0.0/8", "0.0.0.0/0"];
        let entries = routed(&pods, &blocks, false, &["172.16.0.0/12", "10.0.0.0/8"]);
        let flags = |prefix: &str| entries[&net(prefix)].flags;
        for inside in ["172.16.0.0/12", "172.16.7.0/24", "10.0.0.0/8"] {
            assert_eq!(flags(inside), ROUTED, "{inside}");
        }
        let Class::Outside { blocks } = &entries[&net("172.16.7.0/24")].class else {
            panic!("the outside");
        };
        assert_eq!(blocks.len(), 2, "policies see what they named");
        assert_eq!(flags("0.0.0.0/0"), 0);
        assert_eq!(flags("10.244.1.0/24"), NO_MASQUERADE);
        assert_eq!(flags("10.244.1.2/32"), POD | NO_MASQUERADE);
        // All of IPv6 is not all of IPv4, among whose addresses it lies in the map.
        let entries = routed(&[], &[], false, &["::/0"]);
        assert_eq!(entries[&net("::/0")].flags, ROUTED);
        assert_eq!(entries[&net("0.0.0.0/0")].flags, 0);
    }

    #[test]
    fn pods_of_one_template_share_a_class_on_every_node() {
        let entries = view(
            &[
                pod("a", "10.244.0.2", "node1"),
                pod("b", "10.244.1.2", "node2"),
            ],
            &[],
        );
        let (a, b) = (
            &entries[&net("10.244.0.2/32")],
            &entries[&net("10.244.1.2/32")],
        );
        assert_eq!(a.class, b.class);
        assert_eq!(
            (a.node, b.node),
            (Some(ip("192.168.77.101")), Some(ip("192.168.77.102")))
        );
    }

    #[test]
    fn a_pods_addresses_are_reached_at_the_node_in_their_family() {
        let v6 = pod("b", "fd00:10:244:1::2", "node2");
        let entries = view(&[pod("b", "10.244.1.2", "node2"), v6], &[]);
        let node = |text: &str| entries[&net(text)].node.unwrap();
        assert_eq!(node("10.244.1.2/32"), ip("192.168.77.102"));
        assert_eq!(node("fd00:10:244:1::2/128"), ip("fd00:77::102"));
        assert_eq!(node("fd00:10:244:1::/64"), ip("fd00:77::102"));
        assert_eq!(node("fd00:10:244:1::1/128"), ip("fd00:77::102"));
        let classes = ["10.244.1.2/32", "fd00:10:244:1::2/128"].map(|at| &entries[&net(at)].class);
        assert_eq!(classes[0], classes[1]);
        assert_eq!(entries[&net("fd00:77::101/128")].class, Class::Host);
    }

    #[test]
    fn over_an_overlay_everything_is_reached_at_the_ipv4_address_of_its_node() {
        let v6 = pod("b", "fd00:10:244:1::2", "node2");
        let entries = seen(&[v6], &["fd00:10:244:1::8/125"], true);
        let of_node2 = [
            "fd00:10:244:1::2/128",
            "fd00:10:244:1::/64",
            "fd00:10:244:1::8/125",
            "fd00:10:244:1::1/128",
            "fd00:77::102/128",
            "10.244.1.0/24",
        ];
        for text in of_node2 {
            let node = entries[&net(text)].node;
            assert_eq!(node, Some(ip("192.168.77.102")), "{text}");
        }
        assert_eq!(
            entries[&net("fd00:77::101/128")].node,
            Some(ip("192.168.77.101"))
        );
    }

    #[test]
    fn a_block_splits_the_classes_of_the_pods_that_it_holds() {
        let pods = [
            pod("a", "10.244.0.2", "node1"),
            pod("b", "10.244.1.2", "node2"),
        ];
        let entries = view(&pods, &["10.244.1.0/24", "10.0.0.0/8"]);
        let blocks = |text: &str| entries[&net(text)].class.blocks().to_vec();
        assert_eq!(blocks("10.244.0.2/32"), [net("10.0.0.0/8")]);
        assert_eq!(
            blocks("10.244.1.2/32"),
            [net("10.0.0.0/8"), net("10.244.1.0/24")]
        );
        assert_eq!(blocks("10.0.0.0/8"), [net("10.0.0.0/8")]);
    }

    #[test]
    fn a_block_of_every_ipv6_address_holds_none_of_ipv4() {
        let entries = view(&[], &["::/0", "8.0.0.0/8"]);
        let blocks = |text: &str| entries[&net(text)].class.blocks().to_vec();
        assert_eq!(blocks("::/0"), [net("::/0")]);
        assert_eq!(blocks("0.0.0.0/0"), []);
        assert_eq!(blocks("8.0.0.0/8"), [net("8.0.0.0/8")]);
        assert!(!view(&[], &["fd00::/8"]).contains_key(&net("0.0.0.0/0")));
        let both = view(&[], &["::/0", "0.0.0.0/0"]);
        let all = net("0.0.0.0/0");
        assert_eq!(both[&all].class.blocks(), [all]);
    }

    #[test]
    fn own_addresses_are_the_host_and_the_proxies_are_pods() {
        let entries = view(&[], &[]);
        for own in ["192.168.77.101/32", "192.168.77.201/32"] {
            assert_eq!(entries[&net(own)].class, Class::Host);
            assert_eq!(entries[&net(own)].flags & (NODE | HOST), NODE | HOST);
        }
        assert!(matches!(
            entries[&net("192.168.77.102/32")].class,
            Class::RemoteNode { .. }
        ));
        let proxy = &entries[&net("10.244.0.1/32")];
        assert!(
            matches!(&proxy.class, Class::Pod { namespace, .. } if &**namespace == "naru-system")
        );
        assert_eq!(proxy.flags & HOST, HOST);
        assert_eq!(entries[&net("10.244.1.1/32")].flags & HOST, 0);
        assert_eq!(entries[&net("10.96.0.10/32")].flags & HOST, HOST);
        assert_eq!(entries[&net("10.244.1.0/24")].flags, NO_MASQUERADE);
    }

    #[test]
    fn prefixes_of_ipv4_count_from_96() {
        assert_eq!(prefix(&net("10.0.0.0/8")).length, 104);
        assert_eq!(prefix(&net("10.0.0.1/32")).length, 128);
        assert_eq!(prefix(&net("fd00::/8")).length, 8);
    }
}
