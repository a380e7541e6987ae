//! The node of every case: its own facts, its pods, those of another node.

use naru_ebpf_common::config::Timeouts;
use naru_ebpf_common::{Addr, Endpoint, Family, IpInfo, NodeConfig, ipcache};
use naru_node::datapath::{Datapath, DatapathError, Prefix};

use crate::{v4, v6};

/// Interface of every pod: the one that a test run arrives on, `lo`.
pub(crate) const INTERFACE: u32 = 1;

/// Clients on another node, each a class of its own.
pub(crate) const CLIENTS: u32 = 1000;
/// The port that everybody serves.
pub(crate) const PORT: u16 = 80;

/// Identities of pods: those of the clients come first.
const IDENTITY_LOCAL: u32 = ipcache::IDENTITY_FIRST + CLIENTS;
const IDENTITY_REMOTE: u32 = IDENTITY_LOCAL + 1;
const IDENTITY_PROXY: u32 = IDENTITY_LOCAL + 2;

/// The number of the endpoint that has no policy.
const OPEN: u32 = 1;

/// The cast of one family.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cast {
    /// A pod of the node.
    pub(crate) web: Addr,
    /// Another one.
    pub(crate) api: Addr,
    /// A pod of another node.
    pub(crate) remote: Addr,
    /// The source of the node's ingress proxy.
    pub(crate) ingress: Addr,
}

pub(crate) const V4: Cast = Cast {
    web: v4::WEB,
    api: v4::API,
    remote: v4::REMOTE,
    ingress: v4::INGRESS,
};
pub(crate) const V6: Cast = Cast {
    web: v6::WEB,
    api: v6::API,
    remote: v6::REMOTE,
    ingress: v6::INGRESS,
};

/// A client on another node.
pub(crate) const fn client(number: u32) -> Addr {
    let [.., high, low] = number.to_be_bytes();
    Addr::v4([10, 250, high, low])
}

/// Its identity.
pub(crate) fn identity(client: u32) -> u32 {
    ipcache::IDENTITY_FIRST + client
}

/// A pod of this node among those that have policies or serve a Service; numbered from 0 to 99.
pub(crate) fn pod(number: u8) -> Addr {
    Addr::v4([10, 244, 1, 100 + number])
}

/// What the data path knows of a pod with this number and these flags.
pub(crate) fn endpoint(id: u32, flags: u32) -> Endpoint {
    Endpoint {
        id,
        identity: IDENTITY_LOCAL,
        ifindex: INTERFACE,
        policy_revision: 1,
        flags,
        ..Endpoint::default()
    }
}

/// Writes the facts, with these flags and this interface as the uplink, the addresses and the pods
/// without policies; `served` are more of these.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn enter(
    datapath: &Datapath,
    (flags, uplink): (u32, u32),
    served: &[Addr],
) -> Result<(), DatapathError> {
    let mut facts = config();
    (facts.flags, facts.uplink_ifindex) = (flags, uplink);
    // Whatever device it is that would carry what is handed on: nothing is sent.
    facts.v4.hand_on_ifindex = uplink;
    datapath.set_node_config(facts)?;
    for cast in [V4, V6] {
        for pod in [cast.web, cast.api] {
            datapath.endpoints.put(&pod, &endpoint(OPEN, 0))?;
            known(datapath, pod, IDENTITY_LOCAL, ipcache::POD)?;
        }
        known(datapath, cast.remote, IDENTITY_REMOTE, ipcache::POD)?;
        known(datapath, cast.ingress, IDENTITY_PROXY, ipcache::HOST)?;
    }
    for pod in served {
        datapath.endpoints.put(pod, &endpoint(OPEN, 0))?;
        known(datapath, *pod, IDENTITY_LOCAL, ipcache::POD)?;
    }
    (0..CLIENTS).try_for_each(|n| known(datapath, client(n), identity(n), ipcache::POD))
}

/// Writes who has an address; pods that are not here live on the other node.
fn known(datapath: &Datapath, addr: Addr, identity: u32, flags: u32) -> Result<(), DatapathError> {
    let node = match (
        identity == IDENTITY_LOCAL || flags & ipcache::HOST != 0,
        addr.is_v4(),
    ) {
        (true, _) => Addr::UNSPECIFIED,
        (false, true) => v4::NODE2,
        (false, false) => v6::NODE2,
    };
    let info = IpInfo {
        identity,
        flags,
        node,
    };
    datapath.ipcache.put(Prefix { length: 128, addr }, &info)
}

fn config() -> NodeConfig {
    NodeConfig {
        v4: Family {
            node_addr: v4::NODE,
            ingress_addr: v4::INGRESS,
            gateway_addr: v4::GATEWAY,
            pod_net: v4::POD_NET.0,
            pod_prefix: v4::POD_NET.1,
            service_net: v4::SERVICE_NET.0,
            service_prefix: v4::SERVICE_NET.1,
            ..Family::NONE
        },
        v6: Family {
            node_addr: v6::NODE,
            ingress_addr: v6::INGRESS,
            gateway_addr: v6::GATEWAY,
            pod_net: v6::POD_NET.0,
            pod_prefix: v6::POD_NET.1,
            service_net: v6::SERVICE_NET.0,
            service_prefix: v6::SERVICE_NET.1,
            ..Family::NONE
        },
        node_port_first: NodeConfig::NODE_PORT_FIRST,
        node_port_last: NodeConfig::NODE_PORT_LAST,
        snat_port_first: NodeConfig::SNAT_PORT_FIRST,
        snat_port_last: NodeConfig::SNAT_PORT_LAST,
        snat_low_first: NodeConfig::SNAT_LOW_FIRST,
        snat_low_ports: NodeConfig::SNAT_LOW_PORTS,
        timeouts: Timeouts::DEFAULT,
        ..NodeConfig::default()
    }
}
