//! Translations that lead to backends which their service no longer has.
//!
//! A datagram flow may last as long as its client wants. When its backend goes, the flow has to
//! move: its translation is forgotten, and its next datagram chooses anew, or is refused while the
//! service has no endpoint. TCP connections are left alone: an endpoint that terminates finishes
//! what it has begun.

use std::collections::HashSet;

use naru_ebpf_common::nat::{
    HAIRPIN, HANDED_ON, NODE_PORT_LOCAL, NODE_PORT_REMOTE, OWN_NETWORK, REPLY, SERVICE,
};
use naru_ebpf_common::service::{SCOPE_ANY, SCOPE_OUTSIDE};
use naru_ebpf_common::{
    Addr, NatEntry, NatKey, Port, ServiceKey, SocketKey, SocketPeer, Tuple, protocol,
};

use super::Programmed;

/// A flow to forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leftover {
    /// Its translation, forth and back.
    pub nat: [NatKey; 2],
    /// Its flow entry.
    pub flow: Tuple,
}

/// The datagram flows of `translations` whose backend no service at their destination has. `nodes`
/// are the addresses that stand for node ports.
pub fn leftovers(
    translations: &[(NatKey, NatEntry)],
    programmed: &Programmed,
    nodes: &[Addr],
) -> Vec<Leftover> {
    let of_services = translations.iter().filter(|(key, entry)| {
        let kinds = [
            SERVICE,
            HAIRPIN,
            NODE_PORT_LOCAL,
            NODE_PORT_REMOTE,
            HANDED_ON,
            OWN_NETWORK,
        ];
        key.protocol == protocol::UDP && entry.flags & REPLY == 0 && kinds.contains(&entry.kind)
    });
    of_services
        .filter(|(key, entry)| !is_backend(programmed, key, entry, nodes))
        .map(|(key, entry)| leftover(key, entry))
        .collect()
}

fn is_backend(programmed: &Programmed, key: &NatKey, entry: &NatEntry, nodes: &[Addr]) -> bool {
    let at = |addr, scope| ServiceKey {
        addr,
        port: key.dst_port,
        protocol: key.protocol,
        scope,
    };
    let any = if nodes.contains(&key.dst) {
        key.dst.any()
    } else {
        key.dst
    };
    let entries = [
        at(any, SCOPE_ANY),
        at(any, SCOPE_OUTSIDE),
        at(key.dst, SCOPE_ANY),
    ];
    let backends = entries.iter().filter_map(|key| programmed.backends(key));
    backends
        .flatten()
        .any(|backend| backend.addr == entry.dst && backend.port == entry.dst_port)
}

/// The datagram sockets among `sockets` that talk to a backend which the service that they asked
/// for no longer has. Unconnected ones are among them; they choose anew with every datagram.
pub fn stranded(
    sockets: &[(SocketKey, SocketPeer)],
    programmed: &Programmed,
) -> HashSet<(u64, Addr, Port)> {
    let is_stranded = |(key, asked): &&(SocketKey, SocketPeer)| {
        let at = |addr| ServiceKey {
            addr,
            port: asked.port,
            protocol: key.protocol,
            scope: SCOPE_ANY,
        };
        let entries = [at(asked.addr), at(asked.addr.any())];
        let mut backends = entries.iter().filter_map(|key| programmed.backends(key));
        key.protocol == protocol::UDP
            && !backends.any(|all| {
                let mut all = all.iter();
                all.any(|backend| backend.addr == key.addr && backend.port == key.port)
            })
    };
    let stranded = sockets.iter().filter(is_stranded);
    stranded
        .map(|(key, _)| (key.cookie, key.addr, key.port))
        .collect()
}

fn leftover(key: &NatKey, entry: &NatEntry) -> Leftover {
    let mut answer = NatKey::default();
    answer.set_answer(entry, key.protocol);
    let (flow, _) = Tuple::new(
        &entry.src,
        entry.src_port,
        &entry.dst,
        entry.dst_port,
        key.protocol,
    );
    Leftover {
        nat: [*key, answer],
        flow,
    }
}

#[cfg(test)]
mod tests {
    use naru_ebpf_common::Backend;

    use super::super::{Desired, DesiredService, ServicePortName};
    use super::*;

    const NODE: Addr = Addr::v4([192, 168, 77, 101]);
    const CLIENT: Addr = Addr::v4([10, 244, 0, 9]);
    const SERVICE_IP: Addr = Addr::v4([10, 96, 0, 1]);

    fn pod(n: u8) -> Addr {
        Addr::v4([10, 244, 0, n])
    }

    fn programmed(addr: Addr, pods: &[u8]) -> Programmed {
        let key = ServiceKey {
            addr,
            port: Port::new(53),
            protocol: protocol::UDP,
            scope: 0,
        };
        let backend = |n: &u8| Backend {
            addr: pod(*n),
            port: Port::new(5353),
            flags: 0,
            reserved: 0,
        };
        let service = DesiredService {
            name: ServicePortName {
                namespace: "a".into(),
                name: "dns".into(),
                port: String::new(),
            },
            flags: 0,
            backends: pods.iter().map(backend).collect(),
            ranges: Vec::new(),
        };
        let mut programmed = Programmed::default();
        programmed.plan(&Desired::from([(key, service)]));
        programmed
    }

    fn translation(dst: Addr, to: u8, kind: u8, protocol: u8) -> (NatKey, NatEntry) {
        let key = NatKey {
            src: CLIENT,
            dst,
            src_port: Port::new(4000),
            dst_port: Port::new(53),
            protocol,
            reserved: [0; 3],
        };
        let entry = NatEntry {
            src: CLIENT,
            dst: pod(to),
            src_port: Port::new(4000),
            dst_port: Port::new(5353),
            kind,
            ..NatEntry::default()
        };
        (key, entry)
    }

    #[test]
    fn a_flow_to_a_backend_that_left_is_forgotten_both_ways() {
        let flow = translation(SERVICE_IP, 2, SERVICE, protocol::UDP);
        let kept = programmed(SERVICE_IP, &[2, 3]);
        assert!(leftovers(&[flow], &kept, &[NODE]).is_empty());
        let found = leftovers(&[flow], &programmed(SERVICE_IP, &[3]), &[NODE]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].nat[0], flow.0);
        assert_eq!((found[0].nat[1].src, found[0].nat[1].dst), (pod(2), CLIENT));
        assert!(found[0].flow.addr.contains(&pod(2)));
    }

    #[test]
    fn node_ports_are_known_by_the_nodes_address_and_scale_to_zero_counts() {
        let flow = translation(NODE, 2, NODE_PORT_LOCAL, protocol::UDP);
        let kept = programmed(Addr::ANY_V4, &[2]);
        assert!(leftovers(&[flow], &kept, &[NODE]).is_empty());
        let none = programmed(Addr::ANY_V4, &[]);
        assert_eq!(leftovers(&[flow], &none, &[NODE]).len(), 1);
    }

    #[test]
    fn a_socket_is_stranded_when_the_service_that_it_asked_for_lost_its_backend() {
        let socket = |protocol| SocketKey {
            cookie: 7,
            addr: pod(2),
            port: Port::new(5353),
            protocol,
            reserved: [0; 5],
        };
        let asked = |addr| SocketPeer {
            addr,
            port: Port::new(53),
            reserved: 0,
            service: 1,
        };
        let udp = (socket(protocol::UDP), asked(SERVICE_IP));
        assert!(stranded(&[udp], &programmed(SERVICE_IP, &[2])).is_empty());
        let without = programmed(SERVICE_IP, &[3]);
        let expected = HashSet::from([(7, pod(2), Port::new(5353))]);
        assert_eq!(stranded(&[udp], &without), expected);
        let tcp = (socket(protocol::TCP), asked(SERVICE_IP));
        assert!(stranded(&[tcp], &without).is_empty());
        let at_a_node = (socket(protocol::UDP), asked(Addr::v4([192, 168, 77, 102])));
        assert!(stranded(&[at_a_node], &programmed(Addr::ANY_V4, &[2])).is_empty());
    }

    #[test]
    fn connections_and_masqueraded_flows_are_left_alone() {
        let none = programmed(SERVICE_IP, &[]);
        let tcp = translation(SERVICE_IP, 2, SERVICE, protocol::TCP);
        let out = translation(
            SERVICE_IP,
            2,
            naru_ebpf_common::nat::MASQUERADE,
            protocol::UDP,
        );
        assert!(leftovers(&[tcp, out], &none, &[NODE]).is_empty());
    }
}
