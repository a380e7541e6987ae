//! What only IPv6 has: matters of the link in ICMPv6, extension headers, packets that are too big.

use naru_ebpf_common::protocol::{ICMPV6, SYN, TCP};
use naru_ebpf_common::{Addr, Reason, names};

use super::addresses::*;
use super::node::{Node, PASS, REDIRECT};
use crate::frames::{self, ends};

/// The type of a packet that is too big, with its code.
const TOO_BIG: [u8; 2] = [2, 0];

#[test]
fn neighbours_and_listeners_are_a_matter_of_the_stack() {
    let Some(mut node) = Node::new() else { return };
    for kind in [133, 135, 136, 143] {
        let message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        let frame = frames::icmp(ends(WEB, 0, GATEWAY, 0), message);
        assert_eq!(node.from_pod(&frame).action, PASS, "{kind}");
        assert_eq!(node.to_pod(&frame).action, PASS, "{kind}");
    }
}

#[test]
fn a_packet_with_options_is_judged_by_what_follows_them() {
    let Some(mut node) = Node::new() else { return };
    let flow = ends(WEB, 40000, API, 80);
    let long = frames::prolonged(&frames::tcp(flow, SYN));
    assert_eq!(node.from_pod(&long).action, REDIRECT);
    assert!(node.conn(flow, TCP).is_some());
}

#[test]
fn too_many_headers_and_a_route_of_its_own_are_not_judgeable() {
    let Some(mut node) = Node::new() else { return };
    let mut frame = frames::tcp(ends(WEB, 40000, API, 80), SYN);
    for _ in 0..3 {
        frame = frames::prolonged(&frame);
    }
    node.drops(names::FROM_POD, &frame, Reason::PROTOCOL_UNSUPPORTED);
    let routing = frames::ip(ends(WEB, 1, API, 1), 43, vec![0; 24]);
    node.drops(names::FROM_POD, &routing, Reason::PROTOCOL_UNSUPPORTED);
}

#[test]
fn nobody_may_claim_to_be_ipv4() {
    let Some(mut node) = Node::new() else { return };
    let mapped = Addr::v4([10, 244, 1, 2]);
    let mut frame = frames::udp(ends(WEB, 1, API, 53));
    frame[14 + 8..14 + 24].copy_from_slice(&mapped.bytes());
    node.drops(names::FROM_POD, &frame, Reason::MALFORMED);
}

#[test]
fn a_masqueraded_pod_hears_that_its_packet_was_too_big() {
    let Some(mut node) = Node::new() else { return };
    let flow = ends(WEB, 40000, OUTSIDE, 80);
    let sent = node.from_pod(&frames::tcp(flow, SYN));
    let error = frames::error(ROUTER, TOO_BIG, 1280, &sent.frame);
    let out = node.from_network(&error);
    assert_eq!((out.action, out.ends().dst), (REDIRECT, WEB));
    assert_eq!(frames::embedded(&out.frame), flow);
    assert_eq!(frames::number_of(&out.frame), 1280);
}

#[test]
fn an_echo_is_tracked_by_its_identifier() {
    let Some(mut node) = Node::new() else { return };
    let flow = ends(WEB, 7, OUTSIDE, 7);
    let sent = node.from_pod(&frames::echo(flow, false)).ends();
    assert_eq!(sent.src, NODE);
    let back = node.from_network(&frames::echo(sent.back(), true));
    assert_eq!((back.action, back.ends()), (REDIRECT, flow.back()));
    assert!(node.conn(flow, ICMPV6).is_some());
}
