//! The decisions on the host: parsing, trace, and what holds for every packet.

use naru_ebpf_common::config::Timeouts;
use naru_ebpf_common::endpoint::{ISOLATED_EGRESS, ISOLATED_INGRESS};
use naru_ebpf_common::{
    Addr, Backend, BackendKey, Endpoint, Family, IpInfo, NodeConfig, Port, Reason, Service,
    ServiceKey, Tuple, ipcache, policy, protocol,
};
use naru_ebpf_logic::host::{Bytes, Snapshot};
use naru_ebpf_logic::parse::{self, Other};
use naru_ebpf_logic::socket::{self, Outcome, Target};
use naru_ebpf_logic::{Action, Packet, Segment, Step, from_network, from_pod};
use proptest::prelude::*;

const NODE: Addr = Addr::v4([192, 168, 77, 101]);
const OUTSIDE: Addr = Addr::v4([192, 168, 77, 2]);
const WEB: Addr = Addr::v4([10, 244, 1, 2]);
const SERVICE: Addr = Addr::v4([10, 96, 0, 50]);

fn snapshot() -> Snapshot {
    let config = NodeConfig {
        v4: Family {
            node_addr: NODE,
            pod_net: Addr::v4([10, 244, 1, 0]),
            pod_prefix: 120,
            service_net: Addr::v4([10, 96, 0, 0]),
            service_prefix: 108,
            ..Family::NONE
        },
        v6: Family::NONE,
        uplink_ifindex: 2,
        node_port_first: 30000,
        node_port_last: 32767,
        snat_port_first: 61000,
        snat_port_last: 65535,
        timeouts: Timeouts::DEFAULT,
        ..NodeConfig::default()
    };
    let mut snapshot = Snapshot {
        config: Some(config),
        ..Snapshot::default()
    };
    let web = Endpoint {
        id: 1,
        identity: 300,
        ifindex: 7,
        policy_revision: 1,
        ..Endpoint::default()
    };
    snapshot.endpoints.insert(WEB, web);
    let host = IpInfo {
        identity: ipcache::IDENTITY_HOST,
        flags: ipcache::HOST,
        node: NODE,
    };
    snapshot.ipcache.push((NODE, 128, host));
    snapshot.now_ns.set(1 << 40);
    snapshot
}

fn tcp(src: Addr, src_port: u16, dst: Addr, dst_port: u16) -> Packet {
    Packet {
        src,
        dst,
        src_port: Port::new(src_port),
        dst_port: Port::new(dst_port),
        protocol: protocol::TCP,
        tcp: Segment {
            flags: protocol::SYN,
            ..Segment::default()
        },
        ..Packet::default()
    }
}

#[test]
fn a_decision_tells_its_steps() {
    let mut snapshot = snapshot();
    let web = snapshot.endpoints.get_mut(&WEB).expect("an endpoint");
    web.flags = ISOLATED_EGRESS | ISOLATED_INGRESS;
    let verdict = from_pod(&snapshot, &mut tcp(WEB, 40000, OUTSIDE, 80), 7);
    assert_eq!(verdict.action(), Action::Drop(Reason::POLICY_EGRESS));
    let steps = snapshot.take_steps();
    assert!(
        matches!(steps[0], Step::Endpoint(addr, _) if addr == WEB),
        "{steps:?}"
    );
    let no_rule = steps.iter().find_map(|s| match s {
        Step::NoRule(key) => Some(*key),
        _ => None,
    });
    let key = no_rule.expect("the key that no rule matched");
    assert_eq!(
        (key.endpoint, key.direction, key.port.get()),
        (1, policy::EGRESS, 80)
    );
    assert_eq!(steps.last(), Some(&Step::Verdict(verdict)));
}

#[test]
fn a_flow_without_room_is_a_drop_with_its_reason() {
    let mut snapshot = snapshot();
    let (pod, web) = (Addr::v4([10, 244, 1, 3]), snapshot.endpoints[&WEB]);
    let other = Endpoint {
        id: 2,
        ifindex: 8,
        ..web
    };
    snapshot.endpoints.insert(pod, other);
    snapshot.full.set(true);
    // To a pod a flow takes an entry of conntrack, to the outside one of NAT besides.
    for dst in [pod, OUTSIDE] {
        let verdict = from_pod(&snapshot, &mut tcp(WEB, 40000, dst, 80), 7);
        assert_eq!(verdict.action(), Action::Drop(Reason::MAP_FULL), "{dst}");
    }
}

#[test]
fn the_longest_prefix_gives_the_identity() {
    let mut snapshot = snapshot();
    let info = |identity| IpInfo {
        identity,
        flags: 0,
        node: Addr::UNSPECIFIED,
    };
    snapshot
        .ipcache
        .push((Addr::v4([192, 168, 0, 0]), 112, info(400)));
    snapshot
        .ipcache
        .push((Addr::v4([192, 168, 77, 0]), 120, info(401)));
    from_pod(&snapshot, &mut tcp(WEB, 40000, OUTSIDE, 80), 7);
    let conns = snapshot.conntrack.borrow();
    assert!(
        conns.values().any(|c| c.identity.contains(&401)),
        "{conns:?}"
    );
}

#[test]
fn a_service_that_changes_between_two_lookups_is_not_an_error_for_long() {
    let mut snapshot = snapshot();
    let key = ServiceKey {
        addr: SERVICE,
        port: Port::new(80),
        protocol: protocol::TCP,
        scope: 0,
    };
    snapshot.services.insert(
        key,
        Service {
            revision: 2,
            backends: 1,
            flags: 0,
            id: 1,
        },
    );
    let mut target = Target {
        addr: SERVICE,
        port: Port::new(80),
        protocol: protocol::TCP,
    };
    assert_eq!(
        socket::connect(&snapshot, &mut target, || 0),
        Outcome::Refused(Reason::NO_BACKEND),
        "no slot at all"
    );
    let slot = BackendKey {
        revision: 2,
        slot: 0,
    };
    let backend = Backend {
        addr: WEB,
        port: Port::new(8080),
        flags: 0,
        reserved: 0,
    };
    snapshot.backends.insert(slot, backend);
    let asked = target;
    let Outcome::Translated(service) = socket::connect(&snapshot, &mut target, || 0) else {
        panic!("not translated");
    };
    assert_eq!((target.addr, target.port.get()), (WEB, 8080));
    let known = socket::connected(&target, service);
    assert!(socket::reverse_connected(&mut target, &known));
    assert_eq!(target, asked);
    assert!(!socket::reverse_connected(&mut target, &known));
    socket::sendmsg(&snapshot, &mut target, 1, || 0);
    assert_eq!((target.addr, target.port.get()), (WEB, 8080));
    assert!(socket::reverse(&snapshot, &mut target, 1));
    assert_eq!(target, asked);
}

#[test]
fn a_flow_outlives_a_half_open_start_only_when_answered() {
    let snapshot = snapshot();
    let mut syn = tcp(WEB, 40000, OUTSIDE, 80);
    from_pod(&snapshot, &mut syn, 7);
    let answer = |snapshot: &Snapshot| {
        let mut p = tcp(OUTSIDE, 80, NODE, syn.src_port.get());
        p.tcp.flags = protocol::SYN | protocol::ACK;
        from_network(snapshot, &mut p)
    };
    assert!(matches!(
        answer(&snapshot).action(),
        Action::Deliver { ifindex: 7 }
    ));
    let idle = 30 * 60 * 1_000_000_000;
    snapshot.now_ns.set(snapshot.now_ns.get() + idle);
    let conns = snapshot.conntrack.borrow();
    let conn = conns.values().next().expect("a flow");
    let stale = naru_ebpf_logic::conntrack::is_stale(
        conn,
        protocol::TCP,
        &Timeouts::DEFAULT,
        snapshot.now_ns.get(),
    );
    assert!(
        !stale,
        "an established connection may be idle for half an hour"
    );
}

fn frame(p: &Packet) -> Vec<u8> {
    let mut bytes = vec![0; 12];
    bytes.extend_from_slice(&[
        0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, p.protocol, 0, 0,
    ]);
    bytes.extend_from_slice(&p.src.word_v4().to_ne_bytes());
    bytes.extend_from_slice(&p.dst.word_v4().to_ne_bytes());
    bytes.extend_from_slice(&p.src_port.0.to_ne_bytes());
    bytes.extend_from_slice(&p.dst_port.0.to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&[0x50, p.tcp.flags, 0, 0, 0, 0, 0, 0]);
    bytes
}

prop_compose! {
    fn any_packet()(src: [u8; 4], dst: [u8; 4], ports: [u16; 2], tcp: bool, flags: u8) -> Packet {
        let mut p = tcp_packet(src, dst, ports);
        p.protocol = if tcp { protocol::TCP } else { protocol::UDP };
        p.tcp.flags = if tcp { flags } else { 0 };
        p
    }
}

fn tcp_packet(src: [u8; 4], dst: [u8; 4], ports: [u16; 2]) -> Packet {
    tcp(Addr::v4(src), ports[0], Addr::v4(dst), ports[1])
}

proptest! {
    #[test]
    fn a_tuple_does_not_depend_on_the_direction(p in any_packet()) {
        let there = Tuple::new(&p.src, p.src_port, &p.dst, p.dst_port, p.protocol);
        let back = Tuple::new(&p.dst, p.dst_port, &p.src, p.src_port, p.protocol);
        prop_assert_eq!(there.0, back.0);
        let one_end = p.src == p.dst && p.src_port == p.dst_port;
        prop_assert!(one_end || there.1 != back.1);
    }

    #[test]
    fn what_was_written_is_what_is_parsed(p in any_packet()) {
        let mut parsed = Packet::default();
        prop_assert_eq!(parse::ethernet(&Bytes(&frame(&p)), &mut parsed), Ok(()));
        prop_assert_eq!((parsed.src, parsed.dst), (p.src, p.dst));
        prop_assert_eq!((parsed.src_port, parsed.dst_port), (p.src_port, p.dst_port));
        prop_assert_eq!((parsed.protocol, parsed.tcp.flags), (p.protocol, p.tcp.flags));
    }

    #[test]
    fn no_bytes_make_the_parser_fail_badly(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let mut p = Packet::default();
        match parse::ethernet(&Bytes(&bytes), &mut p) {
            Ok(()) => prop_assert!(p.l4_offset >= 34),
            Err(Other::Drop(reason)) => prop_assert!(reason != Reason::FORWARDED),
            Err(_) => {}
        }
    }

    #[test]
    fn the_answer_to_a_masqueraded_packet_becomes_the_answer_to_the_original(
        port in 1_u16.., dst_port in 1_u16.., last in 3_u8..100,
    ) {
        let snapshot = snapshot();
        let dst = Addr::v4([203, 0, 113, last]);
        let mut p = tcp(WEB, port, dst, dst_port);
        prop_assert!(from_pod(&snapshot, &mut p, 7).is_rewritten());
        prop_assert_eq!(p.src, NODE);
        let mut back = tcp(p.dst, p.dst_port.get(), p.src, p.src_port.get());
        back.tcp.flags = protocol::SYN | protocol::ACK;
        let verdict = from_network(&snapshot, &mut back);
        prop_assert!(matches!(verdict.action(), Action::Deliver { ifindex: 7 }), "{:?}", verdict);
        prop_assert_eq!((back.dst, back.dst_port.get()), (WEB, port));
    }
}
