//! Packets of the node's stack to a pod.

use naru_ebpf_common::protocol::{ACK, SYN};
use naru_ebpf_common::{Reason, names, policy};

use super::addresses::*;
use super::node::{Node, PASS};
use crate::frames::{self, ends};
use crate::numbers::*;

#[test]
fn the_node_always_reaches_its_pods() {
    let Some(mut node) = Node::new() else { return };
    node.isolate(WEB, 2);
    let probe = frames::tcp(ends(NODE, 40000, WEB, 80), SYN);
    assert_eq!(node.to_pod(&probe).action, PASS);
}

#[test]
fn the_ingress_proxy_needs_a_rule_like_everybody() {
    let Some(mut node) = Node::new() else { return };
    let frame = frames::tcp(ends(INGRESS, 40000, WEB, 80), SYN);
    assert_eq!(node.to_pod(&frame).action, PASS);
    node.isolate(WEB, 2);
    node.drops(names::TO_POD, &frame, Reason::POLICY_INGRESS);
    node.allow(1, policy::INGRESS, ID_PROXY, 80);
    assert_eq!(node.to_pod(&frame).action, PASS);
    let answer = frames::tcp(ends(WEB, 80, INGRESS, 40000), SYN | ACK);
    assert_eq!(
        node.from_pod(&answer).action,
        PASS,
        "the answer ends in the node's stack"
    );
}

#[test]
fn an_answer_of_the_cluster_dns_needs_no_ingress_rule() {
    let Some(mut node) = Node::new() else { return };
    node.isolate(WEB, 2);
    let any = naru_ebpf_common::PolicyKey {
        endpoint: 1,
        identity: ID_DNS,
        direction: policy::EGRESS,
        ..Default::default()
    };
    node.rule(any, policy::ALLOW, 1);
    let query = ends(WEB, 40000, DNS, 53);
    let unasked = frames::udp(query.back());
    node.drops(names::TO_POD, &unasked, Reason::POLICY_INGRESS);
    assert_eq!(node.from_pod(&frames::udp(query)).action, PASS);
    assert_eq!(node.to_pod(&unasked).action, PASS);
}

#[test]
fn a_packet_to_another_pod_does_not_pass_this_interface() {
    let Some(mut node) = Node::new() else { return };
    let frame = frames::udp(ends(NODE, 1, API, 53));
    node.drops(names::TO_POD, &frame, Reason::NO_ENDPOINT);
}
