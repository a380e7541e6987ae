//! What a cluster of one or two address families tells its nodes.

use serde_json::{Value, json};

use super::Node;

/// Which families a cluster has.
#[derive(Clone, Copy, PartialEq)]
pub enum Families {
    /// IPv4 and IPv6.
    Both,
    /// IPv6 alone.
    V6,
}

impl Families {
    /// A value of each family that there is, IPv4 first.
    pub fn of(self, v4: String, v6: String) -> Vec<String> {
        match self {
            Self::Both => vec![v4, v6],
            Self::V6 => vec![v6],
        }
    }

    /// Gives a node its address and route of IPv6, and the flags that say which families there are.
    pub fn prepare(self, node: &mut Node) {
        let k = node.number;
        node.netns
            .ip(&format!("addr add fd00:77::10{k}/64 dev eth0 nodad"));
        node.netns.ip("route add ::/0 via fd00:77::2");
        node.flags = self.flags(k);
    }

    /// The flags of node `k`.
    pub fn flags(self, k: u8) -> Vec<String> {
        let joined = |v4: &str, v6: &str| self.of(v4.into(), v6.into()).join(",");
        let mut flags = vec!["--node-ip".to_owned()];
        flags.push(joined(
            &format!("192.168.77.10{k}"),
            &format!("fd00:77::10{k}"),
        ));
        flags.push("--cluster-cidr".into());
        flags.push(joined("10.244.0.0/16", "fd00:10:244::/56"));
        flags.push("--service-cidr".into());
        flags.push(joined("10.96.0.0/12", "fd00:10:96::/112"));
        if self == Self::V6 {
            flags.extend(["--cluster-dns".into(), "fd00:10:96::a".into()]);
        }
        flags
    }

    /// The object of node `k`.
    pub fn node(self, k: u8) -> Value {
        let range = u16::from(k) - 1;
        let (v4, v6) = (
            format!("10.244.{range}.0/24"),
            format!("fd00:10:244:{range}::/64"),
        );
        let cidrs = self.of(v4, v6);
        let addresses = self.of(format!("192.168.77.10{k}"), format!("fd00:77::10{k}"));
        let address = |ip: &String| json!({"type": "InternalIP", "address": ip});
        json!({
            "metadata": {"name": format!("node{k}")},
            "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs},
            "status": {"addresses": addresses.iter().map(address).collect::<Vec<_>>()},
        })
    }
}
