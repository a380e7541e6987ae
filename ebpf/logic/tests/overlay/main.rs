//! Decisions of a node whose pods reach other nodes through the overlay, for both families.

mod cast;
mod direct;

use cast::{
    BOTH, DEVICE, NODE2_V4, NODE3_V4, OWN_V4, UPLINK, WEB_IFINDEX, answer, facts, node, node_port,
    syn, tcp,
};
use naru_ebpf_common::{Addr, IpInfo, NodeConfig, Reason, flow, ipcache, protocol};
use naru_ebpf_logic::conntrack::Origin;
use naru_ebpf_logic::host::{Bytes, Snapshot};
use naru_ebpf_logic::{
    Action, Hop, Packet, Step, Verdict, conntrack, from_network, from_overlay, from_pod, quick,
};

fn leave(node: &Snapshot, p: &mut Packet) -> Verdict {
    from_pod(node, p, WEB_IFINDEX)
}

const fn to(node: Addr) -> Action {
    Action::Encapsulate {
        node: node.word_v4(),
    }
}

const OUT: Action = Action::Uplink { ifindex: UPLINK };
const INTO_WEB: Action = Action::Deliver {
    ifindex: WEB_IFINDEX,
};

#[test]
fn pods_and_nodes_elsewhere_are_reached_through_the_overlay_and_the_outside_is_not() {
    for cast in BOTH {
        let node = node(cast);
        for dst in [cast.remote, cast.node2] {
            let mut p = syn(cast.web, 40000, dst, 80);
            let verdict = leave(&node, &mut p);
            assert_eq!(verdict.action(), to(NODE2_V4), "{dst}");
            assert_eq!((p.src, verdict.is_rewritten()), (cast.web, false), "{dst}");
        }
        let mut p = syn(cast.web, 40001, cast.outside, 80);
        let verdict = leave(&node, &mut p);
        assert_eq!((verdict.action(), p.src), (OUT, cast.own));
    }
}

#[test]
fn the_steps_of_a_decision_end_with_the_node_that_it_leads_to() {
    let node = node(BOTH[0]);
    leave(&node, &mut syn(BOTH[0].web, 40000, BOTH[0].remote, 80));
    let last = node.take_steps().pop();
    let verdict = Verdict::encapsulate(NODE2_V4.word_v4());
    assert_eq!(last, Some(Step::Verdict(verdict)));
}

#[test]
fn an_address_on_a_node_that_the_overlay_cannot_reach_is_a_drop_with_its_reason() {
    for cast in BOTH {
        let node = node(cast);
        let verdict = leave(&node, &mut syn(cast.web, 40000, cast.stray, 80));
        assert_eq!(verdict.action(), Action::Drop(Reason::NO_TUNNEL_ENDPOINT));
        // Known to the flow table or not.
        let verdict = leave(
            &node,
            &mut tcp(cast.web, 40000, cast.stray, 80, protocol::ACK),
        );
        assert_eq!(verdict.action(), Action::Drop(Reason::NO_TUNNEL_ENDPOINT));
    }
}

#[test]
fn the_overlay_believes_a_node_only_what_lives_on_it() {
    for cast in BOTH {
        let node = node(cast);
        let arrive =
            |src, sender| from_overlay(&node, &mut syn(src, 40000, cast.web, 80), sender).action();
        assert_eq!(arrive(cast.remote, NODE2_V4.word_v4()), INTO_WEB);
        assert_eq!(arrive(cast.node2, NODE2_V4.word_v4()), INTO_WEB);
        let spoofed = Action::Drop(Reason::SPOOFED_OVERLAY);
        for (src, sender) in [
            (cast.remote, NODE3_V4.word_v4()),
            (cast.remote, 0),
            (cast.outside, NODE2_V4.word_v4()),
            (cast.stray, 0),
            (cast.web, NODE2_V4.word_v4()),
        ] {
            assert_eq!(arrive(src, sender), spoofed, "{src}");
        }
        // Whoever sends with this node's own address.
        let own = Action::Drop(Reason::SPOOFED_NETWORK);
        assert_eq!(arrive(cast.web, OWN_V4.word_v4()), own);
    }
}

#[test]
fn a_network_that_knows_pods_is_reached_by_the_uplink_under_the_pods_address() {
    for cast in BOTH {
        let mut node = node(cast);
        let routed = IpInfo {
            flags: ipcache::ROUTED,
            ..IpInfo::WORLD
        };
        node.ipcache.push((cast.outside, 128, routed));
        let mut there = syn(cast.web, 40000, cast.outside, 80);
        let verdict = leave(&node, &mut there);
        assert!(!verdict.is_rewritten());
        assert_eq!(verdict.action(), Action::Uplink { ifindex: UPLINK });
        assert_eq!(there.src, cast.web);
        let back = from_network(&node, &mut answer(&there));
        assert_eq!(back.action(), INTO_WEB);
    }
}

#[test]
fn a_node_with_native_routing_takes_nothing_from_an_overlay() {
    let mut node = node(BOTH[0]);
    node.config = Some(NodeConfig {
        overlay_ifindex: 0,
        ..facts()
    });
    let mut p = syn(BOTH[0].remote, 40000, BOTH[0].web, 80);
    let verdict = from_overlay(&node, &mut p, NODE2_V4.word_v4());
    assert_eq!(verdict.action(), Action::Drop(Reason::NOT_CONFIGURED));
}

#[test]
fn what_the_overlay_brought_is_answered_through_it() {
    for cast in BOTH {
        let node = node(cast);
        for src in [cast.remote, cast.node2] {
            let mut p = syn(src, 40000, cast.web, 80);
            from_overlay(&node, &mut p, NODE2_V4.word_v4());
            let verdict = leave(&node, &mut answer(&p));
            assert_eq!(verdict.action(), to(NODE2_V4), "{src}");
        }
    }
}

#[test]
fn a_node_port_reaches_a_backend_elsewhere_and_its_answer_the_client() {
    for cast in BOTH {
        let mut node = node(cast);
        node_port(&mut node, cast.own, cast.remote);
        let mut there = syn(cast.outside, 40000, cast.own, 30080);
        let verdict = from_network(&node, &mut there);
        assert!(verdict.is_rewritten());
        assert_eq!(
            (verdict.action(), there.src, there.dst),
            (to(NODE2_V4), cast.own, cast.remote)
        );
        let mut back = answer(&there);
        let verdict = from_overlay(&node, &mut back, NODE2_V4.word_v4());
        assert_eq!(
            (verdict.action(), back.src, back.dst),
            (OUT, cast.own, cast.outside)
        );
        assert_eq!(back.next_hop, Hop::UNKNOWN, "the routes know the client");
    }
}

#[test]
fn nodes_speak_to_node_ports_without_the_overlay_and_their_pods_through_it() {
    for cast in BOTH {
        let mut node = node(cast);
        node_port(&mut node, cast.own, cast.web);
        let mut by_node = syn(cast.node2, 40000, cast.own, 30080);
        assert_eq!(from_network(&node, &mut by_node).action(), INTO_WEB);
        let mut back = answer(&by_node);
        let verdict = leave(&node, &mut back);
        assert_eq!((verdict.action(), back.src), (OUT, cast.own));
        let mut by_pod = syn(cast.remote, 40000, cast.own, 30080);
        let verdict = from_overlay(&node, &mut by_pod, NODE2_V4.word_v4());
        assert_eq!(verdict.action(), INTO_WEB);
        let mut back = answer(&by_pod);
        let verdict = leave(&node, &mut back);
        assert_eq!((verdict.action(), back.src), (to(NODE2_V4), cast.own));
    }
}

#[test]
fn a_refusal_goes_back_to_the_node_that_sent() {
    for cast in BOTH {
        let mut node = node(cast);
        node_port(&mut node, cast.own, Addr::UNSPECIFIED);
        let mut p = syn(cast.remote, 40000, cast.own, 30080);
        let verdict = from_overlay(&node, &mut p, NODE2_V4.word_v4());
        assert_eq!(verdict.action(), Action::Refuse(Reason::NO_BACKEND));
        assert_eq!(p.next_hop, Hop::node(NODE2_V4.word_v4()));
    }
}

/// An acknowledgement on the way of `p`.
fn frame(p: &Packet) -> Vec<u8> {
    let mut bytes = vec![0; 12];
    let (src, dst) = (p.src.bytes(), p.dst.bytes());
    if p.src.is_v4() {
        bytes.extend([0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, p.protocol]);
        bytes.extend([0, 0]);
        bytes.extend(src[12..].iter().chain(&dst[12..]));
    } else {
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, p.protocol, 64]);
        bytes.extend(src.iter().chain(&dst));
    }
    bytes.extend(p.src_port.0.to_ne_bytes());
    bytes.extend(p.dst_port.0.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([0x50, protocol::ACK, 0, 0, 0, 0, 0, 0]);
    bytes
}

#[test]
fn a_known_flow_takes_the_quick_way_through_the_overlay_in_both_directions() {
    for cast in BOTH {
        let node = node(cast);
        let mut there = syn(cast.web, 40000, cast.remote, 80);
        leave(&node, &mut there);
        let way = quick::way(&node, &Bytes(&frame(&there)), Origin::pod(WEB_IFINDEX));
        assert_eq!((way.ifindex(), way.address()), (DEVICE, NODE2_V4.word_v4()));
        let back = frame(&answer(&there));
        let from = |sender: Addr| {
            let way = quick::way(&node, &Bytes(&back), Origin::overlay(sender.word_v4()));
            (way.ifindex(), way.address())
        };
        assert_eq!(from(NODE2_V4), (WEB_IFINDEX, 0));
        assert_eq!(from(NODE3_V4), (0, 0), "it is looked at again");
    }
}

#[test]
fn a_flow_that_was_native_goes_through_the_overlay_as_soon_as_there_is_one_and_back() {
    for cast in BOTH {
        let mut node = node(cast);
        let native = NodeConfig {
            overlay_ifindex: 0,
            ..facts()
        };
        let change = |node: &mut Snapshot, facts: NodeConfig, epoch| {
            node.config = Some(NodeConfig { epoch, ..facts });
        };
        let mut there = syn(cast.web, 40000, cast.remote, 80);
        change(&mut node, native, 1);
        assert_eq!(leave(&node, &mut there).action(), OUT);
        for (facts, epoch, wanted) in [(facts(), 2, to(NODE2_V4)), (native, 3, OUT)] {
            change(&mut node, facts, epoch);
            let quickly = quick::way(&node, &Bytes(&frame(&there)), Origin::pod(WEB_IFINDEX));
            assert!(!quickly.is_known(), "what it remembers is of another epoch");
            let mut next = there;
            next.tcp.flags = protocol::ACK;
            next.next_hop = Hop::UNKNOWN;
            assert_eq!(leave(&node, &mut next).action(), wanted);
            if wanted == OUT {
                next.next_hop = Hop::router(NODE2_V4.word_v4());
            }
            conntrack::remember_next_hop(&node, &next);
            let way = quick::way(&node, &Bytes(&frame(&there)), Origin::pod(WEB_IFINDEX));
            let device = if wanted == OUT { 0 } else { DEVICE };
            assert_eq!((way.ifindex(), way.address()), (device, NODE2_V4.word_v4()));
        }
        let conns = node.conntrack.borrow();
        assert!(conns.values().all(|conn| conn.flags & flow::OVERLAY == 0));
    }
}
