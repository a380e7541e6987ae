use serde_json::from_value;

use super::*;

fn question() -> Question {
    let destination = Destination {
        label: "service shop/api".into(),
        ip: "10.96.0.20".parse().unwrap(),
        port: 80,
        protocol: None,
    };
    Question {
        namespace: "shop".into(),
        pod: "web-1".into(),
        node: "node1".into(),
        destination,
        protocol: "TCP".into(),
    }
}

fn step(text: &str, failed: bool) -> Step {
    Step {
        text: text.into(),
        failed,
        policies: Vec::new(),
    }
}

fn leaves() -> Hop {
    let answer = WhyResponse {
        steps: vec![step("service shop/api -> 10.244.1.5:8080", false)],
        verdict: Verdict::Forwarded.into(),
        next_node: "node2".into(),
        next_address: "10.244.1.5".into(),
        next_port: 8080,
        ..WhyResponse::default()
    };
    Hop {
        node: "node1".into(),
        answer: Ok(answer),
    }
}

fn arrives(verdict: Verdict) -> Hop {
    let failed = verdict == Verdict::Dropped;
    let mut judged = step("ingress policy of shop/api-1", failed);
    judged.policies = vec!["shop/default-deny".into()];
    let answer = WhyResponse {
        steps: vec![judged, step("not delivered", failed)],
        verdict: verdict.into(),
        reason: if failed {
            "POLICY_DENIED".into()
        } else {
            String::new()
        },
        policies: vec!["shop/default-deny".into()],
        ..WhyResponse::default()
    };
    Hop {
        node: "node2".into(),
        answer: Ok(answer),
    }
}

#[test]
fn a_drop_names_the_node_the_reason_and_the_policy() {
    let hops = [leaves(), arrives(Verdict::Dropped)];
    assert_eq!(
        render(&question(), &hops, Paint::default()),
        "pod shop/web-1 -> TCP 10.96.0.20:80 (service shop/api)\n\
         on node node1\n  + service shop/api -> 10.244.1.5:8080\n\
         on node node2\n> x ingress policy of shop/api-1 by policy shop/default-deny\n  x not delivered\n\
         the connection is dropped on node2: POLICY_DENIED by policy shop/default-deny\n"
    );
    assert_eq!(exit_code(&hops), DROPPED);
}

#[test]
fn only_the_first_failure_is_coloured_as_such() {
    let text = render(&question(), &[arrives(Verdict::Dropped)], Paint::always());
    let coloured: Vec<&str> = text.lines().filter(|line| line.contains("31")).collect();
    assert!(coloured[0].contains("> x ingress policy"), "{text}");
    assert!(text.contains("\n  x not delivered\n"), "{text}");
}

#[test]
fn an_allowed_connection_ends_well() {
    let hops = [leaves(), arrives(Verdict::Forwarded)];
    let text = render(&question(), &hops, Paint::default());
    assert!(
        text.ends_with("the connection is allowed by policy shop/default-deny\n"),
        "{text}"
    );
    assert_eq!(exit_code(&hops), 0);
}

#[test]
fn a_node_that_is_away_leaves_the_rest_unknown() {
    let hops = [
        leaves(),
        Hop {
            node: "node2".into(),
            answer: Err("no answer within 5s".into()),
        },
    ];
    let text = render(&question(), &hops, Paint::default());
    assert!(
        text.contains("on node node2\n  ? no answer within 5s\n"),
        "{text}"
    );
    assert!(
        text.ends_with("node2 did not answer, so the rest is unknown\n"),
        "{text}"
    );
    assert_eq!(exit_code(&hops), 1);
}

#[test]
fn the_walk_goes_on_only_where_a_packet_would() {
    let answer = |hop: Hop| hop.answer.unwrap();
    assert_eq!(
        next(&answer(leaves())),
        Some(("node2".into(), "10.244.1.5".into(), 8080))
    );
    assert_eq!(next(&answer(arrives(Verdict::Forwarded))), None);
    let mut dropped = answer(leaves());
    dropped.verdict = Verdict::Dropped.into();
    assert_eq!(next(&dropped), None);
}

#[test]
fn a_headless_service_is_its_first_ready_endpoint() {
    let slice: EndpointSlice = from_value(json!({
        "metadata": {}, "addressType": "IPv4", "ports": [{"name": "sql", "port": 5432}],
        "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": false}},
            {"addresses": ["10.0.0.2"]}]}))
    .unwrap();
    let address = "10.0.0.2".parse().unwrap();
    assert_eq!(ready_endpoint(&slice, "sql"), Some((address, 5432)));
    assert_eq!(ready_endpoint(&slice, "9"), Some((address, 9)));
    assert_eq!(ready_endpoint(&slice, "none"), None);
}

#[test]
fn json_has_every_hop() {
    let value = to_json(&question(), &[leaves(), arrives(Verdict::Dropped)]);
    assert_eq!(value["hops"][1]["verdict"], "dropped");
    assert_eq!(
        value["hops"][1]["steps"][0]["policies"][0],
        "shop/default-deny"
    );
}
