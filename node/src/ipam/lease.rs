//! One address, given to one interface of one sandbox.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use crate::net::Mac;

/// Which interface of which sandbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseKey {
    /// The sandbox's id, as the runtime calls it.
    pub sandbox: String,
    /// The interface's name in the sandbox.
    pub ifname: String,
}

/// The pod for which a sandbox was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRef {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID, empty when the runtime did not say.
    pub uid: String,
}

/// All that a starting daemon has to know to adopt an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Whose it is.
    #[serde(flatten)]
    pub key: LeaseKey,
    /// The pod's addresses: one, or one of each family, the node's first family first.
    #[serde(alias = "address", deserialize_with = "one_or_more")]
    pub addresses: Vec<IpAddr>,
    /// The pod.
    pub pod: PodRef,
    /// Path of the sandbox's network namespace.
    pub netns: PathBuf,
    /// Name of the host side of the veth.
    pub host_link: String,
    /// MAC address of the host side.
    pub host_mac: Mac,
    /// MAC address in the pod.
    pub pod_mac: Mac,
    /// When it was given, seconds since the epoch.
    pub since: u64,
}

impl Lease {
    /// Its addresses as text.
    #[must_use]
    pub fn address_text(&self) -> String {
        let texts: Vec<_> = self.addresses.iter().map(IpAddr::to_string).collect();
        texts.join(",")
    }
}

/// Leases of releases that knew one family hold one address.
fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpAddr>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Addresses {
        One(IpAddr),
        More(Vec<IpAddr>),
    }
    Ok(match Addresses::deserialize(from)? {
        Addresses::One(address) => vec![address],
        Addresses::More(addresses) => addresses,
    })
}

#[cfg(test)]
impl Lease {
    pub(crate) fn for_test(key: &LeaseKey, addresses: &[IpAddr]) -> Self {
        Self {
            key: key.clone(),
            addresses: addresses.to_vec(),
            pod: PodRef {
                namespace: "default".into(),
                name: key.sandbox.clone(),
                uid: String::new(),
            },
            netns: "/run/netns/test".into(),
            host_link: "naru0".into(),
            host_mac: Mac([2, 0, 0, 0, 0, 1]),
            pod_mac: Mac([2, 0, 0, 0, 0, 2]),
            since: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_of_one_family_is_still_read() {
        let key = LeaseKey {
            sandbox: "a".into(),
            ifname: "eth0".into(),
        };
        let addresses = ["10.244.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let lease = Lease::for_test(&key, &addresses);
        let mut stored = serde_json::to_value(&lease).unwrap();
        assert_eq!(
            serde_json::from_value::<Lease>(stored.clone()).unwrap(),
            lease
        );
        let fields = stored.as_object_mut().unwrap();
        fields.remove("addresses");
        fields.insert("address".into(), "10.244.0.2".into());
        let old: Lease = serde_json::from_value(stored).unwrap();
        assert_eq!(old.addresses, addresses[..1]);
    }
}
