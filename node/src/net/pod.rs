//! The veth pair of a pod: made, checked, removed.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;

use super::mac::Mac;
use super::netlink::{Link, NetError, Netlink, Route};
use super::sysctl;

/// The next hop of every pod. It exists nowhere: pods hold a permanent neighbour entry for it.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

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
    /// Address of the pod.
    pub address: Ipv4Addr,
    /// Path of the pod's network namespace.
    pub netns: PathBuf,
    /// MTU in bytes.
    pub mtu: u32,
    /// Source of the node's own packets to the pod.
    pub node_address: Ipv4Addr,
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
        let ifname = self.ifname.clone();
        // No IPv6 is forwarded yet; router solicitations would only show up as drops.
        let quiet =
            move || sysctl::set_if_present(&format!("ipv6/conf/{ifname}/disable_ipv6"), "1");
        let (pod, ()) = Netlink::inside(&self.netns, quiet).await?;
        pod.set_up(pod.link("lo").await?.index).await?;
        let link = pod.link(&self.ifname).await?.index;
        pod.address(link, Ipv4Net::from(self.address)).await?;
        pod.set_up(link).await?;
        pod.neighbour(link, GATEWAY, self.host_mac).await?;
        pod.route(&Self::default_route(link)).await
    }

    async fn configure_host(&self, node: &Netlink) -> Result<Link, NetError> {
        sysctl::set_if_present(&format!("ipv6/conf/{}/disable_ipv6", self.host_link), "1")?;
        // What the programs hand to the stack was checked by them against the pod's address.
        sysctl::set(&format!("ipv4/conf/{}/rp_filter", self.host_link), "0")?;
        let link = node.link(&self.host_link).await?;
        node.set_up(link.index).await?;
        node.neighbour(link.index, self.address, self.pod_mac)
            .await?;
        node.route(&self.host_route(link.index)).await?;
        Ok(Link { up: true, ..link })
    }

    fn default_route(link: u32) -> Route {
        Route {
            to: Ipv4Net::default(),
            link,
            via: Some(GATEWAY),
            source: None,
            onlink: true,
        }
    }

    fn host_route(&self, link: u32) -> Route {
        let source = Some(self.node_address);
        Route {
            to: Ipv4Net::from(self.address),
            link,
            via: None,
            source,
            onlink: false,
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
        let routes = pod.gateway_routes(link.index).await?;
        let has_route = |route: &Route| route.to.prefix_len() == 0 && route.via == Some(GATEWAY);
        let name = &self.ifname;
        let looks = [
            (link.up, format!("{name} is down")),
            (
                link.mac == self.pod_mac,
                format!("{name} has the MAC address {}", link.mac),
            ),
            (
                addresses.contains(&(link.index, self.address)),
                format!("{name} has lost the address {}", self.address),
            ),
            (
                !link.up || routes.iter().any(has_route),
                format!("{name} has lost the default route"),
            ),
        ];
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
    fn both_ends_have_unicast_local_addresses_of_their_own() {
        let (host, pod) = link_macs("sandbox", "eth0");
        assert_ne!(host, pod);
        assert_eq!((host.0[0], pod.0[0]), (2, 2));
    }
}
