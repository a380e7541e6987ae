//! Limits of pods: programmed where a queue keeps packets until they may leave, told where none does.

use aya::maps::{HashMap, Map, MapData};
use naru_ebpf_common::{Bandwidth, BandwidthKey};
use serde_json::{Value, json};

use crate::support::pod::Pod;
use crate::support::{Node, wait_for};
use crate::{PATIENCE, Stream, cluster, pod};

fn annotated(annotations: Value) -> Value {
    let mut object = pod("a", 1, "web");
    object["metadata"]["annotations"] = annotations;
    object
}

/// Rates of the limits that a node's programs know.
fn rates(node: &Node) -> Vec<u64> {
    let map = MapData::from_pin(node.bpffs().join("maps/BANDWIDTH-1")).expect("the map");
    let map = HashMap::<_, BandwidthKey, Bandwidth>::try_from(Map::HashMap(map)).expect("a hash");
    let mut rates: Vec<_> = map
        .iter()
        .map(|entry| entry.expect("a limit").1.rate)
        .collect();
    rates.sort_unstable();
    rates
}

/// Whether the kernel has a queue that keeps packets, as `tc` finds it.
fn has_fair_queue(node: &Node) -> bool {
    let put = || {
        let words = ["qdisc", "replace", "dev", "lo", "root", "fq"];
        let tc = std::process::Command::new("tc").args(words).output();
        tc.expect("tc").status.success()
    };
    node.netns.spawn(put).join().expect("the thread")
}

#[test]
fn a_limit_is_programmed_or_its_pod_is_told_why_not() {
    let Some((fixture, plugin)) = cluster("bw", &[]) else {
        return;
    };
    let [one, two] = fixture.nodes.as_slice() else {
        panic!("two nodes")
    };
    let both = json!({
        "kubernetes.io/ingress-bandwidth": "80M", "kubernetes.io/egress-bandwidth": "160M"});
    fixture.objects.put("pods", [annotated(both)]);
    let a = Pod::add(&plugin, one, "bw", "a");
    let d = Pod::add(&plugin, two, "bw", "d");
    a.serve(8080);
    let mut stream = Stream::open(&d, &a);
    stream.echo(b"limited or not");
    let says = |words: &[&str]| {
        let log = one.logged();
        let has = |line: &str| words.iter().all(|word| line.contains(word));
        log.lines().any(has)
    };
    if has_fair_queue(one) {
        let limited = || rates(one) == [10_000_000, 20_000_000];
        wait_for("both limits", PATIENCE, limited);
        assert!(!says(&["BandwidthLimitUnavailable"]), "{}", one.logged());
        stream.echo(&[7; 100_000]);
        let slower = json!({"kubernetes.io/ingress-bandwidth": "40M"});
        fixture.objects.put("pods", [annotated(slower)]);
        wait_for("another limit", PATIENCE, || rates(one) == [5_000_000]);
    } else {
        for direction in ["ingress", "egress"] {
            let told = format!("{direction} is not limited: this kernel has no qdisc fq");
            let words = ["event", "BandwidthLimitUnavailable", told.as_str()];
            wait_for(&told, PATIENCE, || says(&words));
        }
        assert!(rates(one).is_empty());
    }
    let wrong = json!({"kubernetes.io/ingress-bandwidth": "fast"});
    fixture.objects.put("pods", [annotated(wrong)]);
    let told = ["event", "InvalidBandwidth", "ingress is not limited"];
    wait_for("the wrong value to be told", PATIENCE, || says(&told));
    wait_for("no limit", PATIENCE, || rates(one).is_empty());
    fixture.objects.put("pods", [pod("a", 1, "web")]);
    let well = || says(&["recovered", "bandwidth"]);
    wait_for("the node to be well", PATIENCE, well);
    stream.echo(b"unlimited");
    assert!(a.cni("DEL").0);
    assert!(rates(two).is_empty());
}
