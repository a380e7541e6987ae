//! NetworkPolicies and ClusterNetworkPolicies as a truth table: generated policies, every pair of pods,
//! every port, protocol and address family, measured on live pods of two nodes and compared with what a plain reading of
//! the specifications says.
//!
//! The evaluators (`verdict`, `tiers`) read the JSON of the policies and share no code with the daemon. A
//! case that fails prints its policies and the rows that differ; its number is its seed.

mod generate;
mod generate_cluster;
mod probe;
mod sctp;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod tiers;
mod verdict;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::wait_for;
use table::Table;

/// Generated sets of policies, beside the special cases.
const CASES: u64 = 200;
/// How long a row may differ, for a probe that a busy machine has starved.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn live_pods_agree_with_the_specification_in_every_generated_case() {
    all_agree("tab", generate::special, generate::case);
}

#[test]
fn live_pods_agree_with_the_order_of_tiers_in_every_generated_case() {
    all_agree("cnp", generate_cluster::special, generate_cluster::case);
}

/// Runs the special cases and those of every seed.
fn all_agree(
    name: &str,
    special: fn(&[String]) -> Vec<Vec<Value>>,
    generate: fn(u64, &[String]) -> Vec<Value>,
) {
    let Some(mut table) = Table::new(name) else {
        return;
    };
    // Those of IPv4 first: the special cases count on it.
    let addresses = |six: bool| {
        let all = table.world.pods.iter();
        all.map(move |pod| pod.address(six).to_string())
    };
    let addresses: Vec<_> = addresses(false).chain(addresses(true)).collect();
    let special = special(&addresses);
    let begin = Instant::now();
    for (case, policies) in (0..).zip(&special) {
        table.case(case, policies);
    }
    let mut denied = 0;
    for seed in 0..CASES {
        let policies = generate(seed, &addresses);
        let expected = table.world.table(&policies);
        denied += expected.values().filter(|allowed| !**allowed).count();
        table.case(seed + special.len() as u64, &policies);
    }
    let rows = table.world.table(&[]).len();
    let total = rows * usize::try_from(CASES).expect("few");
    println!(
        "{CASES} cases of {rows} rows in {:?}, {denied} of {total} denied",
        begin.elapsed()
    );
    // A generator that denies nothing, or everything, proves nothing.
    assert!(
        denied * 10 > total && denied * 10 < total * 9,
        "{denied} of {total}"
    );
}

#[test]
fn an_established_flow_ends_when_its_policy_stops_allowing_it() {
    let Some(mut table) = Table::new("est") else {
        return;
    };
    let allow = |port: u16| {
        vec![json!({"metadata": {"name": "p", "namespace": "x"},
            "spec": {"podSelector": {"matchLabels": {"pod": "a"}}, "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"port": port, "protocol": "TCP"}]}]}})]
    };
    table.pods[0].serve(90);
    table.apply(0, &allow(90));
    let mut streams: Vec<_> = [1, 4]
        .iter()
        .map(|from| stream(&table, *from, 90))
        .collect();
    streams
        .iter_mut()
        .for_each(|stream| assert!(echoes(stream), "allowed"));
    table.apply(1, &allow(91));
    for stream in &mut streams {
        wait_for("the flow to be cut", PATIENCE, || !echoes(stream));
    }
    // Allowed again, it goes on: what was lost is sent again.
    table.apply(2, &allow(90));
    for stream in &mut streams {
        let mut byte = [0];
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a timeout");
        assert!(stream.read_exact(&mut byte).is_ok(), "the flow goes on");
    }
}

/// A connection of one pod to the echo server of the first; its greeting is read.
fn stream(table: &Table, from: usize, port: u16) -> TcpStream {
    let to = format!("{}:{port}", table.pods[0].address);
    let connect = move || TcpStream::connect(to);
    let mut stream = table.pods[from]
        .netns
        .spawn(connect)
        .join()
        .expect("a thread")
        .expect("allowed");
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .expect("a timeout");
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting).expect("a greeting");
    stream
}

fn echoes(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    stream.write_all(b"x").is_ok() && stream.read_exact(&mut byte).is_ok()
}
