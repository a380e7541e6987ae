//! Packets that a pod sends.

use naru_ebpf_common::protocol::{ACK, FIN, RST, SYN, TCP, UDP};
use naru_ebpf_common::{
    NatEntry, NatKey, NodeConfig, Port, Reason, counter, ipcache, names, policy,
};

use super::addresses::*;
use super::node::{self, Node, PASS, REDIRECT};
use crate::frames::{self, ends};
use crate::numbers::*;

/// Whether flows travel under this port of the node.
fn is_snat(port: u16) -> bool {
    node::config().is_snat_port(Port::new(port))
}

#[test]
fn a_pod_reaches_a_pod_of_the_same_node_unchanged() {
    let Some(mut node) = Node::new() else { return };
    let frame = frames::tcp(ends(WEB, 40000, API, 80), SYN);
    let out = node.from_pod(&frame);
    assert_eq!(out.action, REDIRECT);
    assert_eq!(out.frame, frame);
    let conn = node.conn(ends(WEB, 40000, API, 80), TCP).expect("a flow");
    assert_eq!(conn.revision, [1, 1]);
    assert_eq!(node.count(counter::FROM_POD, Reason::FORWARDED), 1);
}

#[test]
fn a_pod_may_only_use_its_own_address() {
    let Some(mut node) = Node::new() else { return };
    // API lives behind another interface than the one that test runs arrive on.
    for src in [API, OUTSIDE, NONE] {
        let frame = frames::udp(ends(src, 1, WEB, 53));
        node.drops(names::FROM_POD, &frame, Reason::SPOOFED_SOURCE);
    }
}

#[test]
fn what_is_neither_a_packet_nor_judgeable_is_dropped_for_its_own_reason() {
    let Some(mut node) = Node::new() else { return };
    let e = ends(WEB, 40000, API, 80);
    let mut arp = frames::udp(e);
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    let short = frames::ip(e, TCP, vec![0; 12]);
    let gre = frames::ip(e, 47, vec![0; 20]);
    let cases = [
        (arp, Reason::NOT_IP),
        (frames::parts(&frames::udp(e))[1].clone(), Reason::FRAGMENT),
        (short, Reason::MALFORMED),
        (gre, Reason::PROTOCOL_UNSUPPORTED),
        (frames::udp(ends(WEB, 1, GROUP, 5353)), Reason::MULTICAST),
        (frames::udp(ends(WEB, 1, NOBODY, 53)), Reason::NO_ENDPOINT),
        (
            frames::udp(ends(WEB, 1, NO_SERVICE, 53)),
            Reason::NO_SERVICE,
        ),
    ];
    for (frame, reason) in cases {
        node.drops(names::FROM_POD, &frame, reason);
    }
}

#[test]
fn nothing_is_forwarded_before_the_node_is_configured() {
    let Some(mut node) = Node::new() else { return };
    node.configure(NodeConfig::default());
    let frame = frames::udp(ends(WEB, 1, API, 53));
    node.drops(names::FROM_POD, &frame, Reason::NOT_CONFIGURED);
}

#[test]
fn an_isolated_pod_reaches_only_what_a_rule_allows() {
    let Some(mut node) = Node::new() else { return };
    node.isolate(WEB, 2);
    node.allow(1, policy::EGRESS, ID_API, 80);
    let allowed = frames::tcp(ends(WEB, 40000, API, 80), SYN);
    assert_eq!(node.from_pod(&allowed).action, REDIRECT);
    let other_port = frames::tcp(ends(WEB, 40000, API, 81), SYN);
    node.drops(names::FROM_POD, &other_port, Reason::POLICY_EGRESS);
    let other_pod = frames::tcp(ends(WEB, 40000, REMOTE, 80), SYN);
    node.drops(names::FROM_POD, &other_pod, Reason::POLICY_EGRESS);
}

#[test]
fn ingress_policy_of_a_local_destination_is_decided_at_the_source() {
    let Some(mut node) = Node::new() else { return };
    node.isolate(API, 2);
    let frame = frames::tcp(ends(WEB, 40000, API, 80), SYN);
    node.drops(names::FROM_POD, &frame, Reason::POLICY_INGRESS);
    node.allow(2, policy::INGRESS, ID_WEB, 80);
    assert_eq!(node.from_pod(&frame).action, REDIRECT);
}

#[test]
fn a_wildcard_rule_allows_and_an_exact_denial_wins_over_it() {
    let Some(mut node) = Node::new() else { return };
    node.isolate(WEB, 2);
    let any = naru_ebpf_common::PolicyKey {
        endpoint: 1,
        direction: policy::EGRESS,
        ..Default::default()
    };
    node.rule(any, policy::ALLOW, 5);
    assert_eq!(
        node.from_pod(&frames::tcp(ends(WEB, 1, OUTSIDE, 80), SYN))
            .action,
        REDIRECT
    );
    let exact = naru_ebpf_common::PolicyKey {
        identity: ID_API,
        protocol: TCP,
        port: Port::new(80),
        ..any
    };
    node.rule(exact, policy::DENY, 6);
    let frame = frames::tcp(ends(WEB, 1, API, 80), SYN);
    node.drops(names::FROM_POD, &frame, Reason::POLICY_EGRESS_DENIED);
    assert_eq!(
        node.from_pod(&frames::tcp(ends(WEB, 1, API, 81), SYN))
            .action,
        REDIRECT
    );
}

#[test]
fn a_denial_at_the_destination_wins_over_a_wildcard_too() {
    let Some(mut node) = Node::new() else { return };
    node.isolate(API, 2);
    let any = naru_ebpf_common::PolicyKey {
        endpoint: 2,
        direction: policy::INGRESS,
        ..Default::default()
    };
    node.rule(any, policy::ALLOW, 5);
    let denied = naru_ebpf_common::PolicyKey {
        identity: ID_WEB,
        protocol: TCP,
        port: Port::new(80),
        ..any
    };
    node.rule(denied, policy::DENY, 6);
    let frame = frames::tcp(ends(WEB, 1, API, 80), SYN);
    node.drops(names::FROM_POD, &frame, Reason::POLICY_INGRESS_DENIED);
    let frame = frames::tcp(ends(WEB, 1, API, 81), SYN);
    assert_eq!(node.from_pod(&frame).action, REDIRECT);
}

#[test]
fn an_open_flow_is_judged_again_when_the_policy_changes() {
    let Some(mut node) = Node::new() else { return };
    let flow = ends(WEB, 40000, API, 80);
    assert_eq!(node.from_pod(&frames::tcp(flow, SYN)).action, REDIRECT);
    node.isolate(WEB, 2);
    node.drops(
        names::FROM_POD,
        &frames::tcp(flow, ACK),
        Reason::POLICY_EGRESS,
    );
    node.allow(1, policy::EGRESS, ID_API, 80);
    assert_eq!(node.from_pod(&frames::tcp(flow, ACK)).action, REDIRECT);
    let conn = node.conn(flow, TCP).expect("a flow");
    assert!(conn.revision.contains(&2), "{conn:?}");
}

#[test]
fn an_idle_flow_counts_as_absent() {
    let Some(mut node) = Node::new() else { return };
    let mut config = node::config();
    // The kernel's clock starts with the machine, which may be young.
    config.timeouts.udp = 1;
    node.configure(config);
    let flow = ends(WEB, 40000, REMOTE, 53);
    assert_eq!(node.from_pod(&frames::udp(flow)).action, REDIRECT);
    node.age(flow, UDP);
    assert_eq!(node.from_pod(&frames::udp(flow)).action, REDIRECT);
    let conn = node.conn(flow, UDP).expect("a flow");
    assert!(
        conn.seen_ns > 1 && conn.created_ns == conn.seen_ns,
        "opened anew: {conn:?}"
    );
}

#[test]
fn a_pod_always_reaches_its_own_node() {
    let Some(mut node) = Node::new() else { return };
    node.isolate(WEB, 2);
    let frame = frames::tcp(ends(WEB, 40000, NODE, 10250), SYN);
    assert_eq!(node.from_pod(&frame).action, PASS);
}

#[test]
fn the_cluster_dns_is_an_ordinary_identity() {
    let Some(mut node) = Node::new() else { return };
    let query = frames::udp(ends(WEB, 40000, DNS, 53));
    assert_eq!(node.from_pod(&query).action, PASS);
    node.isolate(WEB, 2);
    node.drops(names::FROM_POD, &query, Reason::POLICY_EGRESS);
}

#[test]
fn a_pod_of_another_node_is_reached_without_translation() {
    let Some(mut node) = Node::new() else { return };
    let frame = frames::tcp(ends(WEB, 40000, REMOTE, 80), SYN);
    let out = node.from_pod(&frame);
    assert_eq!((out.action, &out.frame), (REDIRECT, &frame));
    assert!(node.nat_entries().is_empty());
}

#[test]
fn a_network_that_knows_pods_sees_the_pod_itself() {
    let Some(mut node) = Node::new() else { return };
    node.identity(OUTSIDE, ipcache::IDENTITY_WORLD, ipcache::ROUTED);
    let there = frames::tcp(ends(WEB, 40000, OUTSIDE, 80), SYN);
    let out = node.from_pod(&there);
    assert_eq!((out.action, out.frame), (REDIRECT, there));
    let back = frames::tcp(ends(OUTSIDE, 80, WEB, 40000), SYN | ACK);
    let out = node.from_network(&back);
    assert_eq!((out.action, out.frame), (REDIRECT, back));
    assert!(node.nat_entries().is_empty());
}

#[test]
fn traffic_to_the_outside_is_masqueraded_with_right_checksums() {
    let Some(mut node) = Node::new() else { return };
    let flow = ends(WEB, 40000, OUTSIDE, 80);
    let first = node.from_pod(&frames::tcp(flow, SYN));
    let sent = first.ends();
    assert_eq!(
        (first.action, sent.src, sent.dst, sent.dst_port),
        (REDIRECT, NODE, OUTSIDE, 80)
    );
    assert!(is_snat(sent.src_port), "{}", sent.src_port);
    let second = node.from_pod(&frames::tcp(flow, ACK)).ends();
    assert_eq!(second, sent, "a flow keeps its port");
    let echo = node
        .from_pod(&frames::echo(ends(WEB, 7, OUTSIDE, 7), false))
        .ends();
    assert_eq!(echo.src, NODE);
    assert!(is_snat(echo.src_port), "{}", echo.src_port);
}

/// A node with one port for translation.
fn one_port() -> NodeConfig {
    NodeConfig {
        snat_low_ports: 0,
        snat_port_last: NodeConfig::SNAT_PORT_FIRST,
        ..node::config()
    }
}

#[test]
fn exhausted_source_ports_are_a_drop_with_its_reason() {
    let Some(mut node) = Node::new() else { return };
    node.configure(one_port());
    let first = frames::udp(ends(WEB, 40000, OUTSIDE, 53));
    assert_eq!(node.from_pod(&first).action, REDIRECT);
    let second = frames::udp(ends(WEB, 40001, OUTSIDE, 53));
    node.drops(names::FROM_POD, &second, Reason::SNAT_EXHAUSTED);
}

#[test]
fn a_stale_translation_gives_its_port_away() {
    let Some(mut node) = Node::new() else { return };
    let mut config = one_port();
    config.timeouts.udp = 1;
    node.configure(config);
    let key = NatKey {
        src: OUTSIDE,
        dst: NODE,
        src_port: Port::new(53),
        dst_port: Port::new(config.snat_port_first),
        protocol: UDP,
        reserved: [0; 3],
    };
    node.insert_nat(
        key,
        NatEntry {
            seen_ns: 1,
            ..NatEntry::default()
        },
    );
    let out = node.from_pod(&frames::udp(ends(WEB, 40000, OUTSIDE, 53)));
    assert_eq!(out.ends().src_port, config.snat_port_first);
}

#[test]
fn a_closed_connection_loses_its_port_to_one_that_finds_no_other() {
    let Some(mut node) = Node::new() else { return };
    let mut config = one_port();
    config.timeouts.tcp_reset = 1;
    node.configure(config);
    let [first, second] = [40000, 40001].map(|port| ends(WEB, port, OUTSIDE, 80));
    let sent = node.from_pod(&frames::tcp(first, SYN)).ends();
    node.from_network(&frames::tcp(sent.back(), SYN | ACK));
    node.from_pod(&frames::tcp(first, FIN | ACK));
    node.idle_nat(2);
    let opening = frames::tcp(second, SYN);
    node.drops(names::FROM_POD, &opening, Reason::SNAT_EXHAUSTED);
    node.from_network(&frames::tcp(sent.back(), FIN | ACK));
    node.drops(names::FROM_POD, &opening, Reason::SNAT_EXHAUSTED);
    node.idle_nat(2);
    assert_eq!(node.from_pod(&opening).ends(), sent);
    let back = node.from_network(&frames::tcp(sent.back(), SYN | ACK));
    assert_eq!(back.ends(), second.back());
    let late = frames::tcp(first, ACK);
    node.drops(names::FROM_POD, &late, Reason::SNAT_EXHAUSTED);
}

#[test]
fn a_port_is_free_again_soon_after_a_reset_or_a_question_without_an_answer() {
    let Some(mut node) = Node::new() else { return };
    let mut config = one_port();
    (config.timeouts.tcp_opening, config.timeouts.tcp_reset) = (4, 1);
    node.configure(config);
    let [first, second, third] = [40000, 40001, 40002].map(|port| ends(WEB, port, OUTSIDE, 80));
    let sent = node.from_pod(&frames::tcp(first, SYN)).ends();
    let opening = frames::tcp(second, SYN);
    node.idle_nat(2);
    node.drops(names::FROM_POD, &opening, Reason::SNAT_EXHAUSTED);
    node.idle_nat(3);
    assert_eq!(node.from_pod(&opening).ends(), sent, "nobody answered");
    node.from_network(&frames::tcp(sent.back(), SYN | ACK));
    node.idle_nat(6);
    let opening = frames::tcp(third, SYN);
    node.drops(names::FROM_POD, &opening, Reason::SNAT_EXHAUSTED);
    node.from_network(&frames::tcp(sent.back(), RST));
    node.idle_nat(2);
    assert_eq!(node.from_pod(&opening).ends(), sent, "it was reset");
}

#[test]
fn a_service_is_translated_per_packet_when_the_socket_was_not() {
    let Some(mut node) = Node::new() else { return };
    node.service(SERVICE, 80, TCP, &[(API, 8080)]);
    let out = node.from_pod(&frames::tcp(ends(WEB, 40000, SERVICE, 80), SYN));
    assert_eq!(
        (out.action, out.ends()),
        (REDIRECT, ends(WEB, 40000, API, 8080))
    );
    let next = node.from_pod(&frames::tcp(ends(WEB, 40000, SERVICE, 80), ACK));
    assert_eq!(next.ends(), ends(WEB, 40000, API, 8080));
}

#[test]
fn policy_sees_the_backend_of_a_service() {
    let Some(mut node) = Node::new() else { return };
    node.service(SERVICE, 80, TCP, &[(API, 8080)]);
    node.isolate(API, 2);
    let frame = frames::tcp(ends(WEB, 40000, SERVICE, 80), SYN);
    node.drops(names::FROM_POD, &frame, Reason::POLICY_INGRESS);
    node.allow(2, policy::INGRESS, ID_WEB, 8080);
    assert_eq!(node.from_pod(&frame).action, REDIRECT);
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    let Some(mut node) = Node::new() else { return };
    node.service(SERVICE, 80, TCP, &[(WEB, 8080)]);
    let there = node.from_pod(&frames::tcp(ends(WEB, 40000, SERVICE, 80), SYN));
    let seen = there.ends();
    assert_eq!(
        (there.action, seen.src, seen.dst, seen.dst_port),
        (REDIRECT, GATEWAY, WEB, 8080)
    );
    let back = node.from_pod(&frames::tcp(seen.back(), SYN | ACK));
    assert_eq!(
        (back.action, back.ends()),
        (REDIRECT, ends(SERVICE, 80, WEB, 40000))
    );
}

#[test]
fn the_answer_of_a_flow_whose_translation_is_gone_is_dropped() {
    let Some(mut node) = Node::new() else { return };
    node.service(SERVICE, 80, TCP, &[(REMOTE, 8080)]);
    let sent = node.from_pod(&frames::tcp(ends(WEB, 40000, SERVICE, 80), SYN));
    let answer = frames::tcp(sent.ends().back(), SYN | ACK);
    for (key, _) in node.nat_entries() {
        node.forget_nat(&key);
    }
    node.drops(names::FROM_NETWORK, &answer, Reason::NAT_LOST);
}

#[test]
fn echo_and_errors_about_a_flow_pass_and_unrelated_errors_do_not() {
    let Some(mut node) = Node::new() else { return };
    let ping = frames::echo(ends(WEB, 7, API, 7), false);
    assert_eq!(node.from_pod(&ping).action, REDIRECT);
    assert!(node.conn(ends(WEB, 7, API, 7), ICMP).is_some());
    let answer = frames::udp(ends(API, 53, WEB, 40000));
    let error = frames::unreachable(WEB, &answer);
    node.drops(names::FROM_POD, &error, Reason::ICMP_UNRELATED);
    assert_eq!(
        node.from_pod(&frames::udp(ends(WEB, 40000, API, 53)))
            .action,
        REDIRECT
    );
    assert_eq!(node.from_pod(&error).action, REDIRECT);
}

#[test]
fn a_closed_connection_may_be_opened_again() {
    let Some(mut node) = Node::new() else { return };
    let flow = ends(WEB, 40000, REMOTE, 80);
    node.from_pod(&frames::tcp(flow, SYN));
    node.from_pod(&frames::tcp(flow, FIN | ACK));
    node.from_network(&frames::tcp(flow.back(), FIN | ACK));
    let closed = node.conn(flow, TCP).expect("a flow");
    assert!(closed.sides.iter().all(|s| s & FIN != 0), "{closed:?}");
    node.isolate(WEB, 1);
    node.drops(
        names::FROM_POD,
        &frames::tcp(flow, SYN),
        Reason::POLICY_EGRESS,
    );
}
