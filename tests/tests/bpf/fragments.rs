//! Packets in parts.

use naru_ebpf_common::fragment::FOLLOW_NS;
use naru_ebpf_common::protocol::{SYN, TCP, UDP};
use naru_ebpf_common::{FragmentKey, Fragmented, Reason, names};

use super::addresses::*;
use super::node::{Node, REDIRECT};
use crate::frames::{self, ends};

/// The frame in parts, sent by a pod one after the other, put together again.
fn from_pod(node: &mut Node, frame: &[u8]) -> Vec<u8> {
    through(node, names::FROM_POD, frame)
}

fn from_network(node: &mut Node, frame: &[u8]) -> Vec<u8> {
    through(node, names::FROM_NETWORK, frame)
}

fn through(node: &mut Node, program: &str, frame: &[u8]) -> Vec<u8> {
    let [first, later] = frames::parts(frame).map(|part| {
        let out = node.run(program, &part);
        assert_eq!(out.action, REDIRECT);
        out.frame
    });
    frames::joined(&first, &later)
}

#[test]
fn both_parts_go_the_way_of_the_whole() {
    let Some(mut node) = Node::new() else { return };
    let flow = ends(WEB, 40000, API, 53);
    let sent = from_pod(&mut node, &frames::udp(flow));
    assert_eq!(frames::parse(&sent), flow);
    assert!(node.conn(flow, UDP).is_some());
}

#[test]
fn a_part_that_overtakes_the_first_or_comes_much_later_is_dropped() {
    let Some(mut node) = Node::new() else { return };
    let [first, later] = frames::parts(&frames::udp(ends(WEB, 40000, API, 53)));
    node.drops(names::FROM_POD, &later, Reason::FRAGMENT);
    assert_eq!(node.from_pod(&first).action, REDIRECT);
    assert_eq!(node.from_pod(&later).action, REDIRECT);
    let mut map = node.hash::<FragmentKey, Fragmented>(names::FRAGMENTS);
    let (key, seen) = map.iter().next().expect("a packet").expect("readable");
    // A time to come is as wrong as one long past, and the machine may be young.
    let other_time = Fragmented {
        seen_ns: seen.seen_ns.wrapping_sub(FOLLOW_NS + 1_000_000_000),
        ..seen
    };
    map.insert(key, other_time, 0).expect("written");
    node.drops(names::FROM_POD, &later, Reason::FRAGMENT);
}

#[test]
fn parts_to_a_service_meet_one_backend_and_their_answer_is_the_services() {
    let Some(mut node) = Node::new() else { return };
    let backends: Vec<_> = (0..8).map(|i| (REMOTE, 8000 + i)).collect();
    node.service(SERVICE, 53, UDP, &backends);
    let sent = frames::parse(&from_pod(
        &mut node,
        &frames::udp(ends(WEB, 40000, SERVICE, 53)),
    ));
    assert_eq!((sent.src, sent.dst), (WEB, REMOTE));
    let back = from_network(&mut node, &frames::udp(sent.back()));
    assert_eq!(frames::parse(&back), ends(SERVICE, 53, WEB, 40000));
}

#[test]
fn parts_to_the_outside_are_masqueraded_alike() {
    let Some(mut node) = Node::new() else { return };
    let flow = ends(WEB, 40000, OUTSIDE, 53);
    let sent = frames::parse(&from_pod(&mut node, &frames::udp(flow)));
    assert_eq!((sent.src, sent.dst), (NODE, OUTSIDE));
    let back = from_network(&mut node, &frames::udp(sent.back()));
    assert_eq!(frames::parse(&back), flow.back());
    let ping = ends(WEB, 7, OUTSIDE, 7);
    let sent = frames::parse(&from_pod(&mut node, &frames::echo(ping, false)));
    let back = from_network(&mut node, &frames::echo(sent.back(), true));
    assert_eq!(frames::parse(&back), ping.back());
}

#[test]
fn parts_are_judged_as_their_flow() {
    let Some(mut node) = Node::new() else { return };
    node.isolate(WEB, 2);
    for part in frames::parts(&frames::udp(ends(WEB, 40000, API, 53))) {
        node.drops(names::FROM_POD, &part, Reason::POLICY_EGRESS);
    }
}

#[test]
fn a_first_part_too_short_for_its_header_is_malformed() {
    let Some(mut node) = Node::new() else { return };
    let [first, _] = frames::parts(&frames::tcp(ends(WEB, 40000, API, 80), SYN));
    node.drops(names::FROM_POD, &first, Reason::MALFORMED);
    assert!(node.conn(ends(WEB, 40000, API, 80), TCP).is_none());
}
