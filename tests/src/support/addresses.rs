//! The addresses of a development cluster, as docs/ARCHITECTURE.md lists them.
//!
//! Two clusters may use the same numbers: they share no namespace.

use std::net::Ipv4Addr;

/// Prefix length of the fabric network.
pub const PREFIX_LEN: u8 = 24;
/// Port of the image registry in the outside namespace.
pub const REGISTRY_PORT: u16 = 5000;
/// Range of pod addresses.
pub const POD_CIDR: &str = "10.244.0.0/16";
/// Range of service addresses.
pub const SERVICE_CIDR: &str = "10.96.0.0/12";
/// Where the cluster's DNS answers.
pub const CLUSTER_DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// The world beyond the cluster: default route, upstream DNS, image registry.
pub const OUTSIDE: Ipv4Addr = fabric(2);
/// The control plane. `const` because there is one so far.
pub const CONTROL1: Ipv4Addr = fabric(11);

/// Address of node `k`, counted from 1.
pub const fn node(k: u8) -> Ipv4Addr {
    fabric(100 + k)
}

/// Address of the registry on the fabric, as image names carry it.
pub fn registry() -> String {
    format!("{OUTSIDE}:{REGISTRY_PORT}")
}

const fn fabric(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 77, host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_count_from_one() {
        assert_eq!(node(1).to_string(), "192.168.77.101");
        assert_eq!(CONTROL1.to_string(), "192.168.77.11");
    }
}
