//! The veth pair of a pod: made, checked, removed.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::mac::Mac;
use super::netlink::{Link, NetError, Netlink, Route};
use super::sysctl;

/// The next hop of every pod. It exists nowhere: pods hold a permanent neighbour entry for it.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The same for IPv6.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The next hop of a pod's address, and all that lies behind it.
#[must_use]
pub fn gateway(address: IpAddr) -> (IpAddr, IpNet) {
    match address {
        IpAddr::V4(_) => (GATEWAY.into(), Ipv4Net::default().into()),
        IpAddr::V6(_) => (GATEWAY_V6.into(), Ipv6Net::default().into()),
    }
}

/// What a pod's link shall look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodLink {
    /// Name of the host side.
    pub host_link: String,
    /// MAC address of the host side.
    pub host_mac: Mac,
    /// Name in the pod.
    pub ifname: String,
    /// MAC address in the pod.
    pub pod_mac: Mac,
    /// Addresses of the pod, one of each family at most.
    pub addresses: Vec<IpAddr>,
    /// Path of the pod's network namespace.
    pub netns: PathBuf,
    /// MTU in bytes.
    pub mtu: u32,
    /// Sources of the node's own packets to the pod, one of each family at most.
    pub node_addresses: Vec<IpAddr>,
}

impl PodLink {
    /// Makes the pair, with everything that both ends need. What an earlier, interrupted attempt
    /// left behind is replaced. Returns the host side.
    ///
    /// # Errors
    /// When a step fails; the pair is removed again then.
    pub async fn create(&self, node: &Netlink) -> Result<Link, NetError> {
        let made = self.try_create(node).await;
        if made.is_err() {
            // The error worth reporting is the first one.
            let _ = node.remove_link(&self.host_link).await;
        }
        made
    }

    async fn try_create(&self, node: &Netlink) -> Result<Link, NetError> {
        let netns = File::open(&self.netns).map_err(|source| NetError::Namespace {
            path: self.netns.clone(),
            source,
        })?;
        node.remove_link(&self.host_link).await?;
        let (host, pod) = (
            (self.host_link.as_str(), self.host_mac),
            (self.ifname.as_str(), self.pod_mac),
        );
        node.add_veth(host, pod, self.mtu, &netns).await?;
        self.configure_pod().await?;
        self.configure_host(node).await
    }

    async fn configure_pod(&self) -> Result<(), NetError> {
        let (ifname, v6) = (self.ifname.clone(), self.has_v6());
        let (pod, ()) =
            Netlink::inside(&self.netns, move || sysctl::prepare_v6(&ifname, v6)).await?;
        pod.set_up(pod.link("lo").await?.index).await?;
        let link = pod.link(&self.ifname).await?.index;
        for address in &self.addresses {
            pod.address(link, IpNet::from(*address)).await?;
        }
        pod.set_up(link).await?;
        for address in &self.addresses {
            let (via, to) = gateway(*address);
            pod.neighbour(link, via, self.host_mac).await?;
            pod.route(&Self::default_route(link, to, via)).await?;
        }
        Ok(())
    }

    async fn configure_host(&self, node: &Netlink) -> Result<Link, NetError> {
        sysctl::prepare_v6(&self.host_link, self.has_v6())?;
        // What the programs hand to the stack was checked by them against the pod's address.
        sysctl::set(&format!("ipv4/conf/{}/rp_filter", self.host_link), "0")?;
        let link = node.link(&self.host_link).await?;
        node.set_up(link.index).await?;
        for address in &self.addresses {
            node.neighbour(link.index, *address, self.pod_mac).await?;
            node.route(&self.host_route(link.index, *address)).await?;
        }
        Ok(Link { up: true, ..link })
    }

    fn has_v6(&self) -> bool {
        self.addresses.iter().any(IpAddr::is_ipv6)
    }

    fn default_route(link: u32, to: IpNet, via: IpAddr) -> Route {
        Route {
            to,
            link,
            via: Some(via),
            source: None,
            onlink: true,
            tunnel: None,
        }
    }

    fn host_route(&self, link: u32, address: IpAddr) -> Route {
        let mut sources = self.node_addresses.iter().copied();
        Route {
            to: IpNet::from(address),
            link,
            via: None,
            source: sources.find(|source| source.is_ipv6() == address.is_ipv6()),
            onlink: false,
            tunnel: None,
        }
    }

    /// What is not as [`PodLink::create`] made it: one sentence per fault.
    pub async fn faults(&self, node: &Netlink) -> Vec<String> {
        let mut faults = Vec::new();
        match node.link(&self.host_link).await {
            Ok(link) if !link.up => faults.push(format!("link {} is down", self.host_link)),
            Ok(_) => {}
            Err(error) => faults.push(error.to_string()),
        }
        match self.faults_inside().await {
            Ok(inside) => faults.extend(inside),
            Err(error) => faults.push(error.to_string()),
        }
        faults
    }

    async fn faults_inside(&self) -> Result<Vec<String>, NetError> {
        let (pod, ()) = Netlink::inside(&self.netns, || Ok(())).await?;
        let link = pod.link(&self.ifname).await?;
        let addresses = pod.addresses().await?;
        let name = &self.ifname;
        let mut looks = vec![
            (link.up, format!("{name} is down")),
            (
                link.mac == self.pod_mac,
                format!("{name} has the MAC address {}", link.mac),
            ),
        ];
        for address in &self.addresses {
            let (via, to) = gateway(*address);
            let routes = pod.gateway_routes(link.index, address.is_ipv6()).await?;
            let is_default = |route: &Route| route.to == to && route.via == Some(via);
            looks.push((
                addresses.contains(&(link.index, *address)),
                format!("{name} has lost the address {address}"),
            ));
            looks.push((
                !link.up || routes.iter().any(is_default),
                format!("{name} has lost the default route to {via}"),
            ));
        }
        let wrong = looks.into_iter().filter(|(good, _)| !good);
        Ok(wrong.map(|(_, fault)| fault).collect())
    }
}

/// The host side's name: `naru` and ten hex digits of a hash of sandbox and interface.
#[must_use]
pub fn host_link_name(sandbox: &str, ifname: &str) -> String {
    format!("naru{:010x}", hash(sandbox, ifname) & 0xff_ffff_ffff)
}

/// Locally administered MAC addresses of the host side and the pod side. Derived, not random: a
/// repeated attempt gets the same.
#[must_use]
pub fn link_macs(sandbox: &str, ifname: &str) -> (Mac, Mac) {
    let [a, b, c, d, e, ..] = hash(sandbox, ifname).to_be_bytes();
    (
        Mac([0x02, a, b, c, d, e & 0xfe]),
        Mac([0x02, a, b, c, d, e | 1]),
    )
}

/// FNV-1a of 64 bits, the same in every build: names outlive the daemon.
fn hash(sandbox: &str, ifname: &str) -> u64 {
    let bytes = sandbox.bytes().chain([0]).chain(ifname.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_stable_and_fit_the_kernel() {
        let name = host_link_name(&"a".repeat(64), "eth0");
        assert_eq!(name.len(), 14);
        assert!(name.starts_with("naru"));
        assert_eq!(name, host_link_name(&"a".repeat(64), "eth0"));
        assert_ne!(name, host_link_name(&"b".repeat(64), "eth0"));
    }

    #[test]
    fn the_node_speaks_to_each_address_in_its_family() {
        let link = PodLink {
            host_link: "naru0".into(),
            host_mac: Mac([2; 6]),
            ifname: "eth0".into(),
            pod_mac: Mac([2; 6]),
            addresses: vec!["10.244.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            netns: PathBuf::new(),
            mtu: 1500,
            node_addresses: vec!["192.0.2.1".parse().unwrap()],
        };
        let routes = link.addresses.iter().map(|to| link.host_route(7, *to));
        let texts = routes.map(|route| format!("{} {:?}", route.to, route.source));
        assert_eq!(
            texts.collect::<Vec<_>>(),
            ["10.244.0.2/32 Some(192.0.2.1)", "fd00::2/128 None"]
        );
        let (via, to) = gateway(link.addresses[1]);
        assert_eq!(format!("{to} {via}"), "::/0 fe80::1");
    }

    #[test]
    fn both_ends_have_unicast_local_addresses_of_their_own() {
        let (host, pod) = link_macs("sandbox", "eth0");
        assert_ne!(host, pod);
        assert_eq!((host.0[0], pod.0[0]), (2, 2));
    }
}
