//! The addresses of a development cluster, as docs/ARCHITECTURE.md lists them.
//!
//! Two clusters may use the same numbers: they share no namespace.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Prefix length of the fabric network.
pub const PREFIX_LEN: u8 = 24;
/// The same for IPv6.
pub const PREFIX_LEN_V6: u8 = 64;
/// Port of the image registry in the outside namespace.
pub const REGISTRY_PORT: u16 = 5000;
/// Ranges of pod addresses.
pub const POD_CIDR: &str = "10.244.0.0/16,fd00:10:244::/56";
/// Ranges of service addresses.
pub const SERVICE_CIDR: &str = "10.96.0.0/12,fd00:10:96::/112";

/// The world beyond the cluster: default route, upstream DNS, image registry.
pub const OUTSIDE: Ipv4Addr = fabric(2);
/// The control plane. `const` because there is one so far.
pub const CONTROL1: Ipv4Addr = fabric(11);

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
}
