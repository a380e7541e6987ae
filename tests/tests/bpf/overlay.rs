//! Pods of two nodes that reach each other through the overlay. BPF_PROG_TEST_RUN knows no tunnels,
//! so that packets are real here, but for those that never leave.

use std::io::ErrorKind;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use naru_ebpf_common::protocol::{SYN, TCP};
use naru_ebpf_common::{Addr, NodeConfig, Reason, counter, flow, ipcache, names, policy};

use super::addresses::*;
use super::live::{at, connect, echoed, exchange, refusal};
use super::node::Node;
use super::node::REDIRECT;
use super::two_nodes::{OUTER, Site, TwoNodes, fragments_made, prefer_another_source};
use crate::frames::{self, ends};
use crate::numbers::*;

/// Waits until packets have been counted for a reason at a hook of the node.
fn wait_for_count(site: &Site, hook: u8, reason: Reason) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while site.run(move |node| node.count(hook, reason)) == 0 {
        assert!(Instant::now() < deadline, "no {} counted", reason.name());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_flow_to_another_node_remembers_its_way_through_the_overlay() {
    let Some(mut node) = Node::with_overlay() else {
        return;
    };
    node.identity_on(OUTER[1], REMOTE, ID_REMOTE, ipcache::POD);
    let flow = ends(WEB, 40000, REMOTE, 80);
    let frame = frames::tcp(flow, SYN);
    let out = node.from_pod(&frame);
    assert_eq!((out.action, out.frame), (REDIRECT, frame));
    let conn = node.conn(flow, TCP).expect("a flow");
    assert_eq!(conn.flags & flow::OVERLAY, flow::OVERLAY);
    assert_eq!(conn.next_hop, OUTER[1].word_v4());
}

#[test]
fn a_pod_on_a_node_that_the_overlay_cannot_reach_is_a_drop_with_its_reason() {
    let Some(mut node) = Node::with_overlay() else {
        return;
    };
    node.identity_on(Addr::UNSPECIFIED, REMOTE, ID_REMOTE, ipcache::POD);
    let frame = frames::tcp(ends(WEB, 40000, REMOTE, 80), SYN);
    node.drops(names::FROM_POD, &frame, Reason::NO_TUNNEL_ENDPOINT);
}

#[test]
fn what_came_through_no_tunnel_of_ours_does_not_come_through_the_overlay() {
    let Some(mut node) = Node::with_overlay() else {
        return;
    };
    let frame = frames::tcp(ends(REMOTE, 40000, WEB, 80), SYN);
    node.drops(names::FROM_OVERLAY, &frame, Reason::SPOOFED_OVERLAY);
    let mut arp = frames::udp(ends(REMOTE, 1, WEB, 53));
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    node.drops(names::FROM_OVERLAY, &arp, Reason::NOT_IP);
    node.configure(NodeConfig::default());
    node.drops(names::FROM_OVERLAY, &frame, Reason::NOT_CONFIGURED);
}

#[test]
fn pods_of_two_nodes_talk_through_a_network_that_knows_no_pods() {
    let Some(nodes) = TwoNodes::new() else { return };
    let server = nodes.remote.listen(at(REMOTE, 80));
    assert_eq!(
        exchange(nodes.web.connect(at(REMOTE, 80)), &server),
        IpAddr::from(WEB)
    );
    for site in [&nodes.one, &nodes.two] {
        let cut = site.run(|_| fragments_made());
        assert_eq!(cut, 0, "the overlay's part was not left free");
        let forwarded = site.run(|node| node.count(counter::FROM_OVERLAY, Reason::FORWARDED));
        assert!(forwarded > 0);
    }
}

#[test]
fn the_overlay_sends_from_the_nodes_own_address_whatever_routes_prefer() {
    let Some(nodes) = TwoNodes::new() else { return };
    nodes.one.run(|_| prefer_another_source());
    let server = nodes.remote.listen(at(REMOTE, 80));
    assert_eq!(
        exchange(nodes.web.connect(at(REMOTE, 80)), &server),
        IpAddr::from(WEB)
    );
}

#[test]
fn a_service_leads_to_an_endpoint_on_another_node() {
    let Some(nodes) = TwoNodes::new() else { return };
    nodes
        .one
        .run(|node| node.service(SERVICE, 80, TCP, &[(REMOTE, 8080)]));
    let server = nodes.remote.listen(at(REMOTE, 8080));
    assert_eq!(
        exchange(nodes.web.connect(at(SERVICE, 80)), &server),
        IpAddr::from(WEB)
    );
}

#[test]
fn a_node_and_the_pods_of_another_reach_each_other() {
    let Some(nodes) = TwoNodes::new() else { return };
    let server = nodes.remote.listen(at(REMOTE, 80));
    let client = nodes.one.run(|_| connect(at(REMOTE, 80)));
    assert_eq!(exchange(client, &server), IpAddr::from(NODE));
    let server = nodes.two.run(|_| TcpListener::bind(at(NODE2, 10250)));
    let server = server.expect("listening");
    assert_eq!(
        exchange(nodes.web.connect(at(NODE2, 10250)), &server),
        IpAddr::from(WEB)
    );
}

#[test]
fn a_node_port_leads_the_outside_to_an_endpoint_on_another_node() {
    let Some(nodes) = TwoNodes::new() else { return };
    nodes
        .one
        .run(|node| node.service(NODE.any(), 30080, TCP, &[(REMOTE, 8080)]));
    let server = nodes.remote.listen(at(REMOTE, 8080));
    assert_eq!(
        exchange(nodes.outside.connect(at(NODE, 30080)), &server),
        IpAddr::from(NODE)
    );
}

#[test]
fn a_node_port_of_another_node_serves_pods_and_refuses_them() {
    let Some(nodes) = TwoNodes::new() else { return };
    nodes.two.run(|node| {
        node.service(NODE.any(), 30080, TCP, &[(REMOTE, 8080)]);
        node.service(NODE.any(), 30081, TCP, &[]);
    });
    let server = nodes.remote.listen(at(REMOTE, 8080));
    assert_eq!(
        exchange(nodes.web.connect(at(NODE2, 30080)), &server),
        IpAddr::from(WEB)
    );
    let refused = nodes.web.run(|| refusal(at(NODE2, 30081)));
    assert_eq!(refused, ErrorKind::ConnectionRefused);
}

#[test]
fn policy_judges_what_the_overlay_brings() {
    let Some(nodes) = TwoNodes::new() else { return };
    nodes.two.run(|node| node.isolate(REMOTE, 2));
    let server = nodes.remote.listen(at(REMOTE, 80));
    let client = nodes.web.after(|| connect(at(REMOTE, 80)));
    wait_for_count(&nodes.two, counter::FROM_OVERLAY, Reason::POLICY_INGRESS);
    nodes
        .two
        .run(|node| node.allow(1, policy::INGRESS, ID_WEB, 80));
    // The kernel asks again by itself.
    let client = client.recv().expect("connected");
    assert_eq!(exchange(client, &server), IpAddr::from(WEB));
}

#[test]
fn the_overlay_does_not_believe_a_node_what_lives_on_another() {
    let Some(nodes) = TwoNodes::new() else { return };
    let elsewhere = Addr::v4([192, 168, 77, 103]);
    nodes
        .two
        .run(move |node| node.identity_on(elsewhere, WEB, ID_WEB, ipcache::POD));
    nodes.web.run(|| {
        let socket = UdpSocket::bind(at(NONE, 0)).expect("a socket");
        socket.send_to(b"who", at(REMOTE, 53)).expect("sent");
    });
    wait_for_count(&nodes.two, counter::FROM_OVERLAY, Reason::SPOOFED_OVERLAY);
}

#[test]
fn a_large_datagram_goes_in_fragments_inside_the_overlay() {
    let Some(nodes) = TwoNodes::new() else { return };
    let listener = nodes.remote.run(|| UdpSocket::bind(at(REMOTE, 5353)));
    let listener = listener.expect("bound");
    let from = echoed(&nodes.web, at(REMOTE, 5353), &nodes.remote, listener);
    assert_eq!(from, IpAddr::from(WEB));
}
