//! Two address families, and IPv6 alone, on two nodes with the real daemon, plugin and programs.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use support::families::Families;
use support::pod::Pod;
use support::{Fixture, Node, missing, plugin, wait_for};

const PATIENCE: Duration = Duration::from_secs(10);
const SERVICE: &str = "fd00:10:96::101";

fn pod(name: &str, number: u8, app: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "labels": {"app": app}},
        "spec": {"nodeName": format!("node{number}"), "containers": [{"name": "main", "image": "none"}]},
        "status": {"phase": "Running"},
    })
}

const PODS: [(&str, u8, &str); 4] = [
    ("a", 1, "web"),
    ("b", 1, "api"),
    ("c", 2, "api"),
    ("d", 2, "other"),
];

/// The last address of an attached pod, which is its IPv6 address.
fn v6(pod: &Pod) -> String {
    let all = pod.result["ips"].as_array().expect("addresses");
    let last = all.last().and_then(|ip| ip["address"].as_str());
    let address = last.and_then(|last| last.strip_suffix("/128"));
    address.expect("an IPv6 address").to_owned()
}

/// The pods as the API knows them once the runtime has reported their addresses.
fn report(fixture: &Fixture, attached: &[Pod]) {
    let objects = PODS
        .iter()
        .zip(attached)
        .map(|(&(name, k, app), attached)| {
            let ips = attached.result["ips"].as_array().expect("addresses").iter();
            let ips = ips.filter_map(|ip| ip["address"].as_str()?.split('/').next());
            let mut object = pod(name, k, app);
            object["status"]["podIPs"] = ips.map(|ip| json!({"ip": ip})).collect();
            object
        });
    fixture.objects.put("pods", objects.collect::<Vec<_>>());
}

/// A Service on IPv6 in front of `backend`.
fn serve(fixture: &Fixture, backend: &str) {
    let service = json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"clusterIP": SERVICE, "clusterIPs": [SERVICE], "ipFamilies": ["IPv6"],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}]},
    });
    let slice = json!({
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv6", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [backend], "conditions": {"ready": true}, "nodeName": "node1"}],
    });
    fixture.objects.put("services", [service]);
    fixture.objects.put("endpointslices", [slice]);
}

fn allow(fixture: &Fixture, from: &Value) {
    fixture.objects.put(
        "networkpolicies",
        [json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"],
                "ingress": [{"from": [from]}]},
        })],
    );
}

/// Two nodes, and the pods of [`PODS`], of which `a` serves.
fn cluster(name: &str, families: Families) -> Option<(Fixture, PathBuf, Vec<Pod>)> {
    if let Some(missing) = missing() {
        eprintln!("SKIPPED: this test needs {missing}");
        return None;
    }
    let plugin = plugin();
    let mut fixture = Fixture::new(name);
    fixture.outside.ip("addr add fd00:77::2/64 dev eth0 nodad");
    fixture
        .objects
        .put("nodes", [families.node(1), families.node(2)]);
    let spaces = ["shop", "naru-system", "kube-system"];
    fixture.objects.put(
        "namespaces",
        spaces.map(|n| json!({"metadata": {"name": n}})),
    );
    fixture
        .objects
        .put("pods", PODS.map(|(name, k, app)| pod(name, k, app)));
    for node in &mut fixture.nodes {
        families.prepare(node);
        node.start(&plugin);
    }
    let add = |&(pod, k, _): &(&str, u8, &str)| {
        Pod::add(&plugin, &fixture.nodes[usize::from(k) - 1], name, pod)
    };
    let attached: Vec<Pod> = PODS.iter().map(add).collect();
    attached[0].serve_at("::", 8080);
    report(&fixture, &attached);
    Some((fixture, plugin, attached))
}

/// Pods to pods, Service, node port, world, policies: all over IPv6.
fn carries_ipv6(fixture: &Fixture, pods: &[Pod]) {
    let ([one, two], [a, b, c, d]) = (fixture.nodes.as_slice(), pods) else {
        panic!("two nodes and four pods")
    };
    let target = v6(a);
    for (from, node) in [(a, one), (b, one), (c, two), (d, two)] {
        // A node whose link has an address only just now cannot look for its neighbours yet.
        wait_for(&format!("{} to reach a", from.name), PATIENCE, || {
            from.ask(node, &target, 8080).as_deref() == Some("a")
        });
    }
    assert!(asked_from(one, &target, 8080), "a node reaches its pod");
    assert!(asked_from(two, &target, 8080), "and the other node does");
    serve(fixture, &target);
    for (from, node) in [(a, one), (b, one), (d, two)] {
        wait_for(&format!("the Service for {}", from.name), PATIENCE, || {
            from.ask(node, SERVICE, 80).as_deref() == Some("a")
        });
    }
    for k in [1, 2] {
        wait_for(&format!("the node port of node {k}"), PATIENCE, || {
            from_outside(fixture, &format!("[fd00:77::10{k}]:30080")).as_deref() == Some("a\n")
        });
    }
    assert_eq!(seen_outside(fixture, c, two), "fd00:77::102", "masqueraded");
    allow(
        fixture,
        &json!({"podSelector": {"matchLabels": {"app": "api"}}}),
    );
    wait_for("the policy to stop d", PATIENCE, || {
        d.ask(two, &target, 8080).is_none()
    });
    assert!(b.ask(one, &target, 8080).is_some(), "b is of the api");
    assert!(c.ask(two, SERVICE, 80).is_some(), "and so is c");
    let block = format!("{}/128", v6(d));
    allow(fixture, &json!({"ipBlock": {"cidr": block}}));
    wait_for("the block to let d in", PATIENCE, || {
        d.ask(two, &target, 8080).is_some()
    });
    wait_for("the block to stop c", PATIENCE, || {
        c.ask(two, &target, 8080).is_none()
    });
}

/// Whether a process of the node gets an answer.
fn asked_from(node: &Node, address: &str, port: u16) -> bool {
    let script = format!("exec 3<>/dev/tcp/{address}/{port} && read -t 1 -u 3 line && echo $line");
    let mut command = node.command("timeout");
    let output = command.args(["1", "bash", "-c", &script]).output();
    output.expect("bash").status.success()
}

fn from_outside(fixture: &Fixture, target: &str) -> Option<String> {
    let target: SocketAddr = target.parse().expect("an address");
    let ask = move || {
        let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        let mut greeting = [0; 2];
        stream.read_exact(&mut greeting).ok()?;
        Some(String::from_utf8_lossy(&greeting).into_owned())
    };
    fixture.outside.spawn(ask).join().expect("no panic")
}

/// The address under which a pod arrives in the world.
fn seen_outside(fixture: &Fixture, pod: &Pod, node: &Node) -> String {
    let (bound, wait) = std::sync::mpsc::channel();
    let server = fixture.outside.spawn(move || {
        let listener = TcpListener::bind(("fd00:77::2", 8181)).expect("the port is free");
        bound.send(()).expect("the test waits");
        let (mut stream, peer) = listener.accept().expect("a client");
        stream.write_all(b"here\n").expect("it reads");
        peer.ip().to_string()
    });
    wait.recv().expect("the server listens");
    assert_eq!(pod.ask(node, "fd00:77::2", 8181).as_deref(), Some("here"));
    server.join().expect("no panic")
}

#[test]
fn pods_of_two_families_use_both_and_keep_them_through_a_restart() {
    let Some((mut fixture, plugin, pods)) = cluster("dual", Families::Both) else {
        return;
    };
    let (first, second) = (&pods[0], &pods[1]);
    assert_eq!(first.result["ips"][1]["gateway"], "fe80::1");
    assert_eq!(first.result["routes"][1]["dst"], "::/0");
    assert_eq!(first.cni("CHECK"), (true, Value::Null));
    carries_ipv6(&fixture, &pods);
    fixture.objects.remove("networkpolicies", "shop", "web");
    wait_for("the policy to be gone", PATIENCE, || {
        second.ask(&fixture.nodes[0], &v6(first), 8080).is_some()
    });
    let target = SocketAddr::new(v6(first).parse().expect("an address"), 8080);
    let held = second.netns.spawn(move || TcpStream::connect(target));
    let mut held = held.join().expect("no panic").expect("a connection");
    let mut greeting = [0; 2];
    held.read_exact(&mut greeting).expect("a greeting");
    fixture.nodes[0].kill();
    let mut echoed = |byte: u8| {
        let mut back = [0];
        held.write_all(&[byte]).expect("it is read");
        held.read_exact(&mut back).expect("an echo");
        assert_eq!(back, [byte]);
    };
    echoed(1);
    fixture.nodes[0].start(&plugin);
    echoed(2);
    let one = &fixture.nodes[0];
    for address in [&first.address, &v6(first)] {
        let said = second.ask(one, address, 8080);
        assert_eq!(said.as_deref(), Some("a"), "{address}\n{}", one.logged());
    }
    assert_eq!(first.cni("CHECK"), (true, Value::Null));
    assert!(second.cni("DEL").0);
    let routes = one.netns.ip("-6 route show");
    assert!(
        routes.contains(&v6(first)) && !routes.contains(&v6(second)),
        "{routes}"
    );
}

#[test]
fn nodes_of_ipv6_alone_carry_everything() {
    let Some((fixture, _, pods)) = cluster("six", Families::V6) else {
        return;
    };
    assert_eq!(pods[0].result["ips"].as_array().map(Vec::len), Some(1));
    carries_ipv6(&fixture, &pods);
}
