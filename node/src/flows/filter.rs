//! Which events a watcher asked for.

use naru_node_api::flows::{Flow, ObserveRequest, Peer, Verdict};

/// Whether an event passes every filter of the request.
pub(super) fn passes(request: &ObserveRequest, flow: &Flow) -> bool {
    let ends = || flow.source.iter().chain(&flow.destination);
    let any_end = |filter: &str, fits: fn(&Peer, &str) -> bool| {
        filter.is_empty() || ends().any(|peer| fits(peer, filter))
    };
    let wanted = request.verdict();
    any_end(&request.pod, |peer, filter| {
        named(filter, &peer.namespace, &peer.pod)
    }) && any_end(&request.namespace, |peer, filter| peer.namespace == filter)
        && (request.service.is_empty() || service(&request.service, &flow.service))
        && (wanted == Verdict::Unspecified || wanted == flow.verdict())
        && (request.protocol.is_empty() || request.protocol.eq_ignore_ascii_case(&flow.protocol))
}

/// `NAME` or `NAMESPACE/NAME`.
fn named(filter: &str, namespace: &str, name: &str) -> bool {
    match filter.split_once('/') {
        Some(filter) => filter == (namespace, name),
        None => filter == name,
    }
}

fn service(filter: &str, service: &str) -> bool {
    service
        .split_once('/')
        .is_some_and(|(namespace, name)| named(filter, namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_joined_and_look_at_both_ends() {
        let peer = |namespace: &str, pod: &str| {
            Some(Peer {
                namespace: namespace.into(),
                pod: pod.into(),
                ..Peer::default()
            })
        };
        let flow = Flow {
            source: peer("shop", "web-1"),
            destination: peer("bank", "api-1"),
            service: "bank/api".into(),
            verdict: Verdict::Dropped.into(),
            protocol: "TCP".into(),
            ..Flow::default()
        };
        let check = |change: fn(&mut ObserveRequest)| {
            let mut request = ObserveRequest::default();
            change(&mut request);
            passes(&request, &flow)
        };
        assert!(check(|_| {}));
        assert!(check(|r| r.pod = "api-1".into()));
        assert!(check(|r| r.pod = "shop/web-1".into()));
        assert!(!check(|r| r.pod = "bank/web-1".into()));
        assert!(check(|r| r.service = "api".into()));
        assert!(!check(|r| r.service = "shop/api".into()));
        assert!(check(|r| r.protocol = "tcp".into()));
        assert!(!check(|r| r.verdict = Verdict::Forwarded.into()));
        assert!(!check(
            |r| (r.namespace, r.protocol) = ("shop".into(), "UDP".into())
        ));
    }
}
