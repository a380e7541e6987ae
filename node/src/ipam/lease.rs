//! One address, given to one interface of one sandbox.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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
    /// The pod's address.
    pub address: Ipv4Addr,
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

#[cfg(test)]
impl Lease {
    pub(crate) fn for_test(key: &LeaseKey, address: Ipv4Addr) -> Self {
        Self {
            key: key.clone(),
            address,
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
