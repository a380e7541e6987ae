//! A node, its pods, two other nodes and the outside, in both families.

use naru_ebpf_common::config::Timeouts;
use naru_ebpf_common::{
    Addr, Backend, BackendKey, Endpoint, Family, IpInfo, NodeConfig, Port, Service, ServiceKey,
    ipcache, protocol,
};
use naru_ebpf_logic::host::Snapshot;
use naru_ebpf_logic::{Packet, Segment};

/// The other node's and a third node's address in the network between nodes.
pub(crate) const NODE2_V4: Addr = Addr::v4([192, 168, 77, 102]);
pub(crate) const NODE3_V4: Addr = Addr::v4([192, 168, 77, 103]);
pub(crate) const OWN_V4: Addr = Addr::v4([192, 168, 77, 101]);
pub(crate) const UPLINK: u32 = 2;
pub(crate) const WEB_IFINDEX: u32 = 7;
pub(crate) const DEVICE: u32 = 9;

/// The cast in one family.
#[derive(Clone, Copy)]
pub(crate) struct Cast {
    pub(crate) own: Addr,
    pub(crate) node2: Addr,
    pub(crate) outside: Addr,
    pub(crate) pod_net: (Addr, u32),
    pub(crate) web: Addr,
    pub(crate) remote: Addr,
    /// A pod of a node whose IPv4 address is not known.
    pub(crate) stray: Addr,
}

const fn v6(groups: [u16; 4], last: u16) -> Addr {
    let [a, b, c, d] = groups;
    let address = std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, last);
    Addr::from_bytes(address.octets())
}

pub(crate) const BOTH: [Cast; 2] = [
    Cast {
        own: OWN_V4,
        node2: NODE2_V4,
        outside: Addr::v4([203, 0, 113, 2]),
        pod_net: (Addr::v4([10, 244, 1, 0]), 120),
        web: Addr::v4([10, 244, 1, 2]),
        remote: Addr::v4([10, 244, 2, 2]),
        stray: Addr::v4([10, 244, 3, 2]),
    },
    Cast {
        own: v6([0xfd00, 0x77, 0, 0], 0x101),
        node2: v6([0xfd00, 0x77, 0, 0], 0x102),
        outside: v6([0x2001, 0xdb8, 0, 0], 2),
        pod_net: (v6([0xfd00, 0x244, 0, 1], 0), 64),
        web: v6([0xfd00, 0x244, 0, 1], 2),
        remote: v6([0xfd00, 0x244, 0, 2], 2),
        stray: v6([0xfd00, 0x244, 0, 3], 2),
    },
];

pub(crate) fn facts() -> NodeConfig {
    let [v4, v6] = BOTH.map(|cast| Family {
        node_addr: cast.own,
        pod_net: cast.pod_net.0,
        pod_prefix: cast.pod_net.1,
        ..Family::NONE
    });
    NodeConfig {
        v4,
        v6,
        uplink_ifindex: UPLINK,
        overlay_ifindex: DEVICE,
        node_port_first: 30000,
        node_port_last: 32767,
        snat_port_first: 61000,
        snat_port_last: 65535,
        timeouts: Timeouts::DEFAULT,
        epoch: 1,
        ..NodeConfig::default()
    }
}

pub(crate) fn node(cast: Cast) -> Snapshot {
    let mut node = Snapshot {
        config: Some(facts()),
        ..Snapshot::default()
    };
    let web = Endpoint {
        id: 1,
        identity: 300,
        ifindex: WEB_IFINDEX,
        policy_revision: 1,
        ..Endpoint::default()
    };
    node.endpoints.insert(cast.web, web);
    let mut tell = |addr, identity, flags, node_addr| {
        let info = IpInfo {
            identity,
            flags,
            node: node_addr,
        };
        node.ipcache.push((addr, 128, info));
    };
    let host = ipcache::NODE | ipcache::HOST;
    for own in [OWN_V4, cast.own] {
        tell(own, ipcache::IDENTITY_HOST, host, OWN_V4);
    }
    tell(cast.web, 300, ipcache::POD, OWN_V4);
    tell(cast.remote, 301, ipcache::POD, NODE2_V4);
    tell(cast.stray, 302, ipcache::POD, Addr::UNSPECIFIED);
    let remote_node = ipcache::IDENTITY_REMOTE_NODE;
    for node2 in [NODE2_V4, cast.node2] {
        tell(node2, remote_node, ipcache::NODE, NODE2_V4);
    }
    node.now_ns.set(1 << 40);
    node
}

pub(crate) fn tcp(src: Addr, src_port: u16, dst: Addr, dst_port: u16, flags: u8) -> Packet {
    Packet {
        src,
        dst,
        src_port: Port::new(src_port),
        dst_port: Port::new(dst_port),
        protocol: protocol::TCP,
        tcp: Segment {
            flags,
            ..Segment::default()
        },
        ..Packet::default()
    }
}

pub(crate) fn syn(src: Addr, src_port: u16, dst: Addr, dst_port: u16) -> Packet {
    tcp(src, src_port, dst, dst_port, protocol::SYN)
}

/// The first packet on the way back.
pub(crate) fn answer(p: &Packet) -> Packet {
    let flags = protocol::SYN | protocol::ACK;
    tcp(p.dst, p.dst_port.get(), p.src, p.src_port.get(), flags)
}

/// A node port with one backend.
pub(crate) fn node_port(node: &mut Snapshot, any: Addr, backend: Addr) {
    let key = ServiceKey {
        addr: any.any(),
        port: Port::new(30080),
        protocol: protocol::TCP,
        scope: 0,
    };
    let service = Service {
        revision: 2,
        backends: u32::from(backend != Addr::UNSPECIFIED),
        flags: 0,
        id: 1,
    };
    node.services.insert(key, service);
    let slot = BackendKey {
        revision: 2,
        slot: 0,
    };
    let backend = Backend {
        addr: backend,
        port: Port::new(8080),
        flags: 0,
        reserved: 0,
    };
    node.backends.insert(slot, backend);
}
