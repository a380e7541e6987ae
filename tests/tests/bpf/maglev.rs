//! Packets from outside that choose by a lookup table.

use std::collections::{HashMap, HashSet};

use naru_ebpf_common::protocol::{ACK, RST, SYN, TCP, UDP};
use naru_ebpf_common::service::{
    AFFINITY_SHIFT, ELSEWHERE, EXTERNAL, LOCAL_ONLY, RANGED, SCOPE_ANY, SCOPE_OUTSIDE,
};
use naru_ebpf_common::{Addr, Conn, Reason, TableSize, Tuple, counter, names};

use super::addresses::*;
use super::node::{Node, REDIRECT};
use super::services::Entry;
use crate::frames::{self, ends};

const PORTS: std::ops::Range<u16> = 8001..8021;
const SIZE: TableSize = TableSize::DEFAULT;

/// Backends on one pod of this node, told apart by their ports.
fn backends() -> Vec<(Addr, u16)> {
    PORTS.map(|port| (WEB, port)).collect()
}

/// The service at [`VIP`]: by chance for pods, by a table for the outside.
fn service(node: &mut Node, version: u32, flags: u32, backends: &[(Addr, u16)]) {
    for (scope, table) in [(SCOPE_ANY, 0), (SCOPE_OUTSIDE, SIZE.flags())] {
        node.entry(&Entry {
            addr: VIP,
            port: 80,
            protocol: TCP,
            scope,
            flags: EXTERNAL | flags | table,
            version,
            backends,
        });
    }
}

/// Source ports of flows → ports of the backends that they meet.
fn met(node: &mut Node, flows: std::ops::Range<u16>) -> HashMap<u16, u16> {
    let one = |port| {
        let out = node.from_network(&frames::tcp(ends(OUTSIDE, port, VIP, 80), SYN));
        assert_eq!(out.action, REDIRECT);
        (port, out.ends().dst_port)
    };
    flows.map(one).collect()
}

/// A node that has lost its flows.
fn forget(node: &mut Node) {
    for (key, _) in node.nat_entries() {
        node.forget_nat(&key);
    }
    let mut flows: aya::maps::HashMap<_, Tuple, Conn> = node.hash(names::CONNTRACK);
    let keys: Vec<_> = flows.keys().map(|key| key.expect("a flow")).collect();
    for key in keys {
        flows.remove(&key).expect("a flow");
    }
}

#[test]
fn a_flow_meets_the_same_backend_when_its_node_has_forgotten_it() {
    let Some(mut node) = Node::new() else { return };
    service(&mut node, 0, 0, &backends());
    let first = met(&mut node, 40000..40100);
    let distinct: HashSet<_> = first.values().collect();
    assert!(distinct.len() > 10, "spread over {}", distinct.len());
    forget(&mut node);
    assert!(node.nat_entries().is_empty());
    assert_eq!(met(&mut node, 40000..40100), first);
}

#[test]
fn a_connection_goes_on_where_it_was_when_its_node_has_forgotten_it() {
    let Some(mut node) = Node::new() else { return };
    service(&mut node, 0, 0, &backends());
    for port in 40000..40030 {
        let there = ends(OUTSIDE, port, VIP, 80);
        let opened = node.from_network(&frames::tcp(there, SYN)).ends();
        forget(&mut node);
        let goes_on = node.from_network(&frames::tcp(there, ACK));
        assert_eq!((goes_on.action, goes_on.ends()), (REDIRECT, opened));
        let answer = node.from_pod(&frames::tcp(opened.back(), ACK));
        assert_eq!(answer.ends(), there.back());
    }
}

#[test]
fn another_node_chooses_the_same_backend_whatever_its_order() {
    let Some(mut one) = Node::new() else { return };
    service(&mut one, 0, 0, &backends());
    let first = met(&mut one, 40000..40100);
    let Some(mut other) = Node::new() else { return };
    let mut reversed = backends();
    reversed.reverse();
    service(&mut other, 3, 0, &reversed);
    assert_eq!(met(&mut other, 40000..40100), first);
}

#[test]
fn when_a_backend_goes_its_flows_move_and_hardly_any_other() {
    let Some(mut node) = Node::new() else { return };
    service(&mut node, 0, 0, &backends());
    let before = met(&mut node, 40000..40200);
    forget(&mut node);
    let gone = PORTS.start;
    let rest: Vec<_> = backends().into_iter().filter(|b| b.1 != gone).collect();
    service(&mut node, 1, 0, &rest);
    let after = met(&mut node, 40000..40200);
    let moved = before.iter().filter(|(flow, port)| after[*flow] != **port);
    let (its, others): (Vec<_>, Vec<_>) = moved.partition(|(_, port)| **port == gone);
    let had = before.values().filter(|port| **port == gone).count();
    assert_eq!(its.len(), had);
    assert!(
        had > 0 && others.len() <= 6,
        "{had}, and of others {others:?}"
    );
}

#[test]
fn a_node_port_chooses_by_its_table_too_and_pods_choose_by_chance() {
    let Some(mut node) = Node::new() else { return };
    let entry = |scope, flags, backends| Entry {
        addr: NODE.any(),
        port: 30053,
        protocol: UDP,
        scope,
        flags,
        version: 0,
        backends,
    };
    let all = backends();
    node.entry(&entry(SCOPE_ANY, 0, &all));
    node.entry(&entry(SCOPE_OUTSIDE, SIZE.flags(), &all));
    let mut first = HashMap::new();
    for round in 0..2 {
        for port in 40000..40050 {
            let there = frames::udp(ends(OUTSIDE, port, NODE, 30053));
            let met = node.from_network(&there).ends().dst_port;
            assert_eq!(*first.entry(port).or_insert(met), met, "round {round}");
        }
        forget(&mut node);
    }
    let others: Vec<_> = PORTS.map(|port| (API, port)).collect();
    service(&mut node, 0, 0, &others);
    let mut by_chance = HashSet::new();
    for _ in 0..50 {
        let frame = frames::tcp(ends(WEB, 40000, VIP, 80), SYN);
        by_chance.insert(node.from_pod(&frame).ends().dst_port);
        forget(&mut node);
    }
    assert!(by_chance.len() > 1, "{by_chance:?}");
}

#[test]
fn a_client_that_keeps_its_backend_finds_it_with_every_flow_and_at_every_node() {
    let Some(mut one) = Node::new() else { return };
    service(&mut one, 0, 60 << AFFINITY_SHIFT, &backends());
    let first = met(&mut one, 40000..40030);
    let kept = first[&40000];
    assert!(first.values().all(|port| *port == kept), "{first:?}");
    assert_eq!(one.kept(OUTSIDE).expect("it is kept").port.get(), kept);
    // More endpoints change nothing for who has one.
    let mut more = backends();
    more.extend((8021..8061).map(|port| (WEB, port)));
    service(&mut one, 1, 60 << AFFINITY_SHIFT, &more);
    assert!(met(&mut one, 41000..41030).values().all(|p| *p == kept));
    let Some(mut other) = Node::new() else { return };
    service(&mut other, 2, 60 << AFFINITY_SHIFT, &backends());
    assert_eq!(met(&mut other, 42000..42001)[&42000], kept);
}

#[test]
fn a_local_policy_chooses_among_the_endpoints_here_and_refuses_without() {
    let Some(mut node) = Node::new() else { return };
    let mut external = |scope, flags, version, backends: &[(Addr, u16)]| {
        node.entry(&Entry {
            addr: VIP,
            port: 80,
            protocol: TCP,
            scope,
            flags: EXTERNAL | LOCAL_ONLY | flags,
            version,
            backends,
        });
    };
    external(SCOPE_ANY, 0, 0, &[(REMOTE, 8080)]);
    external(SCOPE_OUTSIDE, SIZE.flags(), 0, &backends());
    let first = met(&mut node, 40000..40030);
    assert!(first.values().all(|port| PORTS.contains(port)));
    forget(&mut node);
    assert_eq!(met(&mut node, 40000..40030), first);
    let frame = frames::tcp(ends(OUTSIDE, 50000, VIP, 80), SYN);
    let none = |node: &mut Node, flags| {
        node.entry(&Entry {
            addr: VIP,
            port: 80,
            protocol: TCP,
            scope: SCOPE_OUTSIDE,
            flags: EXTERNAL | LOCAL_ONLY | flags,
            version: 1,
            backends: &[],
        });
    };
    none(&mut node, ELSEWHERE);
    node.drops(names::FROM_NETWORK, &frame, Reason::NO_LOCAL_BACKEND);
    none(&mut node, 0);
    let answer = node.refuses(names::FROM_NETWORK, counter::FROM_NETWORK, &frame);
    assert_eq!(frames::segment_of(&answer).2, RST | ACK);
}

#[test]
fn source_ranges_come_before_the_table() {
    let Some(mut node) = Node::new() else { return };
    service(&mut node, 0, RANGED, &backends());
    let frame = frames::tcp(ends(OUTSIDE, 40000, VIP, 80), SYN);
    node.drops(names::FROM_NETWORK, &frame, Reason::SOURCE_RANGE);
    node.range(NODE_NET);
    let first = met(&mut node, 40000..40030);
    forget(&mut node);
    assert_eq!(met(&mut node, 40000..40030), first);
}

#[test]
fn a_remote_backend_is_the_same_one_after_the_flow_was_forgotten() {
    let Some(mut node) = Node::new() else { return };
    let remote: Vec<_> = PORTS.map(|port| (REMOTE, port)).collect();
    service(&mut node, 0, 0, &remote);
    let first = met(&mut node, 40000..40030);
    forget(&mut node);
    assert_eq!(met(&mut node, 40000..40030), first);
}
