//! Services with an endpoint on the node's own network: in by its programs, and the answers out by
//! them.

use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use aya::programs::TcAttachType;
use naru_ebpf_common::nat::OWN_NETWORK;
use naru_ebpf_common::protocol::{ACK, FIN, SYN, TCP, UDP};
use naru_ebpf_common::{Addr, Reason, config, counter, names};

use super::addresses::*;
use super::live::{Fabric, at, attach, exchange, refusal, undisturbed};
use super::node::{self, Node, PASS};
use crate::frames::{self, Ends, ends};

/// The port of the node's own network on which an endpoint listens.
const PORT: u16 = 6443;

/// A node port of TCP and one of UDP, a load balancer and a cluster address, all with one endpoint.
fn serve(node: &mut Node, endpoint: Addr) {
    for protocol in [TCP, UDP] {
        for (addr, port) in [(NODE.any(), 30080), (VIP, 80), (SERVICE, 80)] {
            node.service(addr, port, protocol, &[(endpoint, PORT)]);
        }
    }
}

fn serving(endpoint: Addr) -> Option<Node> {
    let mut node = Node::with_own_network()?;
    serve(&mut node, endpoint);
    Some(node)
}

/// What the outside asks for.
const ASKED: [(Addr, u16); 3] = [(NODE, 30080), (SECOND, 30080), (VIP, 80)];

#[test]
fn a_packet_from_outside_goes_to_the_nodes_stack_and_its_answer_back() {
    for endpoint in [NODE, SECOND] {
        let Some(mut node) = serving(endpoint) else {
            return;
        };
        for (addr, port) in ASKED {
            let asked = ends(OUTSIDE, 40000, addr, port);
            for (there, answer) in [
                (frames::tcp(asked, SYN), frames::tcp as fn(Ends, u8) -> _),
                (frames::udp(asked), |e, _| frames::udp(e)),
            ] {
                let there = node.from_network(&there);
                let reached = ends(OUTSIDE, 40000, endpoint, PORT);
                assert_eq!((there.action, there.ends()), (PASS, reached), "{addr}");
                let back = node.to_network(&answer(reached.back(), SYN | ACK));
                assert_eq!((back.action, back.ends()), (PASS, asked.back()), "{addr}");
            }
        }
    }
}

#[test]
fn a_pods_packet_goes_to_the_nodes_stack_and_its_answer_back() {
    let Some(mut node) = serving(NODE) else {
        return;
    };
    for asked in [
        ends(WEB, 40000, SERVICE, 80),
        ends(WEB, 40000, NODE, 30080),
        ends(WEB, 40000, VIP, 80),
    ] {
        let reached = ends(WEB, 40000, NODE, PORT);
        for flags in [SYN, ACK] {
            let there = node.from_pod(&frames::tcp(asked, flags));
            assert_eq!((there.action, there.ends()), (PASS, reached));
            let back = node.to_pod(&frames::tcp(reached.back(), ACK));
            assert_eq!((back.action, back.ends()), (PASS, asked.back()));
        }
    }
}

#[test]
fn what_the_node_sends_of_its_own_stays_as_it_is() {
    let Some(mut node) = serving(NODE) else {
        return;
    };
    let asked = frames::tcp(ends(OUTSIDE, 40000, NODE, 30080), SYN);
    assert_eq!(node.from_network(&asked).action, PASS);
    let sent = [
        frames::tcp(ends(NODE, PORT, OUTSIDE, 40001), ACK),
        frames::tcp(ends(NODE, 40000, OUTSIDE, 443), SYN),
        frames::udp(ends(NODE, PORT, OUTSIDE, 40000)),
        frames::echo(ends(NODE, 7, OUTSIDE, 7), false),
        frames::unreachable(NODE, &frames::udp(ends(OUTSIDE, 1, NODE, 2))),
        frames::parts(&frames::udp(ends(NODE, 1, OUTSIDE, 2)))[1].clone(),
        frames::udp(ends(NODE, 1, GROUP, 5353)),
        vec![0xff; 60],
    ];
    for frame in sent {
        let out = node.to_network(&frame);
        assert_eq!((out.action, out.frame), (PASS, frame));
    }
    // A pod's flow under the node's address is not the node's.
    let pods = node.from_pod(&frames::tcp(ends(WEB, 40000, OUTSIDE, 443), SYN));
    let out = node.to_network(&pods.frame);
    assert_eq!((out.action, out.frame), (PASS, pods.frame));
    assert_eq!(node.count(counter::TO_NETWORK, Reason::MALFORMED), 0);
}

#[test]
fn an_error_about_either_direction_finds_its_way_with_the_original_inside() {
    let Some(mut node) = serving(NODE) else {
        return;
    };
    let asked = ends(OUTSIDE, 40000, NODE, 30080);
    let there = node.from_network(&frames::udp(asked));
    // Nobody listens.
    let error = node.to_network(&frames::unreachable(NODE, &there.frame));
    assert_eq!(error.action, PASS);
    assert_eq!(error.ends().dst, OUTSIDE);
    assert_eq!(frames::embedded(&error.frame), asked);
    // The answer does not arrive.
    let back = node.to_network(&frames::udp(there.ends().back()));
    let error = node.from_network(&frames::unreachable(ROUTER, &back.frame));
    assert_eq!(error.action, PASS);
    assert_eq!((error.ends().src, error.ends().dst), (ROUTER, NODE));
    assert_eq!(frames::embedded(&error.frame), there.ends().back());
}

#[test]
fn a_flow_is_noted_until_both_ends_have_closed() {
    let Some(mut node) = serving(NODE) else {
        return;
    };
    let asked = ends(OUTSIDE, 40000, NODE, 30080);
    let there = node.from_network(&frames::tcp(asked, SYN)).ends();
    node.to_network(&frames::tcp(there.back(), SYN | ACK));
    let kinds = |node: &mut Node| {
        let entries = node.nat_entries().into_iter();
        entries.map(|(_, entry)| entry.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&mut node), [OWN_NETWORK; 2]);
    node.from_network(&frames::tcp(asked, FIN | ACK));
    node.to_network(&frames::tcp(there.back(), FIN | ACK));
    // Little, for a machine that has just been started.
    let mut hasty = node::config();
    hasty.flags = config::OWN_NETWORK;
    hasty.timeouts.tcp_closing = 1;
    node.configure(hasty);
    node.idle_nat(2);
    let late = frames::tcp(there.back(), ACK);
    assert_eq!(node.to_network(&late).frame, late, "it is over");
}

#[test]
fn without_the_program_a_packet_is_dropped_and_answers_pass() {
    let Some(mut node) = serving(NODE) else {
        return;
    };
    let asked = frames::tcp(ends(OUTSIDE, 40000, NODE, 30080), SYN);
    let there = node.from_network(&asked);
    node.configure(node::config());
    let other = frames::tcp(ends(OUTSIDE, 40001, NODE, 30080), SYN);
    node.drops(names::FROM_NETWORK, &other, Reason::HOST_BACKEND);
    let answer = frames::tcp(there.ends().back(), SYN | ACK);
    assert_eq!(node.to_network(&answer).frame, answer);
}

/// A node with real links and a Service of its own network.
fn fabric() -> Option<Fabric> {
    let mut fabric = Fabric::around(Node::with_own_network()?);
    let mut config = node::config();
    config.uplink_ifindex = super::live::ifindex("uplink");
    config.flags = config::OWN_NETWORK;
    fabric.node.configure(config);
    attach(
        &mut fabric.node,
        names::TO_NETWORK,
        "uplink",
        TcAttachType::Egress,
    );
    serve(&mut fabric.node, NODE);
    Some(fabric)
}

#[test]
fn the_outside_and_pods_talk_to_a_program_of_the_node() {
    let Some(fabric) = fabric() else { return };
    let server = std::net::TcpListener::bind(at(NODE, PORT)).expect("listening");
    let clients = [
        (&fabric.outside, OUTSIDE, NODE, 30080),
        (&fabric.web, WEB, SERVICE, 80),
        (&fabric.web, WEB, NODE, 30080),
        (&fabric.outside, OUTSIDE, NODE, PORT),
    ];
    for (place, client, addr, port) in clients {
        let seen = exchange(place.connect(at(addr, port)), &server);
        assert_eq!(seen, IpAddr::from(client));
    }
}

#[test]
fn datagrams_reach_a_program_of_the_node_and_nobody_listening_is_told() {
    let Some(fabric) = fabric() else { return };
    let refused = fabric.outside.run(|| refusal(at(NODE, 30080)));
    assert_eq!(refused, ErrorKind::ConnectionRefused);
    let ask = || {
        let socket = UdpSocket::bind(at(NONE, 0)).expect("a socket");
        socket.connect(at(NODE, 30080)).expect("connected");
        let wait = Some(Duration::from_secs(5));
        socket.set_read_timeout(wait).expect("timeout");
        socket.send(b"who").expect("sent");
        undisturbed(|| socket.recv(&mut [0; 16])).map_err(|error| error.kind())
    };
    assert_eq!(fabric.outside.run(ask), Err(ErrorKind::ConnectionRefused));
    let server = UdpSocket::bind(at(NODE, PORT)).expect("listening");
    let answered = fabric.outside.after(ask);
    let (_, peer) = undisturbed(|| server.recv_from(&mut [0; 16])).expect("asked");
    assert_eq!(peer.ip(), IpAddr::from(OUTSIDE));
    server.send_to(b"me", peer).expect("answered");
    assert_eq!(answered.recv().expect("the job ends"), Ok(2));
}
