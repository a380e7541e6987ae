//! A packet's life, from hook to hook, and what is told about it.

use naru_ebpf_common::event::{DROP, FLOW_END, FLOW_START, VERDICT};
use naru_ebpf_common::protocol::{ACK, FIN, SYN, TCP};
use naru_ebpf_common::{Reason, config, flow, names, policy};

use super::addresses::*;
use super::node::{self, Node, REDIRECT};
use crate::frames::{self, ends};
use crate::numbers::*;

#[test]
fn a_watched_connection_to_another_node_starts_and_ends() {
    let Some(mut node) = Node::new() else { return };
    let mut config = node::config();
    config.flags = config::FLOW_EVENTS;
    node.configure(config);
    let there = ends(WEB, 40000, REMOTE, 80);
    let back = there.back();

    assert_eq!(node.from_pod(&frames::tcp(there, SYN)).action, REDIRECT);
    assert_eq!(node.event_kinds(), [FLOW_START]);
    assert_eq!(
        node.from_network(&frames::tcp(back, SYN | ACK)).action,
        REDIRECT
    );
    assert_eq!(node.from_pod(&frames::tcp(there, ACK)).action, REDIRECT);
    assert!(node.event_kinds().is_empty());
    let conn = node.conn(there, TCP).expect("a flow");
    assert!(conn.sides.iter().all(|s| s & flow::SEEN != 0), "{conn:?}");

    assert_eq!(
        node.from_pod(&frames::tcp(there, FIN | ACK)).action,
        REDIRECT
    );
    assert!(node.event_kinds().is_empty());
    assert_eq!(
        node.from_network(&frames::tcp(back, FIN | ACK)).action,
        REDIRECT
    );
    assert_eq!(node.event_kinds(), [FLOW_END]);
}

#[test]
fn an_unwatched_flow_sends_no_event() {
    let Some(mut node) = Node::new() else { return };
    node.from_pod(&frames::tcp(ends(WEB, 40000, API, 80), SYN));
    assert!(node.events().is_empty());
}

#[test]
fn a_flow_judged_again_is_reported_with_its_rule() {
    let Some(mut node) = Node::new() else { return };
    let flow = ends(WEB, 40000, REMOTE, 80);
    node.from_pod(&frames::tcp(flow, SYN));
    node.allow(1, policy::EGRESS, ID_REMOTE, 80);
    node.isolate(WEB, 2);
    // The answer meets the new policy first, and is judged as part of the flow that WEB opened.
    assert_eq!(
        node.from_network(&frames::tcp(flow.back(), SYN | ACK))
            .action,
        REDIRECT
    );
    let events = node.events();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].kind, events[0].rule), (VERDICT, 77));
}

#[test]
fn repeated_drops_are_counted_in_the_kernel_and_reported_once() {
    let Some(mut node) = Node::new() else { return };
    node.isolate(WEB, 2);
    for port in 40000..40005 {
        let frame = frames::tcp(ends(WEB, port, API, 80), SYN);
        node.drops(names::FROM_POD, &frame, Reason::POLICY_EGRESS);
    }
    let counts = node.drop_counts();
    assert_eq!(counts.len(), 1, "source ports do not matter");
    assert_eq!((counts[0].0.endpoint, counts[0].1.packets), (1, 5));
    let events = node.events();
    let first = events.first().expect("an event");
    assert_eq!((first.kind, first.reason), (DROP, Reason::POLICY_EGRESS));
    assert_eq!((first.src_identity, first.dst_identity), (ID_WEB, ID_API));
    let reported: u32 = events.iter().map(|e| e.count).sum();
    assert_eq!(u64::from(reported) + counts[0].1.pending_packets, 5);
}
