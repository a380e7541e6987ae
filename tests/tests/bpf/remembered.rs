//! What a flow remembers of its ends, and when it may not use it.

use naru_ebpf_common::protocol::{ACK, FIN, RST, SYN, TCP};
use naru_ebpf_common::{NodeConfig, Pace, Reason, flow, names};

use super::addresses::*;
use super::node::{self, Node, REDIRECT};
use crate::frames::{self, Ends, ends};
use crate::numbers::*;

#[test]
fn a_known_flow_needs_no_other_lookup_until_the_epoch_ends() {
    let Some(mut node) = Node::new() else { return };
    let e = ends(WEB, 40000, API, 80);
    assert_eq!(node.from_pod(&frames::tcp(e, SYN)).action, REDIRECT);
    let conn = node.conn(e, TCP).expect("a flow");
    assert_eq!(conn.ifindex, [WEB_IFINDEX, API_IFINDEX]);
    node.remove_silently(API);
    node.remove_silently(WEB);
    assert_eq!(node.from_pod(&frames::tcp(e, ACK)).action, REDIRECT);
    node.forget_ends();
    node.drops(
        names::FROM_POD,
        &frames::tcp(e, ACK),
        Reason::SPOOFED_SOURCE,
    );
}

#[test]
fn a_remembered_flow_lets_nobody_use_anothers_address() {
    let Some(mut node) = Node::new() else { return };
    let e = ends(WEB, 40000, API, 80);
    node.from_pod(&frames::tcp(e, SYN));
    let before = node.conn(e, TCP).expect("a flow");
    // The answer comes from API's interface, not from the one that test runs arrive on.
    let forged = frames::tcp(ends(API, 80, WEB, 40000), RST | ACK);
    node.drops(names::FROM_POD, &forged, Reason::SPOOFED_SOURCE);
    assert_eq!(node.conn(e, TCP), Some(before));
}

#[test]
fn the_network_may_not_continue_a_flow_between_local_pods() {
    let Some(mut node) = Node::new() else { return };
    let e = ends(WEB, 40000, API, 80);
    node.from_pod(&frames::tcp(e, SYN));
    let forged = frames::tcp(ends(API, 80, WEB, 40000), ACK);
    node.drops(names::FROM_NETWORK, &forged, Reason::SPOOFED_NETWORK);
}

#[test]
fn a_flow_from_the_network_is_remembered_too() {
    let Some(mut node) = Node::new() else { return };
    let e = ends(REMOTE, 40000, WEB, 80);
    assert_eq!(node.from_network(&frames::tcp(e, SYN)).action, REDIRECT);
    let conn = node.conn(e, TCP).expect("a flow");
    let mut ifindexes = conn.ifindex;
    ifindexes.sort_unstable();
    assert_eq!(ifindexes, [0, WEB_IFINDEX]);
    node.remove_silently(WEB);
    assert_eq!(node.from_network(&frames::tcp(e, ACK)).action, REDIRECT);
    node.forget_ends();
    node.drops(
        names::FROM_NETWORK,
        &frames::tcp(e, ACK),
        Reason::NO_ENDPOINT,
    );
}

#[test]
fn a_fragment_is_no_packet_of_a_remembered_flow() {
    let Some(mut node) = Node::new() else { return };
    let e = ends(WEB, 40000, API, 80);
    node.from_pod(&frames::tcp(e, SYN));
    let known = frames::tcp(e, ACK);
    assert_eq!(node.from_pod(&known).action, REDIRECT);
    let [_, later] = frames::parts(&known);
    node.drops(names::FROM_POD, &later, Reason::FRAGMENT);
}

#[test]
fn a_change_of_policy_ends_what_was_remembered() {
    let Some(mut node) = Node::new() else { return };
    let e = ends(WEB, 40000, API, 80);
    node.from_pod(&frames::tcp(e, SYN));
    assert_eq!(node.from_pod(&frames::tcp(e, ACK)).action, REDIRECT);
    node.isolate(WEB, 2);
    node.drops(names::FROM_POD, &frames::tcp(e, ACK), Reason::POLICY_EGRESS);
}

#[test]
fn flags_of_a_remembered_flow_are_still_noted() {
    let Some(mut node) = Node::new() else { return };
    let e = ends(WEB, 40000, API, 80);
    node.from_pod(&frames::tcp(e, SYN));
    node.from_pod(&frames::tcp(e, RST | ACK));
    let conn = node.conn(e, TCP).expect("a flow");
    let sides = conn.sides[0] | conn.sides[1];
    assert_eq!(sides & (flow::SEEN | RST), flow::SEEN | RST);
}

#[test]
fn nothing_is_remembered_without_an_epoch() {
    let Some(mut node) = Node::new() else { return };
    node.configure(NodeConfig {
        epoch: 0,
        ..node::config()
    });
    let e = ends(WEB, 40000, API, 80);
    assert_eq!(node.from_pod(&frames::tcp(e, SYN)).action, REDIRECT);
    node.remove_silently(WEB);
    node.drops(
        names::FROM_POD,
        &frames::tcp(e, ACK),
        Reason::SPOOFED_SOURCE,
    );
}

/// An open flow from [`REMOTE`] to [`WEB`], whose last packet arrives on the uplink, and one whose
/// last packet leaves by it; closed up to the last acknowledgement, which has the number 301.
fn closed(node: &mut Node, opener: Ends, answered: bool) {
    let into = opener.dst == WEB;
    let send = |node: &mut Node, there: bool, frame: &[u8]| {
        let action = if there == into {
            node.from_network(frame).action
        } else {
            node.from_pod(frame).action
        };
        assert_eq!(action, REDIRECT);
    };
    let (there, back) = (opener, opener.back());
    send(node, true, &frames::segment(there, SYN, 100, 0));
    send(node, false, &frames::segment(back, SYN | ACK, 200, 101));
    send(node, true, &frames::segment(there, FIN | ACK, 101, 201));
    let ack = if answered { 102 } else { 101 };
    send(node, false, &frames::segment(back, FIN | ACK, 300, ack));
}

/// A rush on every processor, in a window that began so late that it never ends.
fn rush(node: &mut Node) {
    node.pace(
        Pace::FLOWS,
        Pace {
            since_ns: u64::MAX,
            times: Pace::RUSH,
            ..Pace::default()
        },
    );
}

#[test]
fn in_a_rush_the_last_acknowledgement_into_a_pod_ends_what_is_known() {
    let Some(mut node) = Node::new() else { return };
    rush(&mut node);
    let e = ends(REMOTE, 40000, WEB, 80);
    closed(&mut node, e, true);
    // Older data is acknowledged first.
    node.from_network(&frames::segment(e, ACK, 102, 300));
    assert!(node.conn(e, TCP).is_some(), "ended too early");
    let last = frames::segment(e, ACK, 102, 301);
    assert_eq!(node.from_network(&last).action, REDIRECT);
    assert_eq!(node.conn(e, TCP), None);
}

#[test]
fn a_closed_flow_stays_when_there_is_no_rush() {
    let Some(mut node) = Node::new() else { return };
    let e = ends(REMOTE, 40000, WEB, 80);
    closed(&mut node, e, true);
    node.from_network(&frames::segment(e, ACK, 102, 301));
    assert!(node.conn(e, TCP).is_some());
}

#[test]
fn both_ends_may_close_at_once() {
    let Some(mut node) = Node::new() else { return };
    rush(&mut node);
    let e = ends(REMOTE, 40000, WEB, 80);
    closed(&mut node, e, false);
    node.from_network(&frames::segment(e, ACK, 102, 301));
    assert!(
        node.conn(e, TCP).is_some(),
        "the other end still acknowledges"
    );
}

#[test]
fn a_last_acknowledgement_to_the_opener_ends_it_too_for_its_fin_would_be_let_in_again() {
    let Some(mut node) = Node::new() else { return };
    rush(&mut node);
    let there = ends(REMOTE, 40000, WEB, 80);
    let back = there.back();
    node.from_network(&frames::segment(there, SYN, 100, 0));
    node.from_pod(&frames::segment(back, SYN | ACK, 200, 101));
    node.from_pod(&frames::segment(back, FIN | ACK, 201, 101));
    let fin = frames::segment(there, FIN | ACK, 101, 202);
    assert_eq!(node.from_network(&fin).action, REDIRECT);
    assert!(node.conn(there, TCP).is_some(), "ended too early");
    let last = frames::segment(back, ACK, 202, 102);
    assert_eq!(node.from_pod(&last).action, REDIRECT);
    assert_eq!(node.conn(there, TCP), None);
    // The wire lost it.
    assert_eq!(node.from_network(&fin).action, REDIRECT);
    assert_eq!(node.from_pod(&last).action, REDIRECT);
}

#[test]
fn the_next_hop_to_another_nodes_pod_is_that_node() {
    let Some(mut node) = Node::new() else { return };
    let hop = |node: &mut Node, e: Ends| node.conn(e, TCP).expect("a flow").next_hop;
    let leaving = ends(WEB, 40000, REMOTE, 80);
    node.from_pod(&frames::tcp(leaving, SYN));
    assert_eq!(hop(&mut node, leaving), HOP_TO_NODE2);
    let arriving = ends(REMOTE, 40001, WEB, 80);
    node.from_network(&frames::tcp(arriving, SYN));
    assert_eq!(hop(&mut node, arriving), HOP_TO_NODE2);
    let to_node = ends(WEB, 40002, NODE2, 80);
    node.from_pod(&frames::tcp(to_node, SYN));
    assert_eq!(hop(&mut node, to_node), HOP_UNKNOWN, "the routes know");
}

#[test]
fn a_last_acknowledgement_that_may_get_lost_ends_nothing() {
    let Some(mut node) = Node::new() else { return };
    rush(&mut node);
    let e = ends(WEB, 40000, REMOTE, 80);
    closed(&mut node, e, true);
    node.from_pod(&frames::segment(e, ACK, 102, 301));
    assert!(node.conn(e, TCP).is_some());
}
