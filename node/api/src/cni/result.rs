//! The result of an ADD, and how older versions of the specification write it.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::Version;

/// What an ADD made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddResult {
    /// Links, on the host and in the container.
    pub interfaces: Vec<Interface>,
    /// Addresses.
    pub ips: Vec<IpConfig>,
    /// Routes in the container.
    pub routes: Vec<Route>,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its MAC address.
    pub mac: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Path of the container's network namespace; absent for a link of the host.
    pub sandbox: Option<String>,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpConfig {
    /// Address and prefix length.
    pub address: IpNet,
    /// The next hop.
    pub gateway: IpAddr,
    /// Index into [`AddResult::interfaces`].
    pub interface: usize,
}

/// A route in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destination.
    pub dst: IpNet,
    /// Next hop.
    pub gw: IpAddr,
}

impl AddResult {
    /// The JSON that the plugin prints for a configuration of `version`.
    #[must_use]
    pub fn render(&self, version: Version) -> Value {
        json!({
            "cniVersion": version.as_str(),
            "interfaces": self.interfaces.iter().map(|link| link.render(version)).collect::<Vec<_>>(),
            "ips": self.ips.iter().map(|ip| ip.render(version)).collect::<Vec<_>>(),
            "routes": self.routes,
            "dns": {},
        })
    }
}

impl Interface {
    fn render(&self, version: Version) -> Value {
        let mut link = json!({"name": self.name, "mac": self.mac});
        if let Some(sandbox) = &self.sandbox {
            link["sandbox"] = sandbox.as_str().into();
        }
        // 1.1.0 added the MTU.
        if version >= Version::V1_1_0 {
            link["mtu"] = self.mtu.into();
        }
        link
    }
}

impl IpConfig {
    fn render(&self, version: Version) -> Value {
        let mut ip = json!({
            "address": self.address, "gateway": self.gateway, "interface": self.interface,
        });
        // Removed by 1.0.0.
        if version < Version::V1_0_0 {
            ip["version"] = if self.address.addr().is_ipv4() {
                "4"
            } else {
                "6"
            }
            .into();
        }
        ip
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_gets_its_own_fields() {
        let result = AddResult {
            interfaces: vec![Interface {
                name: "eth0".into(),
                mac: "02:00:00:00:00:01".into(),
                mtu: 1500,
                sandbox: Some("/run/netns/x".into()),
            }],
            ips: vec![IpConfig {
                address: "10.244.0.2/32".parse().unwrap(),
                gateway: "169.254.1.1".parse().unwrap(),
                interface: 0,
            }],
            routes: vec![],
        };
        let old = result.render(Version::V0_3_1);
        assert_eq!(old["ips"][0]["version"], "4");
        assert_eq!(old["interfaces"][0].get("mtu"), None);
        assert_eq!(old["cniVersion"], "0.3.1");
        let new = result.render(Version::V1_1_0);
        assert_eq!(new["ips"][0].get("version"), None);
        assert_eq!(new["interfaces"][0]["mtu"], 1500);
        assert_eq!(new["ips"][0]["address"], "10.244.0.2/32");
    }
}
