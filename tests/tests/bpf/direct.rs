//! Clients outside whose backend is on another node than the one that they ask: handed on to it, and
//! answered by it. Packets are real here, from the client's socket to the pod's and back.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use naru_ebpf_common::config::{DIRECT_OTHERS, DIRECT_TCP};
use naru_ebpf_common::protocol::{SYN, TCP, UDP};
use naru_ebpf_common::{Addr, Reason, counter, names};

use super::addresses::*;
use super::live::{at, exchange, ip, undisturbed};
use super::node::Node;
use super::two_nodes::{TwoNodes, fragments_made};
use crate::frames::{self, ends};

const PORT: u16 = 30080;
/// MTU of pods where no overlay takes its part of it.
const WHOLE: u32 = 1500;

/// Nodes of which the first hands on what comes for the pod of the second.
fn nodes(flags: u32, protocol: u8) -> Option<TwoNodes> {
    let nodes = TwoNodes::new()?;
    nodes.one.run(move |node| {
        node.service(NODE.any(), PORT, protocol, &[(REMOTE, 8080)]);
        node.hand_on(flags);
    });
    Some(nodes)
}

#[test]
fn a_client_reaches_a_pod_of_another_node_under_its_own_address_and_is_answered_by_that_node() {
    let Some(nodes) = nodes(DIRECT_TCP, TCP) else {
        return;
    };
    let server = nodes.remote.listen(at(REMOTE, 8080));
    let seen = exchange(nodes.outside.connect(at(NODE, PORT)), &server);
    assert_eq!(seen, IpAddr::from(OUTSIDE));
    let through = nodes
        .one
        .run(|node| node.count(counter::FROM_OVERLAY, Reason::FORWARDED));
    assert_eq!(
        through, 0,
        "an answer came back through the node that was asked"
    );
}

#[test]
fn a_sender_learns_what_fits_and_loses_nothing() {
    let Some(nodes) = nodes(DIRECT_TCP, TCP) else {
        return;
    };
    nodes.two.run(|_| ip(&format!("link set pod mtu {WHOLE}")));
    nodes.remote.ip(&format!("link set eth0 mtu {WHOLE}"));
    let server = nodes.remote.listen(at(REMOTE, 8080));
    let seen = exchange(nodes.outside.connect(at(NODE, PORT)), &server);
    assert_eq!(seen, IpAddr::from(OUTSIDE));
    let [told, cut] = nodes.one.run(|node| {
        let told = node.count(counter::FROM_NETWORK, Reason::TOO_BIG);
        [told, fragments_made()]
    });
    assert!(told > 0, "nothing was too big");
    assert_eq!(cut, 0);
}

/// The pod's socket and the client's, which is connected to the node port.
struct Ends {
    server: UdpSocket,
    client: UdpSocket,
}

impl Ends {
    fn of(nodes: &TwoNodes) -> Self {
        let server = nodes.remote.run(|| UdpSocket::bind(at(REMOTE, 8080)));
        let client = nodes.outside.run(|| UdpSocket::bind(at(OUTSIDE, 0)));
        let (server, client) = (server.expect("bound"), client.expect("bound"));
        for socket in [&server, &client] {
            let patience = Some(Duration::from_millis(500));
            socket.set_read_timeout(patience).expect("a timeout");
        }
        client.connect(at(NODE, PORT)).expect("connected");
        Self { server, client }
    }

    /// Sends a datagram of `len` bytes from outside again and again until the pod has it and its answer
    /// arrives: neighbours are looked for, and what fits is found out. Who the pod saw.
    fn echo(&self, len: usize) -> IpAddr {
        let datagram = vec![7; len];
        let mut received = vec![0; 2 * len];
        for _ in 0..20 {
            if self.client.send(&datagram).is_err() {
                continue;
            }
            let asked = undisturbed(|| self.server.recv_from(&mut received));
            let Ok((bytes, from)) = asked else {
                continue;
            };
            // An earlier one may be late.
            if received[..bytes] != datagram {
                continue;
            }
            self.server.send_to(&datagram, from).expect("answered");
            let answer = undisturbed(|| self.client.recv(&mut received));
            if answer.is_ok_and(|bytes| received[..bytes] == datagram) {
                return from.ip();
            }
        }
        panic!("no datagram of {len} bytes was answered");
    }
}

#[test]
fn datagrams_go_the_same_way_whole_or_in_fragments() {
    let Some(nodes) = nodes(DIRECT_OTHERS, UDP) else {
        return;
    };
    let ends = Ends::of(&nodes);
    assert_eq!(ends.echo(100), IpAddr::from(OUTSIDE));
    assert_eq!(ends.echo(4000), IpAddr::from(OUTSIDE));
}

#[test]
fn what_is_not_to_be_handed_on_comes_under_the_nodes_address() {
    let Some(nodes) = nodes(DIRECT_TCP, UDP) else {
        return;
    };
    assert_eq!(Ends::of(&nodes).echo(100), IpAddr::from(NODE));
}

#[test]
fn a_frame_that_is_handed_on_names_its_backend_and_keeps_the_rest() {
    let Some(mut node) = Node::with_overlay() else {
        return;
    };
    let node2 = Addr::v4([192, 168, 77, 102]);
    node.identity_on(node2, REMOTE, 302, naru_ebpf_common::ipcache::POD);
    node.service(NODE.any(), PORT, TCP, &[(REMOTE, 8080)]);
    node.hand_on(DIRECT_TCP);
    let frame = frames::tcp(ends(OUTSIDE, 40000, NODE, PORT), SYN);
    let out = node.run(names::FROM_NETWORK, &frame);
    assert_eq!(out.action, super::node::REDIRECT);
    assert_eq!(out.frame[12..], frame[12..]);
    let macs = out.frame[..12].try_into().expect("two MAC addresses");
    let mut net = REMOTE;
    net.words[3] = 0;
    let (addr, port) = naru_ebpf_common::overlay::backend_of(&macs, &net);
    assert_eq!((addr, port.get()), (REMOTE, 8080));
}
