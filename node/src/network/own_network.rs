//! Services with an endpoint on this node's own network: whether there is one, and the program that
//! translates what the node's stack answers.
//!
//! The program is attached before a packet is first led to such an endpoint, and let go when there is
//! none left. A daemon that starts goes on with what the one before it did, until it knows the
//! Services itself.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use naru_ebpf_common::overlay::DEVICE;
use naru_ebpf_common::{Addr, Backend};

use super::Network;
use crate::datapath::{Attached, DatapathError};

/// The addresses of a node's own network.
pub(super) struct OwnNetwork(HashSet<Addr>);

impl OwnNetwork {
    pub(super) fn of(addresses: &[IpAddr]) -> Self {
        Self(addresses.iter().copied().map(Addr::from).collect())
    }

    /// Whether one of `backends` is there.
    pub(super) fn has_any<'a>(&self, backends: impl IntoIterator<Item = &'a Backend>) -> bool {
        let mut backends = backends.into_iter();
        backends.any(|backend| self.0.contains(&backend.addr))
    }
}

impl Network {
    /// Sees to it that packets reach endpoints on the node's own network, and answers find the way
    /// back, if there are `any`.
    ///
    /// # Errors
    /// When the kernel refuses; then packets to such endpoints are dropped.
    pub(super) async fn serve_own_network(&self, any: bool) -> Result<(), DatapathError> {
        if any == self.serves_own_network() {
            return Ok(());
        }
        let _still = self.moving.read().await;
        if any {
            self.attach_own_network()?;
        }
        self.own_network.store(any, Ordering::Relaxed);
        self.switch()?;
        if !any {
            self.detach_own_network();
        }
        tracing::info!(any, "endpoints on the node's own network");
        Ok(())
    }

    /// Whether packets reach endpoints on the node's own network.
    pub(super) fn serves_own_network(&self) -> bool {
        self.own_network.load(Ordering::Relaxed)
    }

    /// Attaches the program to every link by which the node's answers may leave.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn attach_own_network(&self) -> Result<Vec<Attached>, DatapathError> {
        let links = self.ways_out().into_iter();
        links
            .map(|(link, ifindex)| self.datapath.attach_own_network(link, ifindex))
            .collect()
    }

    /// Lets go of them.
    pub(super) fn detach_own_network(&self) {
        for (link, _) in self.ways_out() {
            self.datapath.detach_own_network(link);
        }
    }

    fn ways_out(&self) -> Vec<(&str, u32)> {
        let uplink = (self.uplink.name.as_str(), self.uplink.index);
        let overlay = self.pod_overlay().map(|overlay| (DEVICE, overlay.link));
        [uplink].into_iter().chain(overlay).collect()
    }
}

#[cfg(test)]
mod tests {
    use naru_ebpf_common::Port;

    use super::*;

    #[test]
    fn every_address_of_the_node_counts() {
        let addresses = ["192.168.77.101", "192.168.77.201", "fd00:77::101"];
        let own = OwnNetwork::of(&addresses.map(|ip| ip.parse().unwrap()));
        let at = |ip: &str| Backend {
            addr: ip.parse::<IpAddr>().unwrap().into(),
            port: Port::new(6443),
            ..Backend::default()
        };
        let elsewhere = [at("192.168.77.102"), at("10.244.1.2"), at("fd00:77::102")];
        assert!(!own.has_any(&elsewhere));
        for address in addresses {
            let all = elsewhere.iter().copied().chain([at(address)]);
            assert!(own.has_any(&all.collect::<Vec<_>>()), "{address}");
        }
    }
}
