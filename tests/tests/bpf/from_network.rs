//! Packets that arrive on the uplink.

use naru_ebpf_common::protocol::{ACK, SYN, TCP, UDP};
use naru_ebpf_common::{Addr, Port, Reason, names, policy};

use super::addresses::*;
use super::node::{self, Node, PASS, REDIRECT};
use crate::frames::{self, ends};
use crate::numbers::*;

#[test]
fn a_remote_pod_reaches_a_local_one_as_its_policy_says() {
    let Some(mut node) = Node::new() else { return };
    let frame = frames::tcp(ends(REMOTE, 40000, WEB, 80), SYN);
    node.isolate(WEB, 2);
    node.drops(names::FROM_NETWORK, &frame, Reason::POLICY_INGRESS);
    node.allow(1, policy::INGRESS, ID_REMOTE, 80);
    let out = node.from_network(&frame);
    assert_eq!((out.action, out.frame), (REDIRECT, frame));
}

#[test]
fn addresses_of_this_node_do_not_arrive_from_the_network() {
    let Some(mut node) = Node::new() else { return };
    for src in [API, NODE, INGRESS] {
        let frame = frames::udp(ends(src, 1, WEB, 53));
        node.drops(names::FROM_NETWORK, &frame, Reason::SPOOFED_NETWORK);
    }
}

#[test]
fn the_nodes_own_traffic_passes_untouched() {
    let Some(mut node) = Node::new() else { return };
    let cases = [
        frames::tcp(ends(OUTSIDE, 40000, NODE, 22), SYN),
        frames::udp(ends(OUTSIDE, 53, NODE, 40000)),
        frames::tcp(ends(OUTSIDE, 40000, NODE, 31999), SYN),
        frames::tcp(ends(NODE2, 10250, NODE, 61234), SYN),
        frames::tcp(ends(REMOTE, 80, INGRESS, 40000), SYN),
        frames::echo(ends(OUTSIDE, 9, NODE, 9), false),
    ];
    for frame in cases {
        let out = node.from_network(&frame);
        assert_eq!((out.action, out.frame), (PASS, frame));
    }
}

#[test]
fn a_pod_address_that_no_pod_has_is_a_drop_with_its_reason() {
    let Some(mut node) = Node::new() else { return };
    let frame = frames::udp(ends(OUTSIDE, 1, NOBODY, 53));
    node.drops(names::FROM_NETWORK, &frame, Reason::NO_ENDPOINT);
}

#[test]
fn a_node_port_with_a_local_backend_keeps_the_clients_address() {
    let Some(mut node) = Node::new() else { return };
    a_local_backend_is_met_at(&mut node, NODE);
}

#[test]
fn a_node_port_is_at_every_address_of_the_node_and_answers_from_there() {
    let Some(mut node) = Node::new() else { return };
    a_local_backend_is_met_at(&mut node, SECOND);
    // A pod whose socket was not seen.
    node.service(NODE.any(), 30081, TCP, &[(API, 8080)]);
    let there = node.from_pod(&frames::tcp(ends(WEB, 40000, SECOND, 30081), SYN));
    assert_eq!(
        (there.action, there.ends()),
        (REDIRECT, ends(WEB, 40000, API, 8080))
    );
}

fn a_local_backend_is_met_at(node: &mut Node, addr: Addr) {
    node.service(NODE.any(), 30080, TCP, &[(WEB, 8080)]);
    let there = node.from_network(&frames::tcp(ends(OUTSIDE, 40000, addr, 30080), SYN));
    assert_eq!(
        (there.action, there.ends()),
        (REDIRECT, ends(OUTSIDE, 40000, WEB, 8080))
    );
    let answer = node.from_pod(&frames::tcp(there.ends().back(), SYN | ACK));
    assert_eq!(
        (answer.action, answer.ends()),
        (REDIRECT, ends(addr, 30080, OUTSIDE, 40000))
    );
}

#[test]
fn a_node_port_is_at_no_address_of_others() {
    let Some(mut node) = Node::new() else { return };
    node.service(NODE.any(), 30080, TCP, &[(WEB, 8080)]);
    for other in [NODE2, VIP, INGRESS, DNS] {
        let frame = frames::tcp(ends(OUTSIDE, 40000, other, 30080), SYN);
        let out = node.from_network(&frame);
        assert_eq!((out.action, out.frame), (PASS, frame), "{other}");
    }
}

#[test]
fn the_answer_of_a_local_backend_comes_from_the_node_port() {
    let Some(mut node) = Node::new() else { return };
    node.service(NODE.any(), 30053, UDP, &[(WEB, 53)]);
    let there = node.from_network(&frames::udp(ends(OUTSIDE, 40000, NODE, 30053)));
    let back = node.from_pod(&frames::udp(there.ends().back()));
    assert_eq!(
        (back.action, back.ends()),
        (REDIRECT, ends(NODE, 30053, OUTSIDE, 40000))
    );
}

#[test]
fn a_node_port_with_a_remote_backend_goes_out_under_the_nodes_address() {
    let Some(mut node) = Node::new() else { return };
    node.service(NODE.any(), 30080, TCP, &[(REMOTE, 8080)]);
    let there = node.from_network(&frames::tcp(ends(OUTSIDE, 40000, NODE, 30080), SYN));
    let sent = there.ends();
    assert_eq!(
        (there.action, sent.src, sent.dst, sent.dst_port),
        (REDIRECT, NODE, REMOTE, 8080)
    );
    assert!(node::config().is_snat_port(Port::new(sent.src_port)));
    let back = node.from_network(&frames::tcp(sent.back(), SYN | ACK));
    assert_eq!(
        (back.action, back.ends()),
        (REDIRECT, ends(NODE, 30080, OUTSIDE, 40000))
    );
}

#[test]
fn policy_applies_to_a_node_ports_client() {
    let Some(mut node) = Node::new() else { return };
    node.service(NODE.any(), 30080, TCP, &[(WEB, 8080)]);
    node.isolate(WEB, 2);
    let frame = frames::tcp(ends(OUTSIDE, 40000, NODE, 30080), SYN);
    node.drops(names::FROM_NETWORK, &frame, Reason::POLICY_INGRESS);
}

#[test]
fn the_answer_to_a_masqueraded_packet_finds_its_pod() {
    let Some(mut node) = Node::new() else { return };
    let flow = ends(WEB, 40000, OUTSIDE, 80);
    let sent = node.from_pod(&frames::tcp(flow, SYN)).ends();
    let back = node.from_network(&frames::tcp(sent.back(), SYN | ACK));
    assert_eq!((back.action, back.ends()), (REDIRECT, flow.back()));
    let ping = ends(WEB, 7, OUTSIDE, 7);
    let sent = node.from_pod(&frames::echo(ping, false)).ends();
    let back = node.from_network(&frames::echo(sent.back(), true));
    assert_eq!((back.action, back.ends()), (REDIRECT, ping.back()));
}

#[test]
fn an_error_about_a_masqueraded_packet_reaches_its_pod_with_the_original_inside() {
    let Some(mut node) = Node::new() else { return };
    let flow = ends(WEB, 40000, OUTSIDE, 80);
    let sent = node.from_pod(&frames::tcp(flow, SYN));
    let out = node.from_network(&frames::unreachable(ROUTER, &sent.frame));
    assert_eq!(out.action, REDIRECT);
    let outer = out.ends();
    assert_eq!((outer.src, outer.dst), (ROUTER, WEB));
    assert_eq!(frames::embedded(&out.frame), flow);
}
