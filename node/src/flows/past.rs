//! Flows that nobody watched: read from the table of open flows when somebody asks.
//!
//! The programs report starts of flows only while somebody watches, so that a flow costs nothing
//! more when nobody does. What was opened before is in the flow table all the same, until it has
//! been idle for its timeout, and that is what a question about the past is answered from.

use std::collections::HashSet;
use std::sync::Arc;

use naru_ebpf_common::event::FLOW_START;
use naru_ebpf_common::policy::{EGRESS, INGRESS};
use naru_ebpf_common::{Conn, Event, Tuple};
use naru_node_api::flows::{Flow, Kind};

/// The opening of a flow, as the programs would have reported it. `is_egress` says of a rule
/// whether it is one for egress.
pub(super) fn opening(tuple: &Tuple, conn: &Conn, is_egress: impl Fn(u32) -> bool) -> Event {
    let from = usize::from(conn.opener & 1);
    let to = from ^ 1;
    let rule = conn.rule[from];
    Event {
        time_ns: conn.created_ns,
        src: tuple.addr[from],
        dst: tuple.addr[to],
        src_port: tuple.port[from],
        dst_port: tuple.port[to],
        protocol: tuple.protocol,
        kind: FLOW_START,
        rule,
        direction: if is_egress(rule) { EGRESS } else { INGRESS },
        src_identity: conn.identity[from],
        dst_identity: conn.identity[to],
        count: 1,
        ..Event::default()
    }
}

/// Both lists by time, each opening once: one that was watched is in both.
pub(super) fn merge(kept: Vec<Arc<Flow>>, open: Vec<Flow>) -> Vec<Arc<Flow>> {
    let watched: HashSet<_> = kept
        .iter()
        .filter(|flow| flow.kind() == Kind::Start)
        .map(|flow| ends(flow))
        .collect();
    let unwatched: Vec<_> = open
        .into_iter()
        .filter(|flow| !watched.contains(&ends(flow)))
        .map(Arc::new)
        .collect();
    let mut all = [kept, unwatched].concat();
    all.sort_by_key(|flow| flow.time_ns);
    all
}

/// What two reports of one opening have in common. Their times differ by the moment between them.
fn ends(flow: &Flow) -> (String, [Option<(String, u32)>; 2]) {
    let end = |peer: &Option<naru_node_api::flows::Peer>| {
        peer.as_ref().map(|peer| (peer.ip.clone(), peer.port))
    };
    (
        flow.protocol.clone(),
        [end(&flow.source), end(&flow.destination)],
    )
}

#[cfg(test)]
mod tests {
    use naru_ebpf_common::{Addr, Port, protocol};
    use naru_node_api::flows::Peer;

    use super::*;

    #[test]
    fn an_opening_goes_from_the_opener_whatever_side_that_is() {
        let (client, server) = (Addr::v4([10, 244, 0, 9]), Addr::v4([10, 244, 0, 2]));
        let (tuple, side) = Tuple::new(
            &client,
            Port::new(41000),
            &server,
            Port::new(8080),
            protocol::TCP,
        );
        let mut conn = Conn {
            created_ns: 7,
            opener: side as u8,
            ..Conn::default()
        };
        conn.rule[side] = 5;
        let event = opening(&tuple, &conn, |rule| rule == 5);
        assert_eq!((event.src, event.dst), (client, server));
        assert_eq!((event.src_port.get(), event.dst_port.get()), (41000, 8080));
        assert_eq!((event.time_ns, event.rule, event.direction), (7, 5, EGRESS));
    }

    #[test]
    fn what_was_watched_is_not_told_twice() {
        let flow = |port, kind: Kind, time_ns| Flow {
            kind: kind.into(),
            time_ns,
            source: Some(Peer {
                port,
                ..Peer::default()
            }),
            ..Flow::default()
        };
        let kept = vec![
            Arc::new(flow(1, Kind::Start, 10)),
            Arc::new(flow(2, Kind::Drop, 30)),
        ];
        let open = vec![flow(1, Kind::Start, 11), flow(2, Kind::Start, 20)];
        let times: Vec<_> = merge(kept, open).iter().map(|flow| flow.time_ns).collect();
        assert_eq!(times, [10, 20, 30]);
    }
}
