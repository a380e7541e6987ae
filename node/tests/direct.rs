//! `--load-balancer-mode` and `--load-balancer-acceleration`: who a pod sees when the node that a
//! client asked is not its own, in both families, with the real daemon and programs.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use naru_ebpf_common::counter;
use serde_json::{Value, json};
use support::pod::Pod;
use support::{Fixture, missing, offload, plugin, wait_for};

const PATIENCE: Duration = Duration::from_secs(10);
const NODE_PORT: u16 = 30080;
/// More than a few segments, so that what does not fit is found out.
const BULK: usize = 1 << 20;

fn node(k: u8) -> Value {
    let range = k - 1;
    let cidrs = [
        format!("10.244.{range}.0/24"),
        format!("fd00:10:244:{range}::/64"),
    ];
    let addresses = [format!("192.168.77.10{k}"), format!("fd00:77::10{k}")];
    let address = |ip: &String| json!({"type": "InternalIP", "address": ip});
    json!({
        "metadata": {"name": format!("node{k}")},
        "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs},
        "status": {"addresses": addresses.iter().map(address).collect::<Vec<_>>()},
    })
}

fn pod(ips: Vec<String>) -> Value {
    let ips: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    json!({
        "metadata": {"name": "d", "namespace": "shop", "uid": "uid-d", "labels": {"app": "web"}},
        "spec": {"nodeName": "node2", "containers": [{"name": "main", "image": "none"}]},
        "status": {"phase": "Running", "podIPs": ips},
    })
}

/// The addresses of an attached pod, IPv4 first.
fn addresses(pod: &Pod) -> Vec<String> {
    let all = pod.result["ips"].as_array().expect("addresses").iter();
    let text = |ip: &Value| Some(ip["address"].as_str()?.split('/').next()?.to_owned());
    all.filter_map(text).collect()
}

/// A Service of one family with a node port for TCP and one for UDP.
fn serve(fixture: &Fixture, family: &str, cluster_ip: &str, backend: &str) {
    let name = family.to_lowercase();
    // Node ports are of a family each here.
    let number = if family == "IPv4" { 0 } else { 1 };
    let service = json!({
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"clusterIP": cluster_ip, "clusterIPs": [cluster_ip], "ipFamilies": [family], "type": "NodePort",
            "ports": [
                {"name": "tcp", "port": 80, "protocol": "TCP", "nodePort": NODE_PORT + number},
                {"name": "udp", "port": 80, "protocol": "UDP", "nodePort": NODE_PORT + number},
            ]},
    });
    let slice = json!({
        "metadata": {"name": format!("{name}-1"), "namespace": "shop", "labels": {"kubernetes.io/service-name": name}},
        "addressType": family,
        "ports": [
            {"name": "tcp", "port": 8080, "protocol": "TCP"},
            {"name": "udp", "port": 8080, "protocol": "UDP"},
        ],
        "endpoints": [{"addresses": [backend], "conditions": {"ready": true}, "nodeName": "node2"}],
    });
    fixture.objects.put("services", [service]);
    fixture.objects.put("endpointslices", [slice]);
}

/// Tells every client its address, and gives it back all that it sends.
fn tell_who_asks(pod: &Pod) {
    let (bound, wait) = std::sync::mpsc::channel();
    let told = bound.clone();
    pod.netns.spawn(move || {
        let listener = TcpListener::bind("[::]:8080").expect("the port is free");
        told.send(()).expect("the test waits");
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || -> std::io::Result<()> {
                writeln!(stream, "{}", stream.peer_addr()?.ip().to_canonical())?;
                let mut reader = stream.try_clone()?;
                std::io::copy(&mut reader, &mut stream)?;
                Ok(())
            });
        }
    });
    pod.netns.spawn(move || {
        let socket = UdpSocket::bind("[::]:8080").expect("the port is free");
        bound.send(()).expect("the test waits");
        loop {
            if let Ok((_, peer)) = socket.recv_from(&mut [0; 16]) {
                let _ = socket.send_to(peer.ip().to_canonical().to_string().as_bytes(), peer);
            }
        }
    });
    for _ in 0..2 {
        wait.recv().expect("both listen");
    }
}

/// Who the pod sees when the outside connects to `target`; afterwards much goes there and back.
fn seen_by_tcp(fixture: &Fixture, target: &str) -> Option<String> {
    let target: SocketAddr = target.parse().expect("an address");
    let ask = move || {
        let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut seen = Vec::new();
        while seen.last() != Some(&b'\n') {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            seen.push(byte[0]);
        }
        let sent: Vec<u8> = (0..BULK).map(|i| (i >> 5) as u8).collect();
        let (mut writer, bytes) = (stream.try_clone().ok()?, sent.clone());
        let write = std::thread::spawn(move || writer.write_all(&bytes));
        let mut received = vec![0; BULK];
        stream.read_exact(&mut received).expect("all of it");
        write.join().expect("no panic").expect("sent");
        assert!(received == sent, "bytes changed on their way");
        Some(String::from_utf8_lossy(&seen).trim().to_owned())
    };
    fixture.outside.spawn(ask).join().expect("no panic")
}

fn seen_by_udp(fixture: &Fixture, target: &str) -> Option<String> {
    let target: SocketAddr = target.parse().expect("an address");
    let ask = move || {
        let any = if target.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(target).ok()?;
        socket
            .set_read_timeout(Some(Duration::from_millis(300)))
            .ok()?;
        socket.send(b"who").ok()?;
        let mut seen = [0; 64];
        let len = socket.recv(&mut seen).ok()?;
        Some(String::from_utf8_lossy(&seen[..len]).into_owned())
    };
    fixture.outside.spawn(ask).join().expect("no panic")
}

/// Two nodes in this mode, and a pod on the second that says who asks it.
fn cluster(name: &str, mode: &str) -> Option<(Fixture, Pod)> {
    if let Some(missing) = missing() {
        eprintln!("SKIPPED: this test needs {missing}");
        return None;
    }
    let plugin = plugin();
    let mut fixture = Fixture::new(name);
    fixture.outside.ip("addr add fd00:77::2/64 dev eth0 nodad");
    fixture.objects.put("nodes", [node(1), node(2)]);
    let spaces = ["shop", "naru-system", "kube-system"];
    fixture.objects.put(
        "namespaces",
        spaces.map(|n| json!({"metadata": {"name": n}})),
    );
    fixture.objects.put("pods", [pod(Vec::new())]);
    for (node, k) in fixture.nodes.iter_mut().zip(1..) {
        node.netns
            .ip(&format!("addr add fd00:77::10{k}/64 dev eth0 nodad"));
        node.netns.ip("route add ::/0 via fd00:77::2");
        let flags = [
            "--node-ip",
            &format!("192.168.77.10{k},fd00:77::10{k}"),
            "--cluster-cidr",
            "10.244.0.0/16,fd00:10:244::/56",
            "--service-cidr",
            "10.96.0.0/12,fd00:10:96::/112",
            "--load-balancer-mode",
            mode,
        ];
        node.flags = flags.map(str::to_owned).to_vec();
        node.start(&plugin);
    }
    let d = Pod::add(&plugin, &fixture.nodes[1], name, "d");
    fixture.objects.put("pods", [pod(addresses(&d))]);
    tell_who_asks(&d);
    let ips = addresses(&d);
    serve(&fixture, "IPv4", "10.96.1.1", &ips[0]);
    serve(&fixture, "IPv6", "fd00:10:96::101", &ips[1]);
    Some((fixture, d))
}

/// Waits until the pod sees the outside's requests at both nodes: those at the first under these
/// addresses of `tcp` and `udp` in each family, those at its own under the client's.
fn is_seen(fixture: &Fixture, tcp: [&str; 2], udp: [&str; 2]) {
    for (k, tcp, udp) in [(1, tcp, udp), (2, CLIENT, CLIENT)] {
        let targets = [
            format!("192.168.77.10{k}:{NODE_PORT}"),
            format!("[fd00:77::10{k}]:{}", NODE_PORT + 1),
        ];
        for (target, (tcp, udp)) in targets.iter().zip(tcp.into_iter().zip(udp)) {
            wait_for(&format!("{target} by TCP from {tcp}"), PATIENCE, || {
                seen_by_tcp(fixture, target).as_deref() == Some(tcp)
            });
            wait_for(&format!("{target} by UDP from {udp}"), PATIENCE, || {
                seen_by_udp(fixture, target).as_deref() == Some(udp)
            });
        }
    }
}

const CLIENT: [&str; 2] = ["192.168.77.2", "fd00:77::2"];
const NODE1: [&str; 2] = ["192.168.77.101", "fd00:77::101"];

#[test]
fn with_dsr_a_pod_sees_the_client_whichever_node_it_asked() {
    let Some((fixture, _d)) = cluster("dsr", "dsr") else {
        return;
    };
    is_seen(&fixture, CLIENT, CLIENT);
}

#[test]
fn hybrid_hands_tcp_on_and_translates_the_rest_and_a_restart_may_change_that() {
    let Some((mut fixture, _d)) = cluster("hyb", "hybrid") else {
        return;
    };
    is_seen(&fixture, CLIENT, NODE1);
    let plugin = plugin();
    for node in &mut fixture.nodes {
        node.kill();
        let mode = node.flags.last_mut().expect("flags");
        "snat".clone_into(mode);
        node.start(&plugin);
    }
    is_seen(&fixture, NODE1, NODE1);
}

/// The driver of the first node's uplink sends on, in this mode; the pod sees these clients.
fn is_accelerated(name: &str, mode: &str, seen: [&str; 2]) {
    let Some((mut fixture, _d)) = cluster(name, mode) else {
        return;
    };
    let plugin = plugin();
    for end in [&fixture.outside, &fixture.nodes[1].netns] {
        offload::sends_whole(end, "eth0");
    }
    let _end = offload::takes_back(
        &fixture.fabric,
        &format!("{name}-n1"),
        &fixture.nodes[0].bpffs(),
    );
    let node = &mut fixture.nodes[0];
    let pin = node.bpffs().join("links/eth0-from_wire");
    node.kill();
    let flags = ["--load-balancer-acceleration", "xdp"];
    node.flags.extend(flags.map(str::to_owned));
    node.start(&plugin);
    assert!(pin.exists(), "the driver has no program");
    let sent = |fixture: &Fixture| fixture.nodes[0].forwarded(counter::FROM_WIRE);
    assert_eq!(sent(&fixture), 0);
    is_seen(&fixture, seen, seen);
    // A mebibyte for each family, and its acknowledgements or what comes back.
    let driven = sent(&fixture);
    assert!(driven > 1000, "{driven} packets by the driver");
    let node = &mut fixture.nodes[0];
    node.kill();
    node.flags.truncate(node.flags.len() - flags.len());
    node.start(&plugin);
    assert!(!pin.exists(), "the driver still has its program");
    let driven = sent(&fixture);
    is_seen(&fixture, seen, seen);
    assert_eq!(sent(&fixture), driven);
}

#[test]
fn the_uplinks_driver_hands_known_flows_on() {
    is_accelerated("xdsr", "dsr", CLIENT);
}

#[test]
fn the_uplinks_driver_translates_known_flows_both_ways() {
    is_accelerated("xsna", "snat", NODE1);
}
