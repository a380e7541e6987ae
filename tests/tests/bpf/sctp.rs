//! SCTP: like TCP where it has a way of its own through policy, Services and translation, with a
//! checksum of its own kind.

use naru_ebpf_common::protocol::SCTP;
use naru_ebpf_common::{Port, Reason, flow, names, policy};

use super::addresses::*;
use super::node::{self, Node, REDIRECT};
use crate::frames::{self, ABORT, COOKIE_ECHO, DATA, INIT, INIT_ACK, ends};
use crate::numbers::*;

#[test]
fn a_pod_reaches_a_pod_as_the_policy_for_sctp_says() {
    let Some(mut node) = Node::new() else { return };
    let init = frames::sctp(ends(WEB, 40000, API, 3868), INIT);
    assert_eq!(node.from_pod(&init).action, REDIRECT);
    node.isolate(API, 2);
    node.drops(names::FROM_POD, &init, Reason::POLICY_INGRESS);
    node.allow(2, policy::INGRESS, ID_WEB, 3868);
    // What is allowed for TCP is not for SCTP.
    node.drops(names::FROM_POD, &init, Reason::POLICY_INGRESS);
    node.allow_protocol(SCTP, 2, policy::INGRESS, ID_WEB, 3868);
    assert_eq!(node.from_pod(&init).action, REDIRECT);
}

#[test]
fn a_service_of_another_port_is_translated_with_a_right_checksum_there_and_back() {
    let Some(mut node) = Node::new() else { return };
    node.service(SERVICE, 3868, SCTP, &[(REMOTE, 13868)]);
    let asked = ends(WEB, 40000, SERVICE, 3868);
    let there = node.from_pod(&frames::sctp(asked, INIT));
    let sent = ends(WEB, 40000, REMOTE, 13868);
    assert_eq!((there.action, there.ends()), (REDIRECT, sent));
    let back = node.from_network(&frames::sctp(sent.back(), INIT_ACK));
    assert_eq!((back.action, back.ends()), (REDIRECT, asked.back()));
    for chunk in [COOKIE_ECHO, DATA] {
        assert_eq!(node.from_pod(&frames::sctp(asked, chunk)).ends(), sent);
    }
}

#[test]
fn what_is_in_fragments_and_needs_another_port_is_a_drop_with_its_reason() {
    let Some(mut node) = Node::new() else { return };
    node.service(SERVICE, 3868, SCTP, &[(REMOTE, 13868)]);
    node.service(SERVICE, 3869, SCTP, &[(REMOTE, 3869)]);
    let first = |port| {
        let whole = frames::sctp(ends(WEB, 40000, SERVICE, port), INIT);
        let [first, _] = frames::parts_after(&whole, 2);
        first
    };
    node.drops(names::FROM_POD, &first(3868), Reason::REWRITE_FAILED);
    assert_eq!(node.from_pod(&first(3869)).action, REDIRECT);
}

#[test]
fn a_checksum_that_hardware_will_compute_is_left_to_it() {
    let Some(mut node) = Node::new() else { return };
    node.service(SERVICE, 3868, SCTP, &[(API, 13868)]);
    let frame = frames::sctp_unchecked(ends(WEB, 40000, SERVICE, 3868), INIT);
    assert_eq!(node.from_pod(&frame).ends(), ends(WEB, 40000, API, 13868));
}

#[test]
fn a_node_port_reaches_a_backend_elsewhere_under_the_nodes_address() {
    let Some(mut node) = Node::new() else { return };
    node.service(NODE.any(), 30080, SCTP, &[(REMOTE, 3868)]);
    let asked = ends(OUTSIDE, 40000, NODE, 30080);
    let there = node.from_network(&frames::sctp(asked, INIT));
    let sent = there.ends();
    assert_eq!(
        (there.action, sent.src, sent.dst, sent.dst_port),
        (REDIRECT, NODE, REMOTE, 3868)
    );
    assert!(node::config().is_snat_port(Port::new(sent.src_port)));
    let back = node.from_network(&frames::sctp(sent.back(), INIT_ACK));
    assert_eq!((back.action, back.ends()), (REDIRECT, asked.back()));
}

#[test]
fn what_leaves_the_cluster_is_masqueraded_and_its_answer_finds_the_pod() {
    let Some(mut node) = Node::new() else { return };
    let flow = ends(WEB, 40000, OUTSIDE, 3868);
    let sent = node.from_pod(&frames::sctp(flow, INIT)).ends();
    assert_eq!((sent.src, sent.dst_port), (NODE, 3868));
    let back = node.from_network(&frames::sctp(sent.back(), INIT_ACK));
    assert_eq!((back.action, back.ends()), (REDIRECT, flow.back()));
}

#[test]
fn a_service_without_endpoints_refuses_at_once() {
    let Some(mut node) = Node::new() else { return };
    node.service(SERVICE, 3868, SCTP, &[]);
    let frame = frames::sctp(ends(WEB, 40000, SERVICE, 3868), INIT);
    let said = node.refuses(names::FROM_POD, naru_ebpf_common::counter::FROM_POD, &frame);
    assert_eq!(frames::embedded(&said), ends(WEB, 40000, SERVICE, 3868));
}

#[test]
fn an_aborted_association_may_be_opened_again() {
    let Some(mut node) = Node::new() else { return };
    let association = ends(WEB, 40000, REMOTE, 3868);
    for chunk in [INIT, DATA] {
        node.from_pod(&frames::sctp(association, chunk));
    }
    node.from_network(&frames::sctp(association.back(), ABORT));
    let answered = |node: &mut Node| {
        let conn = node.conn(association, SCTP).expect("a flow");
        conn.sides.iter().all(|side| side & flow::SEEN != 0)
    };
    assert!(answered(&mut node));
    node.from_pod(&frames::sctp(association, INIT));
    assert!(!answered(&mut node), "the flow of before goes on");
}

#[test]
fn a_header_without_a_chunk_is_malformed() {
    let Some(mut node) = Node::new() else { return };
    let frame = frames::ip(ends(WEB, 1, API, 2), SCTP, vec![0; 12]);
    node.drops(names::FROM_POD, &frame, Reason::MALFORMED);
}
