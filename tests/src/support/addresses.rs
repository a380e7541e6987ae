//! The addresses of a development cluster, as docs/ARCHITECTURE.md lists them.
//!
//! Two clusters may use the same numbers: they share no namespace.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Prefix length of the fabric network.
pub const PREFIX_LEN: u8 = 24;
/// The same for IPv6.
pub const PREFIX_LEN_V6: u8 = 64;
/// Port of the image registry in the outside namespace.
pub const REGISTRY_PORT: u16 = 5000;
/// Ranges of pod addresses, one of each family.
const POD_CIDRS: [&str; 2] = ["10.244.0.0/16", "fd00:10:244::/56"];
/// Ranges of service addresses.
const SERVICE_CIDRS: [&str; 2] = ["10.96.0.0/12", "fd00:10:96::/112"];

/// The world beyond the cluster: default route, upstream DNS, image registry.
pub const OUTSIDE: Ipv4Addr = fabric(2);
/// The control plane. `const` because there is one so far.
pub const CONTROL1: Ipv4Addr = fabric(11);

/// Which address families a cluster has; no link has an address of another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Families {
    /// IPv4 and IPv6, of which IPv4 is preferred.
    #[default]
    Both,
    /// IPv6 alone.
    V6,
}

impl Families {
    /// What stands for a fabric address in each family that there is, the preferred one first.
    pub fn of(self, v4: Ipv4Addr) -> Vec<IpAddr> {
        self.each([v4.into(), v6(v4).into()])
    }

    /// What stands for a fabric address in the preferred family.
    pub fn first(self, v4: Ipv4Addr) -> IpAddr {
        self.of(v4)[0]
    }

    /// Ranges of pod addresses, as flags take them.
    pub fn pod_cidr(self) -> String {
        self.each(POD_CIDRS).join(",")
    }

    /// Ranges of service addresses.
    pub fn service_cidr(self) -> String {
        self.each(SERVICE_CIDRS).join(",")
    }

    fn each<T>(self, both: [T; 2]) -> Vec<T> {
        let skipped = match self {
            Self::Both => 0,
            Self::V6 => 1,
        };
        both.into_iter().skip(skipped).collect()
    }
}

/// Address of node `k`, counted from 1.
pub const fn node(k: u8) -> Ipv4Addr {
    fabric(100 + k)
}

/// The IPv6 address of node `k`, counted from 1.
pub const fn node_v6(k: u8) -> Ipv6Addr {
    v6(node(k))
}

/// The IPv6 address beside a fabric address: the same last number, read as hexadecimal digits.
pub const fn v6(v4: Ipv4Addr) -> Ipv6Addr {
    let host = v4.octets()[3] as u16;
    let digits = ((host / 100) << 8) | ((host / 10 % 10) << 4) | (host % 10);
    Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, digits)
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
        assert_eq!(node_v6(1).to_string(), "fd00:77::101");
        assert_eq!(node_v6(12).to_string(), "fd00:77::112");
    }

    #[test]
    fn a_cluster_of_ipv6_has_nothing_else() {
        assert_eq!(Families::V6.of(node(1)), [IpAddr::from(node_v6(1))]);
        assert_eq!(Families::V6.pod_cidr(), "fd00:10:244::/56");
        let both = "10.96.0.0/12,fd00:10:96::/112";
        assert_eq!(Families::Both.service_cidr(), both);
        assert_eq!(Families::Both.first(CONTROL1), IpAddr::from(CONTROL1));
    }
}
