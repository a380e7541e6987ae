//! Packets of clients that are handed on to the backend's node, which answers by itself.

use naru_ebpf_common::config::{DIRECT_OTHERS, DIRECT_TCP};
use naru_ebpf_common::nat::{HANDED_ON, HANDED_OVER};
use naru_ebpf_common::{Addr, IpInfo, NodeConfig, Port, Reason, ipcache, protocol};
use naru_ebpf_logic::host::Snapshot;
use naru_ebpf_logic::{Action, Packet, from_network, from_overlay, from_pod, handed_over};

use crate::cast::{
    BOTH, Cast, NODE2_V4, NODE3_V4, OWN_V4, UPLINK, WEB_IFINDEX, answer, facts, node, node_port,
    syn, tcp,
};

const HANDED_ON_TO_NODE2: Action = Action::HandOn {
    node: NODE2_V4.word_v4(),
};
const INTO_WEB: Action = Action::Deliver {
    ifindex: WEB_IFINDEX,
};
const PORT: u16 = 30080;

/// The node that clients ask, with a node port whose backend is elsewhere.
fn asked(cast: Cast, flags: u32) -> Snapshot {
    let mut node = node(cast);
    node_port(&mut node, cast.own, cast.remote);
    node.config = Some(NodeConfig { flags, ..facts() });
    node
}

/// The same node, but routes lead to other nodes' pods.
fn native(mut node: Snapshot) -> Snapshot {
    let facts = node.config.unwrap_or_default();
    node.config = Some(NodeConfig {
        overlay_ifindex: 0,
        ..facts
    });
    node
}

/// What another node hands on to `backend`, of a client that asked that node.
fn arrive(node: &Snapshot, p: &mut Packet, backend: (Addr, u16), sender: Addr) -> Action {
    (p.to.dst, p.to.dst_port) = (backend.0, Port::new(backend.1));
    handed_over(node, p, sender.word_v4()).action()
}

#[test]
fn a_client_outside_is_handed_on_as_it_came_and_so_is_all_that_follows() {
    for cast in BOTH {
        let asked = || asked(cast, DIRECT_TCP);
        for node in [asked(), native(asked())] {
            for tcp_flags in [protocol::SYN, protocol::ACK, protocol::FIN | protocol::ACK] {
                let mut p = tcp(cast.outside, 40000, cast.own, PORT, tcp_flags);
                let verdict = from_network(&node, &mut p);
                assert_eq!(verdict.action(), HANDED_ON_TO_NODE2);
                assert!(!verdict.is_rewritten());
                assert_eq!(
                    (p.src, p.dst, p.dst_port),
                    (cast.outside, cast.own, Port::new(PORT))
                );
                assert_eq!((p.to.dst, p.to.dst_port), (cast.remote, Port::new(8080)));
            }
            let nat = node.nat.borrow();
            let kinds: Vec<u8> = nat.values().map(|entry| entry.kind).collect();
            assert_eq!(kinds, [HANDED_ON], "and nothing is kept for answers");
            assert!(node.conntrack.borrow().is_empty());
        }
    }
}

#[test]
fn an_error_about_an_answer_is_handed_on_and_one_about_nothing_is_not() {
    for cast in BOTH {
        let node = asked(cast, DIRECT_TCP);
        let mut error = tcp(cast.outside, 40000, cast.own, PORT, 0);
        error.related = 1;
        assert_eq!(from_network(&node, &mut error).action(), Action::Pass);
        from_network(&node, &mut syn(cast.outside, 40000, cast.own, PORT));
        assert_eq!(from_network(&node, &mut error).action(), HANDED_ON_TO_NODE2);
    }
}

#[test]
fn pods_and_nodes_are_translated_and_so_is_what_was_not_asked_for() {
    for cast in BOTH {
        let node = asked(cast, DIRECT_TCP);
        let mut p = syn(cast.remote, 40000, cast.own, PORT);
        let verdict = from_overlay(&node, &mut p, NODE2_V4.word_v4());
        assert!(verdict.is_rewritten());
        let mut p = syn(cast.node2, 40000, cast.own, PORT);
        assert!(from_network(&node, &mut p).is_rewritten());
        for flags in [0, DIRECT_OTHERS] {
            let node = asked(cast, flags);
            let mut p = syn(cast.outside, 40000, cast.own, PORT);
            assert!(from_network(&node, &mut p).is_rewritten());
            assert_eq!(p.src, cast.own);
        }
    }
}

#[test]
fn a_backend_that_no_tunnel_leads_to_is_served_by_translation() {
    for cast in BOTH {
        for backend in [cast.stray, cast.node2] {
            let mut node = native(asked(cast, DIRECT_TCP));
            node_port(&mut node, cast.own, backend);
            let mut p = syn(cast.outside, 40000, cast.own, PORT);
            assert!(from_network(&node, &mut p).is_rewritten(), "{backend}");
        }
    }
}

#[test]
fn a_flow_that_comes_to_another_node_goes_on_there() {
    for cast in BOTH {
        let node = asked(cast, DIRECT_TCP);
        let mut p = tcp(cast.outside, 40000, cast.own, PORT, protocol::ACK);
        assert_eq!(from_network(&node, &mut p).action(), HANDED_ON_TO_NODE2);
    }
}

#[test]
fn a_flow_of_another_mode_chooses_anew() {
    for cast in BOTH {
        let mut node = asked(cast, DIRECT_TCP);
        from_network(&node, &mut syn(cast.outside, 40000, cast.own, PORT));
        node.config = Some(facts());
        let mut p = tcp(cast.outside, 40000, cast.own, PORT, protocol::ACK);
        assert!(from_network(&node, &mut p).is_rewritten());
        assert_eq!((p.src, p.dst), (cast.own, cast.remote));
    }
}

#[test]
fn a_flow_whose_node_is_gone_is_a_drop_with_its_reason() {
    for cast in BOTH {
        let mut node = asked(cast, DIRECT_TCP);
        from_network(&node, &mut syn(cast.outside, 40000, cast.own, PORT));
        node.ipcache.retain(|(addr, ..)| *addr != cast.remote);
        let mut p = tcp(cast.outside, 40000, cast.own, PORT, protocol::ACK);
        let gone = Action::Drop(Reason::NO_TUNNEL_ENDPOINT);
        assert_eq!(from_network(&node, &mut p).action(), gone);
    }
}

#[test]
fn a_pod_that_is_known_by_its_nodes_ipv6_address_is_found_by_its_ipv4_address() {
    let cast = BOTH[1];
    let mut node = native(asked(cast, DIRECT_TCP));
    node.ipcache.retain(|(addr, ..)| *addr != cast.remote);
    let by_v6 = IpInfo {
        identity: 301,
        flags: ipcache::POD,
        node: cast.node2,
    };
    node.ipcache.push((cast.remote, 128, by_v6));
    let mut p = syn(cast.outside, 40000, cast.own, PORT);
    assert_eq!(from_network(&node, &mut p).action(), HANDED_ON_TO_NODE2);
}

#[test]
fn the_backends_node_sees_the_client_and_answers_it_as_the_node_that_was_asked() {
    for cast in BOTH {
        for node in [node(cast), native(node(cast))] {
            let mut p = syn(cast.outside, 40000, cast.node2, PORT);
            assert_eq!(arrive(&node, &mut p, (cast.web, 8080), NODE2_V4), INTO_WEB);
            assert_eq!(
                (p.src, p.dst, p.dst_port),
                (cast.outside, cast.web, Port::new(8080))
            );
            let mut back = answer(&p);
            let verdict = from_pod(&node, &mut back, WEB_IFINDEX);
            assert!(verdict.is_rewritten());
            assert_eq!(verdict.action(), Action::Uplink { ifindex: UPLINK });
            assert_eq!(
                (back.src, back.src_port, back.dst),
                (cast.node2, Port::new(PORT), cast.outside)
            );
            let mut next = tcp(cast.outside, 40000, cast.node2, PORT, protocol::ACK);
            assert_eq!(
                arrive(&node, &mut next, (cast.web, 8080), NODE2_V4),
                INTO_WEB
            );
            assert_eq!(next.dst, cast.web);
            let nat = node.nat.borrow();
            assert!(nat.len() == 2 && nat.values().all(|entry| entry.kind == HANDED_OVER));
        }
    }
}

#[test]
fn who_handed_a_flow_on_may_lead_it_to_another_backend() {
    for cast in BOTH {
        let mut node = node(cast);
        let web = node.endpoints[&cast.web];
        let other = Addr {
            words: [cast.web.words[0], cast.web.words[1], cast.web.words[2], 9],
        };
        node.endpoints.insert(other, web);
        for backend in [
            (cast.web, 8080),
            (other, 8080),
            (other, 9090),
            (cast.web, 8080),
        ] {
            let mut p = syn(cast.outside, 40000, cast.node2, PORT);
            arrive(&node, &mut p, backend, NODE2_V4);
            assert_eq!((p.dst, p.dst_port), (backend.0, Port::new(backend.1)));
        }
    }
}

#[test]
fn only_nodes_hand_on_and_only_for_clients_outside() {
    for cast in BOTH {
        let node = node(cast);
        let spoofed = Action::Drop(Reason::SPOOFED_OVERLAY);
        for (src, sender) in [
            (cast.outside, NODE3_V4),
            (cast.outside, cast.web),
            (cast.outside, OWN_V4),
            (cast.remote, NODE2_V4),
            (cast.stray, NODE2_V4),
            (cast.node2, NODE2_V4),
            (cast.own, NODE2_V4),
            (cast.web, NODE2_V4),
        ] {
            let mut p = syn(src, 40000, cast.node2, PORT);
            assert_eq!(
                arrive(&node, &mut p, (cast.web, 8080), sender),
                spoofed,
                "{src}"
            );
        }
        assert!(node.nat.borrow().is_empty() && node.conntrack.borrow().is_empty());
    }
}

#[test]
fn a_backend_that_is_not_here_and_an_error_about_nothing_are_drops() {
    for cast in BOTH {
        let node = node(cast);
        let mut p = syn(cast.outside, 40000, cast.node2, PORT);
        let nobody = Action::Drop(Reason::NO_ENDPOINT);
        assert_eq!(arrive(&node, &mut p, (cast.remote, 8080), NODE2_V4), nobody);
        p.related = 1;
        let unrelated = Action::Drop(Reason::ICMP_UNRELATED);
        assert_eq!(arrive(&node, &mut p, (cast.web, 8080), NODE2_V4), unrelated);
        assert!(node.nat.borrow().is_empty());
    }
}

#[test]
fn the_pods_policy_judges_the_client_itself() {
    for cast in BOTH {
        let mut node = node(cast);
        let web = node.endpoints.get_mut(&cast.web).expect("the pod");
        web.flags = naru_ebpf_common::endpoint::ISOLATED_INGRESS;
        let mut p = syn(cast.outside, 40000, cast.node2, PORT);
        let denied = Action::Drop(Reason::POLICY_INGRESS);
        assert_eq!(arrive(&node, &mut p, (cast.web, 8080), NODE2_V4), denied);
        assert_eq!(p.found.src_identity, ipcache::IDENTITY_WORLD);
    }
}
