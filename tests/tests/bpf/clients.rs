//! Services that look at their clients: session affinity, traffic policies, source ranges, ports
//! of the host.

use naru_ebpf_common::protocol::{ACK, RST, SYN, TCP, UDP};
use naru_ebpf_common::service::{ELSEWHERE, EXTERNAL, LOCAL_ONLY, RANGED, SCOPE_OUTSIDE};
use naru_ebpf_common::{Addr, Reason, config, counter, names};

use super::addresses::*;
use super::node::{self, Node, PASS, REDIRECT};
use super::services::Entry;
use crate::frames::{self, Ends, ends};

const BACKENDS: [(Addr, u16); 4] = [(API, 8001), (API, 8002), (API, 8003), (API, 8004)];

/// Ports of the backends that `flows` new flows of WEB to the service meet.
fn met(node: &mut Node, flows: std::ops::Range<u16>) -> Vec<u16> {
    let one = |port| {
        let out = node.from_pod(&frames::tcp(ends(WEB, port, SERVICE, 80), SYN));
        assert_eq!(out.action, REDIRECT);
        out.ends().dst_port
    };
    flows.map(one).collect()
}

#[test]
fn a_client_keeps_its_backend_from_flow_to_flow() {
    let Some(mut node) = Node::new() else { return };
    node.affine_service((SERVICE, 80, TCP), 10_800, 0, &BACKENDS);
    let met = met(&mut node, 40000..40030);
    assert!(met.iter().all(|port| *port == met[0]), "{met:?}");
    let kept = node.kept(WEB).expect("a backend is kept");
    assert_eq!((kept.addr, kept.port.get()), (API, met[0]));
}

#[test]
fn without_affinity_nothing_is_kept() {
    let Some(mut node) = Node::new() else { return };
    node.service(SERVICE, 80, TCP, &BACKENDS);
    let met = met(&mut node, 40000..40060);
    assert!(met.iter().any(|port| *port != met[0]), "{met:?}");
    assert_eq!(node.kept(WEB), None);
}

#[test]
fn a_backend_that_left_is_chosen_anew_and_one_that_moved_is_kept() {
    let Some(mut node) = Node::new() else { return };
    node.affine_service((SERVICE, 80, TCP), 10_800, 0, &BACKENDS);
    let first = met(&mut node, 40000..40001)[0];
    let mut others = BACKENDS.to_vec();
    others.reverse();
    node.affine_service((SERVICE, 80, TCP), 10_800, 1, &others);
    assert!(met(&mut node, 40001..40020).iter().all(|p| *p == first));
    others.retain(|(_, port)| *port != first);
    node.affine_service((SERVICE, 80, TCP), 10_800, 2, &others);
    let met = met(&mut node, 40020..40040);
    assert!(
        met[0] != first && met.iter().all(|port| *port == met[0]),
        "{met:?}"
    );
}

#[test]
fn affinity_ends_when_the_client_was_idle_for_too_long() {
    let Some(mut node) = Node::new() else { return };
    node.affine_service((SERVICE, 80, TCP), 1, 0, &BACKENDS);
    let first = met(&mut node, 40000..40001)[0];
    let moved = (0..60).any(|n: u16| {
        node.age_kept(WEB);
        met(&mut node, 41000 + n..41001 + n)[0] != first
    });
    assert!(moved, "the backend of an idle client never changed");
}

#[test]
fn clients_of_a_node_port_keep_their_backends_too() {
    let Some(mut node) = Node::new() else { return };
    node.affine_service((NODE.any(), 30080, TCP), 60, 0, &BACKENDS);
    let one = |node: &mut Node, port| {
        let frame = frames::tcp(ends(OUTSIDE, port, NODE, 30080), SYN);
        node.from_network(&frame).ends().dst_port
    };
    let first = one(&mut node, 40000);
    assert!((40001..40030).all(|port| one(&mut node, port) == first));
    assert!(node.kept(OUTSIDE).is_some());
}

fn external(node: &mut Node, scope: u8, flags: u32, backends: &[(Addr, u16)]) {
    node.entry(&Entry {
        addr: VIP,
        port: 80,
        protocol: TCP,
        scope,
        flags: EXTERNAL | flags,
        version: 0,
        backends,
    });
}

#[test]
fn the_outside_and_pods_meet_different_backends_where_the_policy_says_so() {
    let Some(mut node) = Node::new() else { return };
    external(&mut node, 0, LOCAL_ONLY, &[(REMOTE, 8080)]);
    external(&mut node, SCOPE_OUTSIDE, LOCAL_ONLY, &[(WEB, 8080)]);
    let there = node.from_network(&frames::tcp(ends(OUTSIDE, 40000, VIP, 80), SYN));
    assert_eq!(
        (there.action, there.ends()),
        (REDIRECT, ends(OUTSIDE, 40000, WEB, 8080)),
        "the source is kept"
    );
    let back = node.from_pod(&frames::tcp(there.ends().back(), SYN | ACK));
    assert_eq!(back.ends(), ends(VIP, 80, OUTSIDE, 40000));
    let pod = node.from_pod(&frames::tcp(ends(WEB, 40000, VIP, 80), SYN));
    assert_eq!(pod.ends(), ends(WEB, 40000, REMOTE, 8080));
}

#[test]
fn without_an_endpoint_here_a_local_policy_drops() {
    let Some(mut node) = Node::new() else { return };
    external(&mut node, 0, LOCAL_ONLY, &[(REMOTE, 8080)]);
    external(&mut node, SCOPE_OUTSIDE, LOCAL_ONLY | ELSEWHERE, &[]);
    let frame = frames::tcp(ends(OUTSIDE, 40000, VIP, 80), SYN);
    node.drops(names::FROM_NETWORK, &frame, Reason::NO_LOCAL_BACKEND);
    external(&mut node, SCOPE_OUTSIDE, LOCAL_ONLY, &[]);
    let answer = node.refuses(names::FROM_NETWORK, counter::FROM_NETWORK, &frame);
    assert_eq!(frames::segment_of(&answer).2, RST | ACK);
}

#[test]
fn only_source_ranges_reach_a_load_balancer_that_has_some() {
    let Some(mut node) = Node::new() else { return };
    external(&mut node, 0, RANGED, &[(WEB, 8080)]);
    let frame = frames::tcp(ends(OUTSIDE, 40000, VIP, 80), SYN);
    node.drops(names::FROM_NETWORK, &frame, Reason::SOURCE_RANGE);
    node.range(NODE_NET);
    assert_eq!(node.from_network(&frame).action, REDIRECT);
    let pod = frames::tcp(ends(API, 40000, VIP, 80), SYN);
    node.drops(names::FROM_NETWORK, &pod, Reason::SPOOFED_NETWORK);
    let pod = frames::tcp(ends(WEB, 40000, VIP, 80), SYN);
    node.drops(names::FROM_POD, &pod, Reason::SOURCE_RANGE);
}

#[test]
fn an_endpoint_on_the_nodes_own_network_is_a_drop_with_its_reason() {
    let Some(mut node) = Node::new() else { return };
    node.service(SERVICE, 80, TCP, &[(NODE, 6443)]);
    let frame = frames::tcp(ends(WEB, 40000, SERVICE, 80), SYN);
    node.drops(names::FROM_POD, &frame, Reason::HOST_BACKEND);
    node.service(NODE.any(), 30080, TCP, &[(NODE, 6443)]);
    let frame = frames::tcp(ends(OUTSIDE, 40000, NODE, 30080), SYN);
    node.drops(names::FROM_NETWORK, &frame, Reason::HOST_BACKEND);
}

#[test]
fn a_port_of_the_host_leads_to_its_pod_when_the_node_has_any() {
    let Some(mut node) = Node::new() else { return };
    for protocol in [TCP, UDP] {
        node.service(NODE, 8443, protocol, &[(WEB, 443)]);
    }
    let asked: Ends = ends(OUTSIDE, 40000, NODE, 8443);
    let frame = frames::tcp(asked, SYN);
    assert_eq!(node.from_network(&frame).action, PASS, "nobody looks");
    have_host_ports(&mut node);
    let there = node.from_network(&frame);
    assert_eq!(
        (there.action, there.ends()),
        (REDIRECT, ends(OUTSIDE, 40000, WEB, 443))
    );
    let back = node.from_pod(&frames::tcp(there.ends().back(), SYN | ACK));
    assert_eq!(back.ends(), asked.back());
    let there = node.from_network(&frames::udp(asked));
    assert_eq!(there.ends(), ends(OUTSIDE, 40000, WEB, 443));
    let ssh = frames::tcp(ends(OUTSIDE, 40000, NODE, 22), SYN);
    assert_eq!(node.from_network(&ssh).action, PASS);
    let node_agent = frames::tcp(ends(WEB, 40000, NODE, 10250), SYN);
    assert_eq!(node.from_pod(&node_agent).action, PASS);
}

#[test]
fn a_port_of_the_host_may_be_at_one_address_of_the_node() {
    let Some(mut node) = Node::new() else { return };
    have_host_ports(&mut node);
    for (port, target) in [(8443, 443), (30443, 444)] {
        node.service(SECOND, port, TCP, &[(WEB, target)]);
        let there = node.from_network(&frames::tcp(ends(OUTSIDE, 40000, SECOND, port), SYN));
        assert_eq!(there.ends(), ends(OUTSIDE, 40000, WEB, target));
        let elsewhere = frames::tcp(ends(OUTSIDE, 40000, NODE, port), SYN);
        assert_eq!(node.from_network(&elsewhere).action, PASS);
    }
}

fn have_host_ports(node: &mut Node) {
    let mut config = node::config();
    config.flags = config::HOST_PORTS;
    node.configure(config);
}
