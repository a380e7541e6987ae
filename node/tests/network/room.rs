//! Tables for flows become larger under traffic, and whenever the daemon dies meanwhile.

use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::Duration;

use aya::maps::MapInfo;
use serde_json::json;

use crate::support::pod::Pod;
use crate::support::{Fixture, Node, wait_for};
use crate::{PATIENCE, Stream, cluster, pod, running};

/// A socket of a pod.
fn sender(pod: &Pod) -> UdpSocket {
    let bind = || UdpSocket::bind("0.0.0.0:9").unwrap();
    pod.netns.spawn(bind).join().unwrap()
}

/// Datagrams to ports of a pod: a flow each.
fn open_flows(from: &UdpSocket, to: &Pod, ports: std::ops::Range<u16>) {
    for port in ports {
        // A failure is that of an earlier datagram; it is told once, and this one is not sent.
        while from.send_to(&[0], (to.address.as_str(), port)).is_err() {}
    }
}

fn maps(node: &Node) -> PathBuf {
    node.bpffs().join("maps")
}

/// How many flows a node has room for; 0 at the moment in which a larger table takes its place.
fn room_of(node: &Node) -> u32 {
    let map = MapInfo::from_pin(maps(node).join("CONNTRACK-1"));
    map.map_or(0, |map| map.max_entries())
}

fn is_growing(node: &Node) -> bool {
    let pins = fs::read_dir(maps(node)).unwrap().flatten();
    let mut names = pins.map(|pin| pin.file_name().to_string_lossy().into_owned());
    names.any(|name| name.ends_with("-next") || name.ends_with("-former"))
}

/// `a` on node 1 answers `d` on node 2, and may send nothing but answers.
fn answering(fixture: &Fixture, plugin: &std::path::Path, name: &str) -> (Pod, Pod) {
    let [one, two] = fixture.nodes.as_slice() else {
        panic!("two nodes")
    };
    let (a, d) = (
        Pod::add(plugin, one, name, "a"),
        Pod::add(plugin, two, name, "d"),
    );
    a.serve(8080);
    let objects = [
        running(pod("a", 1, "web"), &a),
        running(pod("d", 2, "other"), &d),
    ];
    fixture.objects.put("pods", objects);
    let silent = json!({
        "metadata": {"name": "web-is-silent", "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"]},
    });
    fixture.objects.put("networkpolicies", [silent]);
    d.serve(8080);
    wait_for("the policy", PATIENCE, || {
        a.ask(one, &d.address, 8080).is_none()
    });
    (a, d)
}

/// Connections whose answers pass only because their flows are known.
fn streams(from: &Pod, to: &Pod) -> Vec<Stream> {
    (0..100).map(|_| Stream::open(from, to)).collect()
}

fn echo(streams: &mut [Stream], text: &[u8]) {
    streams.iter_mut().for_each(|stream| stream.echo(text));
}

#[test]
fn room_is_made_for_more_flows_and_none_is_lost() {
    let limits = ["--flow-table-size", "4096", "--flow-table-limit", "16384"];
    let Some((mut fixture, plugin)) = cluster("room", &limits) else {
        return;
    };
    let (a, d) = answering(&fixture, &plugin, "room");
    let (mut streams, sender) = (streams(&d, &a), sender(&d));
    for (ports, room) in [(3500, 8192), (6700, 16384)] {
        echo(&mut streams, b"before");
        for node in &fixture.nodes {
            wait_for("room", Duration::from_secs(30), || {
                // Again and again, for they expire.
                open_flows(&sender, &a, 1..ports);
                streams[0].echo(b"meanwhile");
                room_of(node) == room && !is_growing(node)
            });
        }
        echo(&mut streams, b"after");
    }
    // Full again, and as large as it may be.
    wait_for("the complaint", Duration::from_secs(60), || {
        open_flows(&sender, &a, 1..13_500);
        let log = fixture.nodes[1].logged();
        log.contains("which may not grow (--flow-table-limit)")
    });
    let node = &mut fixture.nodes[1];
    assert_eq!(room_of(node), 16384);
    // What has grown stays.
    node.kill();
    node.start(&plugin);
    echo(&mut streams, b"later");
    assert_eq!(room_of(node), 16384);
}

#[test]
fn a_daemon_that_dies_while_it_makes_room_leaves_nothing_half_done() {
    let Some((mut fixture, plugin)) = cluster("dies", &["--flow-table-size", "4096"]) else {
        return;
    };
    let (a, d) = answering(&fixture, &plugin, "dies");
    let mut streams = streams(&d, &a);
    let mut room = 4096;
    for attempt in 0..10_u32 {
        let node = &mut fixture.nodes[usize::from(attempt % 2 == 0)];
        node.kill();
        room += 4096;
        node.flags = vec!["--flow-table-size".into(), room.to_string()];
        node.launch();
        // Wherever it is by then.
        std::thread::sleep(Duration::from_millis(120) * attempt);
        node.kill();
        echo(&mut streams, b"dead");
    }
    for node in &mut fixture.nodes {
        node.flags = vec!["--flow-table-size".into(), room.to_string()];
        node.start(&plugin);
        echo(&mut streams, b"alive");
        // At once, or after what an earlier one has begun.
        wait_for("room", Duration::from_secs(30), || {
            room_of(node) == room && !is_growing(node)
        });
        node.kill();
        let before = node.logged().len();
        node.start(&plugin);
        let log = node.logged()[before..].to_owned();
        assert!(!log.contains("Made") && !log.contains("Replaced"), "{log}");
    }
    echo(&mut streams, b"after");
}
