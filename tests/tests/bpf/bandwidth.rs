//! Bandwidth limits: departure times, the way into a pod through its queue, and, on a kernel with the
//! qdisc `fq`, what real transfers take.

use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use naru_ebpf_common::bandwidth::QUEUED;
use naru_ebpf_common::endpoint::{LIMITED_EGRESS, LIMITED_INGRESS};
use naru_ebpf_common::protocol::{ACK, SYN, TCP, UDP};
use naru_ebpf_common::{Addr, Bandwidth, BandwidthKey, Endpoint, Reason, counter, names, policy};
use naru_ebpf_logic::departure::HORIZON_NS;
use nix::libc;

use super::addresses::*;
use super::live::{BULK, Fabric, at, exchange};
use super::node::{Node, PASS, REDIRECT};
use crate::frames::{self, ends};

/// Bytes in a second, so that a byte takes a microsecond.
const RATE: u64 = 1_000_000;
/// By how much the clock of the programs may lag: a tick of the kernel, and many in a machine of
/// software that lost some.
const LAG: Duration = Duration::from_millis(100);
const MAC_POD: [u8; 6] = [2, 0, 0, 0, 0, 1];
const MAC_HOST: [u8; 6] = [2, 0, 0, 0, 0, 2];
const ETHERNET: usize = 14;

/// The clock of the programs, without its lag.
#[allow(unsafe_code, reason = "std hides the value of the monotonic clock")]
fn now_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place for the result, and the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

impl Node {
    /// Limits a pod in one direction.
    fn limit(&mut self, addr: Addr, direction: u8, rate: u64) {
        let endpoints = self.hash::<Addr, Endpoint>(names::ENDPOINTS);
        let mut endpoint = endpoints.get(&addr, 0).expect("endpoint");
        self.use_up(endpoint.id, direction, rate, 0);
        endpoint.flags |= if direction == policy::INGRESS {
            LIMITED_INGRESS
        } else {
            LIMITED_EGRESS
        };
        if endpoint.pod_mac == [0; 6] {
            (endpoint.pod_mac, endpoint.host_mac) = (MAC_POD, MAC_HOST);
        }
        self.endpoint(addr, endpoint);
    }

    /// Says how far an endpoint has used its limit up.
    fn use_up(&mut self, endpoint: u32, direction: u8, rate: u64, next_ns: u64) {
        let key = BandwidthKey::new(endpoint, direction);
        let limit = Bandwidth { rate, next_ns };
        let mut limits = self.hash::<BandwidthKey, Bandwidth>(names::BANDWIDTH);
        limits.insert(key, limit, 0).expect("a limit");
    }
}

/// Asserts that the packets which `send` sends leave one after the other, from now on.
#[track_caller]
fn leave_in_turn(frame: &[u8], mut send: impl FnMut() -> u64) {
    let before = now_ns() - LAG.as_nanos() as u64;
    let departures = [send(), send(), send()];
    assert!((before..=now_ns()).contains(&departures[0]));
    let takes = (frame.len() - ETHERNET) as u64 * 1_000_000_000 / RATE;
    for pair in departures.windows(2) {
        // Between two test runs the clock may have passed the departure.
        assert!(pair[1] >= pair[0] + takes, "{departures:?}");
    }
}

#[test]
fn what_a_limited_pod_sends_out_of_the_node_leaves_in_turn() {
    let Some(mut node) = Node::new() else { return };
    node.limit(WEB, policy::EGRESS, RATE);
    for to in [OUTSIDE, REMOTE] {
        node.use_up(1, policy::EGRESS, RATE, 0);
        let frame = frames::udp(ends(WEB, 40000, to, 53));
        leave_in_turn(&frame, || {
            let sent = node.send(names::FROM_POD, &frame, 0);
            assert_eq!((sent.out.action, sent.mark), (REDIRECT, 0));
            sent.departure_ns
        });
    }
}

#[test]
fn through_the_overlay_too() {
    let Some(mut node) = Node::with_overlay() else {
        return;
    };
    let there = Addr::v4([192, 168, 77, 102]);
    node.identity_on(there, REMOTE, 302, naru_ebpf_common::ipcache::POD);
    node.limit(WEB, policy::EGRESS, RATE);
    let frame = frames::udp(ends(WEB, 40000, REMOTE, 53));
    leave_in_turn(&frame, || {
        let sent = node.send(names::FROM_POD, &frame, 0);
        assert_eq!(sent.out.action, REDIRECT);
        sent.departure_ns
    });
}

#[test]
fn what_a_pod_sends_within_its_node_is_not_subject_to_its_limit_of_egress() {
    let Some(mut node) = Node::new() else { return };
    node.limit(WEB, policy::EGRESS, RATE);
    for to in [API, NODE] {
        let frame = frames::udp(ends(WEB, 40000, to, 53));
        let sent = node.send(names::FROM_POD, &frame, 0);
        assert_eq!((sent.departure_ns, sent.mark), (0, 0), "to {to}");
    }
}

#[test]
fn nobody_else_gets_a_departure() {
    let Some(mut node) = Node::new() else { return };
    node.limit(WEB, policy::INGRESS, RATE);
    for to in [API, OUTSIDE, REMOTE, NODE] {
        let frame = frames::udp(ends(WEB, 40000, to, 53));
        let sent = node.send(names::FROM_POD, &frame, 0);
        assert_eq!((sent.departure_ns, sent.mark), (0, 0), "to {to}");
    }
    let frame = frames::udp(ends(REMOTE, 53, API, 40000));
    let sent = node.send(names::FROM_NETWORK, &frame, 0);
    assert_eq!(sent.out.action, REDIRECT);
    assert_eq!((sent.departure_ns, sent.mark), (0, 0));
    assert_eq!(sent.out.frame, frame, "no MAC address is written");
}

#[test]
fn what_enters_a_limited_pod_goes_through_its_queue_under_its_mac_address() {
    let Some(mut node) = Node::new() else { return };
    node.limit(API, policy::INGRESS, RATE);
    for (program, from) in [(names::FROM_POD, WEB), (names::FROM_NETWORK, REMOTE)] {
        node.use_up(2, policy::INGRESS, RATE, 0);
        let frame = frames::udp(ends(from, 40000, API, 53));
        leave_in_turn(&frame, || {
            let sent = node.send(program, &frame, 0);
            assert_eq!((sent.out.action, sent.mark), (REDIRECT, QUEUED));
            let written = &sent.out.frame;
            assert_eq!(
                (&written[..6], &written[6..12]),
                (&MAC_POD[..], &MAC_HOST[..])
            );
            assert_eq!(written[12..], frame[12..]);
            sent.departure_ns
        });
    }
}

#[test]
fn a_translated_packet_enters_the_queue_of_the_pod_that_was_chosen() {
    let Some(mut node) = Node::new() else { return };
    node.limit(API, policy::INGRESS, RATE);
    node.service(SERVICE, 53, UDP, &[(API, 5353)]);
    let frame = frames::udp(ends(WEB, 40000, SERVICE, 53));
    for packet in ["first", "known"] {
        let sent = node.send(names::FROM_POD, &frame, 0);
        assert_eq!((sent.out.action, sent.mark), (REDIRECT, QUEUED), "{packet}");
        assert_eq!(sent.out.frame[..6], MAC_POD);
        assert_eq!(sent.out.ends(), ends(WEB, 40000, API, 5353));
    }
}

#[test]
fn what_was_put_into_the_queue_is_not_judged_or_counted_again() {
    let Some(mut node) = Node::new() else { return };
    // Test runs arrive on the interface of this pod.
    node.isolate(WEB, 2);
    node.limit(WEB, policy::INGRESS, RATE);
    let frame = frames::udp(ends(REMOTE, 40000, WEB, 53));
    node.drops(names::TO_POD, &frame, Reason::POLICY_INGRESS);
    let sent = node.send(names::TO_POD, &frame, QUEUED);
    assert_eq!((sent.out.action, sent.departure_ns), (PASS, 0));
    assert_eq!(sent.out.frame, frame);
    assert_eq!(node.count(counter::TO_POD, Reason::FORWARDED), 0);
}

#[test]
fn packets_of_the_nodes_own_stack_wait_for_their_turn_too() {
    let Some(mut node) = Node::new() else { return };
    node.limit(WEB, policy::INGRESS, RATE);
    for from in [NODE, INGRESS] {
        node.use_up(1, policy::INGRESS, RATE, 0);
        let frame = frames::udp(ends(from, 40000, WEB, 53));
        leave_in_turn(&frame, || {
            let sent = node.send(names::TO_POD, &frame, 0);
            assert_eq!((sent.out.action, sent.mark), (PASS, 0));
            sent.departure_ns
        });
    }
}

#[test]
fn a_packet_that_would_wait_for_more_than_two_seconds_is_a_drop_with_its_reason() {
    let Some(mut node) = Node::new() else { return };
    node.limit(WEB, policy::EGRESS, RATE);
    node.limit(WEB, policy::INGRESS, RATE);
    let far = now_ns() + 60 * HORIZON_NS;
    let out = frames::udp(ends(WEB, 40000, REMOTE, 53));
    let into = frames::udp(ends(REMOTE, 53, WEB, 40000));
    let own = frames::udp(ends(NODE, 53, WEB, 40000));
    for direction in [policy::EGRESS, policy::INGRESS] {
        node.use_up(1, direction, RATE, far);
    }
    node.drops(names::FROM_POD, &out, Reason::BANDWIDTH);
    node.drops(names::FROM_NETWORK, &into, Reason::BANDWIDTH);
    node.drops(names::TO_POD, &own, Reason::BANDWIDTH);
    let dropped = node.drop_counts();
    assert_eq!(dropped.len(), 3);
    assert!(
        dropped.iter().all(|(key, _)| key.endpoint == 1),
        "whose it is"
    );
    // Another rate counts at once, and so does a queue that has become shorter.
    node.use_up(1, policy::EGRESS, RATE, now_ns() + HORIZON_NS / 2);
    assert_eq!(node.from_pod(&out).action, REDIRECT);
}

#[test]
fn a_flow_of_a_limited_pod_is_not_remembered_until_the_limit_is_gone() {
    let Some(mut node) = Node::new() else { return };
    node.limit(API, policy::INGRESS, RATE);
    let flow = ends(WEB, 40000, API, 80);
    node.from_pod(&frames::tcp(flow, SYN));
    node.from_pod(&frames::tcp(flow, ACK));
    assert_eq!(node.conn(flow, TCP).expect("a flow").epoch, 0);
    let sent = node.send(names::FROM_POD, &frames::tcp(flow, ACK), 0);
    assert_eq!(sent.mark, QUEUED, "known flows wait as well");
    let endpoints = node.hash::<Addr, Endpoint>(names::ENDPOINTS);
    let mut endpoint = endpoints.get(&API, 0).expect("endpoint");
    endpoint.flags = 0;
    node.endpoint(API, endpoint);
    let sent = node.send(names::FROM_POD, &frames::tcp(flow, ACK), 0);
    assert_eq!((sent.out.action, sent.mark), (REDIRECT, 0));
    assert_ne!(node.conn(flow, TCP).expect("a flow").epoch, 0);
}

#[test]
fn a_remembered_flow_is_forgotten_when_its_pod_is_limited() {
    let Some(mut node) = Node::new() else { return };
    let flow = ends(WEB, 40000, API, 80);
    node.from_pod(&frames::tcp(flow, SYN));
    assert_ne!(node.conn(flow, TCP).expect("a flow").epoch, 0);
    node.limit(API, policy::INGRESS, RATE);
    let sent = node.send(names::FROM_POD, &frames::tcp(flow, ACK), 0);
    assert_eq!(sent.mark, QUEUED);
}

/// Gives an interface a queue that knows departure times. False, with a line that says so, on a kernel
/// that has none; there the same packets take the same way, and nothing keeps them.
fn fair_queue(interface: &str) -> bool {
    let words = ["qdisc", "replace", "dev", interface, "root", "fq"];
    let output = Command::new("tc").args(words).output().expect("tc");
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let unknown = said.contains("Specified qdisc kind is unknown");
        assert!(
            unknown || said.contains("Specified qdisc not found"),
            "{said}"
        );
        println!("this kernel has no fq: nothing is held back");
    }
    output.status.success()
}

/// The rate at which [`BULK`] takes a second.
const BULK_RATE: u64 = BULK as u64;
/// What may leave at once: the large segment that comes first.
const FIRST: u64 = 65_536;

/// What sending [`BULK`] takes at least under a limit.
fn at_least(limited: bool) -> Duration {
    if limited {
        Duration::from_nanos((BULK_RATE - FIRST) * 1_000_000_000 / BULK_RATE) - LAG
    } else {
        Duration::ZERO
    }
}

#[test]
fn a_transfer_into_a_limited_pod_takes_what_the_limit_says() {
    let Some(mut fabric) = Fabric::new() else {
        return;
    };
    fabric.node.limit(API, policy::INGRESS, BULK_RATE);
    fabric.node.service(NODE.any(), 30080, TCP, &[(API, 80)]);
    let least = at_least(fair_queue("api"));
    let server = fabric.api.listen(at(API, 80));
    let clients = [
        (&fabric.web, at(API, 80), WEB),
        (&fabric.outside, at(NODE, 30080), OUTSIDE),
    ];
    for (client, to, seen) in clients {
        let began = Instant::now();
        let from = exchange(client.connect(to), &server);
        let took = began.elapsed();
        assert_eq!(from, IpAddr::from(seen));
        assert!(took >= least, "{took:?}, and not {least:?} at least");
    }
}

#[test]
fn a_transfer_of_the_node_into_a_limited_pod_takes_what_the_limit_says() {
    let Some(mut fabric) = Fabric::new() else {
        return;
    };
    fabric.node.limit(WEB, policy::INGRESS, BULK_RATE);
    let least = at_least(fair_queue("web"));
    let server = fabric.web.listen(at(WEB, 80));
    let began = Instant::now();
    exchange(super::live::connect(at(WEB, 80)), &server);
    let took = began.elapsed();
    assert!(took >= least, "{took:?}, and not {least:?} at least");
}

#[test]
fn a_transfer_out_of_a_limited_pod_takes_what_the_limit_says() {
    let Some(mut fabric) = Fabric::new() else {
        return;
    };
    fabric.node.limit(WEB, policy::EGRESS, BULK_RATE);
    let least = at_least(fair_queue("uplink"));
    let server = fabric.outside.listen(at(OUTSIDE, 80));
    let began = Instant::now();
    let from = exchange(fabric.web.connect(at(OUTSIDE, 80)), &server);
    let took = began.elapsed();
    assert_eq!(from, IpAddr::from(NODE));
    assert!(took >= least, "{took:?}, and not {least:?} at least");
}
