//! A Service whose endpoint is a program of a node: packets reach it where it lives, from outside and
//! from pods whose sockets the daemon can't see, and a daemon that dies or a change breaks nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::{Value, json};

use super::support::netns::{Netns, run};
use super::support::pod::Pod;
use super::support::{Fixture, Node, wait_for};
use super::{PATIENCE, cluster};

const PORT: u16 = 9443;
const NODE_PORT: &str = "192.168.77.101:30080";
const CLUSTER_IP: &str = "10.96.1.7:80";

/// A Service with one endpoint, a program on node `k`.
fn serve_on(fixture: &Fixture, k: u8) {
    let service = json!({
        "metadata": {"name": "own", "namespace": "shop"},
        "spec": {"type": "NodePort", "clusterIP": "10.96.1.7",
            "ports": [{"port": 80, "targetPort": PORT, "protocol": "TCP", "nodePort": 30080}]},
    });
    fixture.objects.put("services", [service]);
    fixture.objects.put("endpointslices", [slice(k)]);
}

fn slice(k: u8) -> Value {
    let endpoint = json!({
        "addresses": [format!("192.168.77.10{k}")],
        "conditions": {"ready": true},
        "nodeName": format!("node{k}"),
    });
    json!({
        "metadata": {"name": "own-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "own"}},
        "addressType": "IPv4", "endpoints": [endpoint], "ports": [{"port": PORT, "protocol": "TCP"}],
    })
}

/// Tells every client of a node its own name and who it sees, and gives back all that it is sent.
fn listen(node: &Node) {
    let (bound, wait) = std::sync::mpsc::channel();
    let number = node.number;
    node.netns.spawn(move || {
        let listener = TcpListener::bind(("0.0.0.0", PORT)).expect("the port is free");
        bound.send(()).expect("the test waits");
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || -> std::io::Result<()> {
                writeln!(stream, "node{number} {}", stream.peer_addr()?.ip())?;
                let mut reader = stream.try_clone()?;
                std::io::copy(&mut reader, &mut stream)?;
                Ok(())
            });
        }
    });
    wait.recv().expect("it listens");
}

/// A connection from a namespace whose sockets no hook sees, and what it was told first.
fn connect(from: &Netns, target: &str) -> Option<(TcpStream, String)> {
    let target: SocketAddr = target.parse().expect("an address");
    let ask = move || {
        let mut stream = TcpStream::connect_timeout(&target, std::time::Duration::from_secs(1));
        let stream = stream.as_mut().ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut told = Vec::new();
        while told.last() != Some(&b'\n') {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            told.push(byte[0]);
        }
        let told = String::from_utf8_lossy(&told).trim().to_owned();
        Some((stream.try_clone().ok()?, told))
    };
    from.spawn(ask).join().expect("no panic")
}

fn told(from: &Netns, target: &str) -> Option<String> {
    connect(from, target).map(|(_, told)| told)
}

fn echoes(stream: &mut TcpStream) {
    let mut back = [0; 5];
    stream.write_all(b"still").expect("sent");
    stream.read_exact(&mut back).expect("answered");
    assert_eq!(&back, b"still");
}

/// Whether the first node's daemon sees what its stack sends through this link: by a pinned link, or
/// by a filter where the kernel has no such links.
fn is_attached(fixture: &Fixture, link: &str) -> bool {
    let node = &fixture.nodes[0];
    let pin = node.bpffs().join(format!("links/{link}-to_network"));
    let mut filters = node.command("tc");
    filters.args(["filter", "show", "dev", link, "egress"]);
    pin.exists() || run(&mut filters).contains("to_network")
}

/// Two nodes with a listening program each, and a pod on each: `a` and `d`.
fn world(name: &str, flags: &[&str]) -> Option<(Fixture, [Pod; 2], std::path::PathBuf)> {
    let (fixture, plugin) = cluster(name, flags)?;
    let a = Pod::add(&plugin, &fixture.nodes[0], name, "a");
    let d = Pod::add(&plugin, &fixture.nodes[1], name, "d");
    fixture.nodes.iter().for_each(listen);
    Some((fixture, [a, d], plugin))
}

#[test]
fn a_program_of_a_node_is_reached_by_packets_and_a_killed_daemon_breaks_no_connection() {
    let Some((mut fixture, [a, d], plugin)) = world("own", &[]) else {
        return;
    };
    assert!(!is_attached(&fixture, "eth0"), "nothing asks for it yet");
    serve_on(&fixture, 1);
    let outside = || told(&fixture.outside, NODE_PORT);
    let seen = Some("node1 192.168.77.2".to_owned());
    wait_for("the outside to be served", PATIENCE, || outside() == seen);
    let pods = [
        (&a, CLUSTER_IP, &a.address),
        (&a, NODE_PORT, &a.address),
        (&d, NODE_PORT, &d.address),
    ];
    for (pod, target, address) in pods {
        let expected = Some(format!("node1 {address}"));
        wait_for(&format!("{} at {target}", pod.name), PATIENCE, || {
            told(&pod.netns, target) == expected
        });
    }
    let (mut stream, _) = connect(&fixture.outside, NODE_PORT).expect("served");
    fixture.nodes[0].kill();
    echoes(&mut stream);
    assert_eq!(told(&fixture.outside, NODE_PORT), seen, "without a daemon");
    fixture.nodes[0].start(&plugin);
    echoes(&mut stream);
    assert_eq!(told(&fixture.outside, NODE_PORT), seen);
    // The endpoint moves, and the last one of this kind here is gone.
    fixture.objects.put("endpointslices", [slice(2)]);
    let other = Some("node2 192.168.77.101".to_owned());
    wait_for("the other node to answer", PATIENCE, || {
        told(&fixture.outside, NODE_PORT) == other
    });
    let node = &mut fixture.nodes[0];
    node.kill();
    node.start(&plugin);
    wait_for("the program to be let go", PATIENCE, || {
        !is_attached(&fixture, "eth0")
    });
    assert_eq!(told(&fixture.outside, NODE_PORT), other);
}

#[test]
fn through_an_overlay_answers_find_the_pod_on_the_other_node() {
    let Some((fixture, [a, d], _)) = world("owo", &["--routing", "vxlan"]) else {
        return;
    };
    serve_on(&fixture, 1);
    let ways = [
        (&fixture.outside, NODE_PORT, "192.168.77.2"),
        (&a.netns, CLUSTER_IP, &a.address),
        (&d.netns, NODE_PORT, &d.address),
    ];
    for (from, target, address) in ways {
        let expected = Some(format!("node1 {address}"));
        wait_for(&format!("{address} at {target}"), PATIENCE, || {
            told(from, target) == expected
        });
    }
    let links = ["eth0", naru_ebpf_common::overlay::DEVICE];
    assert!(links.iter().all(|link| is_attached(&fixture, link)));
}
