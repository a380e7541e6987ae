//! What only IPv4 has: checksums of zero, broadcast, mapped addresses.

use std::net::{SocketAddr, TcpListener, TcpStream};

use naru_ebpf_common::protocol::{TCP, UDP};
use naru_ebpf_common::{Addr, Reason, names};

use super::addresses::*;
use super::node::{Node, PASS, REDIRECT};
use super::sockets::{Sockets, at, port, service};
use crate::frames::{self, ends};

#[test]
fn a_udp_packet_without_checksum_stays_without() {
    let Some(mut node) = Node::new() else { return };
    let out = node.from_pod(&frames::udp_unchecked(ends(WEB, 40000, OUTSIDE, 53)));
    assert_eq!(out.ends().src, NODE);
    assert!(frames::has_no_udp_checksum(&out.frame));
}

#[test]
fn a_v6_socket_reaches_a_v4_service_by_its_mapped_address() {
    let Some(mut sockets) = Sockets::new() else {
        return;
    };
    let server = TcpListener::bind(at(LOOPBACK, 0)).expect("a server");
    sockets
        .node
        .service(SERVICE, 80, TCP, &[(LOOPBACK, port(server.local_addr()))]);
    let mapped = match service(80) {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), 80),
        v6 => v6,
    };
    let client = TcpStream::connect(mapped).expect("connected");
    assert_eq!(client.peer_addr().expect("a peer"), mapped);
}

#[test]
fn a_broadcast_stays_in_the_pod() {
    let Some(mut node) = Node::new() else { return };
    let frame = frames::udp(ends(WEB, 1, Addr::v4([255; 4]), 67));
    node.drops(names::FROM_POD, &frame, Reason::MULTICAST);
}

#[test]
fn a_node_without_ipv6_forwards_none_and_leaves_its_own_alone() {
    let Some(mut node) = Node::new() else { return };
    let [one, other] = [1, 2].map(|last| Addr {
        words: [0xfd, 0, 0, last],
    });
    let frame = frames::udp(ends(one, 1, other, 53));
    node.drops(names::FROM_POD, &frame, Reason::IPV6_UNSUPPORTED);
    assert_eq!(node.from_network(&frame).action, PASS);
}

#[test]
fn only_the_first_part_is_answered_by_a_service_that_nobody_serves() {
    let Some(mut node) = Node::new() else { return };
    node.service(SERVICE, 53, UDP, &[]);
    let [first, later] = frames::parts(&frames::udp(ends(WEB, 40000, SERVICE, 53)));
    assert_eq!(node.from_pod(&first).action, REDIRECT);
    node.drops(names::FROM_POD, &later, Reason::NO_BACKEND);
}
