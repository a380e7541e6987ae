//! Packets to a service without endpoints: answered at once.

use naru_ebpf_common::protocol::{ACK, RST, SYN, TCP, UDP};
use naru_ebpf_common::{Pace, Reason, counter, names};

use super::addresses::*;
use super::node::{Node, REDIRECT};
use crate::frames::{self, Ends, ends};

/// A program and the number of its hook.
type Hook = (&'static str, u8);

const FROM_POD: Hook = (names::FROM_POD, counter::FROM_POD);
const FROM_NETWORK: Hook = (names::FROM_NETWORK, counter::FROM_NETWORK);

/// A node with a service and a node port that nobody serves, and who asks each of them.
fn nobody() -> Option<(Node, [(Hook, Ends); 2])> {
    let mut node = Node::new()?;
    for protocol in [TCP, UDP] {
        node.service(SERVICE, 80, protocol, &[]);
        node.service(NODE.any(), 30080, protocol, &[]);
    }
    let asking = [
        (FROM_POD, ends(WEB, 40000, SERVICE, 80)),
        (FROM_NETWORK, ends(OUTSIDE, 40000, NODE, 30080)),
    ];
    Some((node, asking))
}

#[test]
fn a_segment_that_opens_is_reset_with_its_end_acknowledged() {
    let Some((mut node, asking)) = nobody() else {
        return;
    };
    for ((program, hook), e) in asking {
        let answer = node.refuses(program, hook, &frames::segment(e, SYN, 7000, 0));
        assert_eq!(frames::parse(&answer), e.back());
        assert_eq!(frames::segment_of(&answer), (0, 7001, RST | ACK));
        // Four bytes of data.
        let answer = node.refuses(program, hook, &frames::tcp(e, SYN));
        assert_eq!(frames::segment_of(&answer), (0, 5, RST | ACK));
    }
}

#[test]
fn a_segment_of_an_open_connection_is_reset_where_it_acknowledges() {
    let Some((mut node, asking)) = nobody() else {
        return;
    };
    for ((program, hook), e) in asking {
        let answer = node.refuses(program, hook, &frames::segment(e, ACK, 7000, 9000));
        assert_eq!(frames::parse(&answer), e.back());
        assert_eq!(frames::segment_of(&answer), (9000, 0, RST));
    }
}

#[test]
fn a_datagram_is_answered_by_an_error_that_embeds_it() {
    let Some((mut node, asking)) = nobody() else {
        return;
    };
    for ((program, hook), e) in asking {
        let answer = node.refuses(program, hook, &frames::udp(e));
        let outer = frames::parse(&answer);
        assert_eq!((outer.src, outer.dst), (e.dst, e.src));
        assert_eq!(frames::icmp_of(&answer), PORT_UNREACHABLE);
        assert_eq!(frames::embedded(&answer), e);
    }
}

#[test]
fn a_flood_of_datagrams_is_not_answered_in_full() {
    let Some((mut node, asking)) = nobody() else {
        return;
    };
    for ((program, _), e) in asking {
        // A window that began so late that it does not end.
        node.pace(
            Pace::REFUSALS,
            Pace {
                since_ns: u64::MAX,
                times: Pace::ANSWERS - 1,
                ..Pace::default()
            },
        );
        assert_eq!(node.run(program, &frames::udp(e)).action, REDIRECT);
        node.drops(program, &frames::udp(e), Reason::NO_BACKEND);
        let opening = frames::segment(e, SYN, 7000, 0);
        assert_eq!(node.run(program, &opening).action, REDIRECT, "a reset");
    }
}

#[test]
fn resets_and_packets_with_options_or_extensions_are_dropped_in_silence() {
    let Some((mut node, asking)) = nobody() else {
        return;
    };
    for ((program, _), e) in asking {
        node.drops(program, &frames::tcp(e, RST), Reason::NO_BACKEND);
        let long = frames::prolonged(&frames::tcp(e, SYN));
        node.drops(program, &long, Reason::NO_BACKEND);
    }
}
