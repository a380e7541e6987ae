//! The network of two nodes with the real daemon, the real plugin and real programs.

mod bandwidth;
mod own_network;
mod room;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use aya::maps::{HashMap, Map, MapData};
use naru_ebpf_common::{Affinity, AffinityKey, names};
use serde_json::{Value, json};
use support::pod::{Pod, call, call_with};
use support::{Fixture, missing, plugin, wait_for};

fn node(number: u8) -> Value {
    json!({
        "metadata": {"name": format!("node{number}")},
        "spec": {"podCIDR": format!("10.244.{}.0/24", number - 1)},
        "status": {"addresses": [{"type": "InternalIP", "address": format!("192.168.77.10{number}")}]},
    })
}

fn pod(name: &str, number: u8, app: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "labels": {"app": app}},
        "spec": {"nodeName": format!("node{number}"), "containers": [
            {"name": "main", "image": "none", "ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"phase": "Running"},
    })
}

fn service(backends: &[&Pod]) -> (Value, Value) {
    let service = json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.1.1", "ports": [
            {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP", "nodePort": 30080}]},
    });
    let endpoints: Vec<_> = backends
        .iter()
        .map(|pod| json!({"addresses": [pod.address], "conditions": {"ready": true}, "nodeName": "node1"}))
        .collect();
    let slice = json!({
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    });
    (service, slice)
}

/// The pod as the API knows it once the runtime has reported its address.
fn running(pod_object: Value, attached: &Pod) -> Value {
    let mut object = pod_object;
    object["status"]["podIPs"] = json!([{"ip": attached.address}]);
    object
}

/// Nodes, started with `flags`, a namespace and four pods: `a` and `b` on node 1, `c` and `d` on node 2.
fn cluster(name: &str, flags: &[&str]) -> Option<(Fixture, std::path::PathBuf)> {
    if let Some(missing) = missing() {
        eprintln!("SKIPPED: this test needs {missing}");
        return None;
    }
    let plugin = plugin();
    let mut fixture = Fixture::new(name);
    fixture.objects.put("nodes", [node(1), node(2)]);
    fixture.objects.put(
        "namespaces",
        ["shop", "naru-system", "kube-system"].map(|n| json!({"metadata": {"name": n}})),
    );
    fixture.objects.put(
        "pods",
        [
            pod("a", 1, "web"),
            pod("b", 1, "api"),
            pod("c", 2, "api"),
            pod("d", 2, "other"),
        ],
    );
    for node in &mut fixture.nodes {
        node.flags = flags.iter().map(ToString::to_string).collect();
        node.start(&plugin);
    }
    Some((fixture, plugin))
}

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn pods_services_and_policies_work_across_two_nodes() {
    let Some((fixture, plugin)) = cluster("net", &[]) else {
        return;
    };
    let [one, two] = fixture.nodes.as_slice() else {
        panic!("two nodes")
    };
    let (a, b) = (
        Pod::add(&plugin, one, "net", "a"),
        Pod::add(&plugin, one, "net", "b"),
    );
    let (c, d) = (
        Pod::add(&plugin, two, "net", "c"),
        Pod::add(&plugin, two, "net", "d"),
    );
    a.serve(8080);
    fixture.objects.put(
        "pods",
        [
            running(pod("a", 1, "web"), &a),
            running(pod("b", 1, "api"), &b),
            running(pod("c", 2, "api"), &c),
            running(pod("d", 2, "other"), &d),
        ],
    );
    for (from, node) in [(&b, one), (&c, two), (&d, two)] {
        let asked = from.ask(node, &a.address, 8080);
        assert_eq!(
            asked.as_deref(),
            Some("a"),
            "{} to a\n{}",
            from.name,
            node.logged()
        );
    }
    let (service, slice) = service(&[&a]);
    fixture.objects.put("services", [service]);
    fixture.objects.put("endpointslices", [slice]);
    let through = |from: &Pod, node| from.ask(node, "10.96.1.1", 80).as_deref() == Some("a");
    wait_for("the service on node 1", PATIENCE, || through(&b, one));
    wait_for("the service on node 2", PATIENCE, || through(&d, two));

    let only_api = json!({
        "metadata": {"name": "web-from-api", "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"], "ingress": [
            {"from": [{"podSelector": {"matchLabels": {"app": "api"}}}], "ports": [{"port": "http"}]}]},
    });
    fixture.objects.put("networkpolicies", [only_api]);
    wait_for("the policy to stop d", PATIENCE, || {
        d.ask(two, &a.address, 8080).is_none()
    });
    assert!(
        through(&b, one) && through(&c, two),
        "the policy allows api"
    );
    fixture
        .objects
        .remove("networkpolicies", "shop", "web-from-api");
    wait_for("the policy to be gone", PATIENCE, || through(&d, two));

    // Verbs of the plugin: CHECK, DEL twice, and an address that is not given again at once.
    assert!(b.cni("CHECK").0);
    assert!(b.cni("DEL").0 && b.cni("DEL").0);
    assert_eq!(b.cni("CHECK").1["code"], 3);
    let again = b.cni("ADD").1;
    assert_ne!(again["ips"][0]["address"], format!("{}/32", b.address));
}

/// A connection between two pods that echoes.
struct Stream(TcpStream);

impl Stream {
    fn open(client: &Pod, server: &Pod) -> Self {
        let address = format!("{}:8080", server.address);
        let connect = move || TcpStream::connect(address);
        let mut stream = client.netns.spawn(connect).join().unwrap().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut greeting = [0; 2];
        stream.read_exact(&mut greeting).unwrap();
        Self(stream)
    }

    fn echo(&mut self, text: &[u8]) {
        self.0.write_all(text).unwrap();
        let mut back = vec![0; text.len()];
        self.0.read_exact(&mut back).unwrap();
        assert_eq!(back, text);
    }
}

#[test]
fn a_killed_daemon_breaks_nothing_and_its_successor_attaches_nothing() {
    let Some((mut fixture, plugin)) = cluster("kill", &[]) else {
        return;
    };
    let a = Pod::add(&plugin, &fixture.nodes[0], "kill", "a");
    let d = Pod::add(&plugin, &fixture.nodes[1], "kill", "d");
    a.serve(8080);
    let (service, slice) = service(&[&a]);
    fixture.objects.put("services", [service]);
    fixture.objects.put("endpointslices", [slice]);
    let through = |two: &support::Node| d.ask(two, "10.96.1.1", 80).as_deref() == Some("a");
    wait_for("the service on node 2", PATIENCE, || {
        through(&fixture.nodes[1])
    });
    let mut stream = Stream::open(&d, &a);
    stream.echo(b"before");
    fixture.nodes.iter_mut().for_each(support::Node::kill);
    stream.echo(b"dead");
    assert!(
        through(&fixture.nodes[1]),
        "new connections work without the daemons"
    );
    let before: Vec<usize> = fixture
        .nodes
        .iter()
        .map(|node| node.logged().len())
        .collect();
    fixture
        .nodes
        .iter_mut()
        .for_each(|node| node.start(&plugin));
    stream.echo(b"after");
    assert!(through(&fixture.nodes[1]));
    for (node, before) in fixture.nodes.iter().zip(before) {
        let log = node.logged()[before..].to_owned();
        assert!(log.contains("data path open"), "{log}");
        assert!(
            !log.contains("Made") && !log.contains("Replaced"),
            "something was attached anew: {log}"
        );
    }
    assert!(a.cni("CHECK").0, "the successor knows the pod");
}

#[test]
fn an_upgrade_to_another_layout_moves_links_and_keeps_what_it_can_read() {
    let Some((mut fixture, plugin)) = cluster("layout", &[]) else {
        return;
    };
    let a = Pod::add(&plugin, &fixture.nodes[0], "layout", "a");
    let d = Pod::add(&plugin, &fixture.nodes[1], "layout", "d");
    a.serve(8080);
    let mut stream = Stream::open(&d, &a);
    stream.echo(b"before");
    let node = &mut fixture.nodes[0];
    node.kill();
    let before = node.logged().len();
    leave_as_another_build(node, &[names::CONNTRACK]);
    let programs = node.bpffs().join("programs");
    let pins = fs::read_dir(&programs).unwrap().count();
    let maps = node.bpffs().join("maps");
    let kept = fs::metadata(maps.join("ENDPOINTS-1")).unwrap().ino();
    node.start(&plugin);
    stream.echo(b"after");
    let log = node.logged()[before..].to_owned();
    assert!(log.contains("Replaced") && !log.contains("Made"), "{log}");
    assert!(
        log.contains("layout changed") && log.contains("CONNTRACK-0"),
        "{log}"
    );
    assert!(!maps.join("CONNTRACK-0").exists() && maps.join("CONNTRACK-1").exists());
    assert_eq!(fs::metadata(maps.join("ENDPOINTS-1")).unwrap().ino(), kept);
    assert_eq!(fs::read_dir(&programs).unwrap().count(), pins);
}

/// How many clients keep a backend of some Service on a node.
fn kept(node: &support::Node) -> usize {
    let pin = node.bpffs().join("maps/AFFINITY-1");
    let map = MapData::from_pin(pin).map(Map::LruHashMap).expect("pinned");
    let map: HashMap<_, AffinityKey, Affinity> = map.try_into().expect("a hash");
    map.keys().flatten().count()
}

#[test]
fn what_clients_keep_of_a_service_is_forgotten_with_it() {
    let Some((mut fixture, plugin)) = cluster("aff", &[]) else {
        return;
    };
    let a = Pod::add(&plugin, &fixture.nodes[0], "aff", "a");
    let b = Pod::add(&plugin, &fixture.nodes[0], "aff", "b");
    a.serve(8080);
    let (mut service, slice) = service(&[&a]);
    service["spec"]["sessionAffinity"] = json!("ClientIP");
    fixture.objects.put("endpointslices", [slice]);
    for restart in [false, true] {
        fixture.objects.put("services", [service.clone()]);
        let node = &fixture.nodes[0];
        wait_for("the service", PATIENCE, || {
            b.ask(node, "10.96.1.1", 80).as_deref() == Some("a")
        });
        assert_eq!(kept(node), 1);
        let node = &mut fixture.nodes[0];
        if restart {
            node.kill();
        }
        fixture.objects.remove("services", "shop", "web");
        if restart {
            node.start(&plugin);
        }
        wait_for("it to be forgotten", PATIENCE, || kept(node) == 0);
    }
}

/// Renames what a daemon has pinned, as another build with another layout of these maps would have.
fn leave_as_another_build(node: &support::Node, maps: &[&str]) {
    let programs = node.bpffs().join("programs");
    for pin in fs::read_dir(&programs).unwrap().flatten() {
        let name = pin.file_name().to_string_lossy().into_owned();
        let (program, _) = name.rsplit_once('-').unwrap();
        fs::rename(pin.path(), programs.join(format!("{program}-other"))).unwrap();
    }
    let pins = node.bpffs().join("maps");
    for map in maps {
        let version = names::MAPS.iter().find(|(name, _)| name == map).unwrap().1;
        let pin = pins.join(format!("{map}-{version}"));
        fs::rename(pin, pins.join(format!("{map}-0"))).unwrap();
    }
}

#[test]
fn an_upgrade_that_finds_no_api_goes_on_with_what_was_known_and_moves_when_all_is_filled() {
    let Some((mut fixture, plugin)) = cluster("fill", &[]) else {
        return;
    };
    let a = Pod::add(&plugin, &fixture.nodes[0], "fill", "a");
    let b = Pod::add(&plugin, &fixture.nodes[0], "fill", "b");
    let d = Pod::add(&plugin, &fixture.nodes[1], "fill", "d");
    a.serve(8080);
    let (service, slice) = service(&[&a]);
    fixture.objects.put("services", [service]);
    fixture.objects.put("endpointslices", [slice]);
    let through = |node: &support::Node| b.ask(node, "10.96.1.1", 80).as_deref() == Some("a");
    wait_for("the service on node 1", PATIENCE, || {
        through(&fixture.nodes[0])
    });
    let mut stream = Stream::open(&d, &a);
    stream.echo(b"before");
    let node = &mut fixture.nodes[0];
    node.kill();
    let before = node.logged().len();
    let maps = [names::NODE_CONFIG, names::ENDPOINTS, names::SERVICES];
    leave_as_another_build(node, &maps);
    // The API is away; a daemon that dies meanwhile changes nothing.
    fixture.fabric.ip("addr del 192.168.77.11/24 dev br0");
    for open in 1..=2 {
        let node = &mut fixture.nodes[0];
        node.launch();
        wait_for("the data path", PATIENCE, || {
            let log = node.logged()[before..].to_owned();
            log.matches("links move when its maps are filled").count() == open
        });
        stream.echo(b"without the API");
        assert!(through(node), "new connections, and a service");
        if open == 1 {
            node.kill();
        }
    }
    let node = &fixture.nodes[0];
    assert!(!node.logged()[before..].contains("links moved"));
    fixture.fabric.ip("addr add 192.168.77.11/24 dev br0");
    wait_for("the links to move", Duration::from_secs(60), || {
        node.logged()[before..].contains("links moved")
    });
    stream.echo(b"after");
    assert!(through(node));
    assert!(Stream::open(&d, &a).0.peer_addr().is_ok(), "a new flow");
    let left = fs::read_dir(node.bpffs().join("maps")).unwrap().flatten();
    let left: Vec<_> = left.map(|pin| pin.file_name()).collect();
    assert_eq!(left.len(), names::MAPS.len(), "{left:?}");
    assert!(!node.bpffs().join("takeover").exists());
}

#[test]
fn bad_calls_of_the_plugin_get_their_codes() {
    if missing().is_some() {
        return;
    }
    let plugin = plugin();
    let nowhere = std::path::Path::new("/nonexistent/cni.sock");
    let netns = std::path::Path::new("/proc/self/ns/net");
    let code = |answer: (bool, Value)| {
        assert!(!answer.0);
        answer.1["code"].as_u64().expect("a code")
    };
    assert_eq!(
        code(call(&plugin, nowhere, "ADD", "x", Some(("a", netns)))),
        11
    );
    assert_eq!(code(call(&plugin, nowhere, "DEL", "x", None)), 11);
    assert_eq!(code(call(&plugin, nowhere, "STATUS", "", None)), 51);
    assert_eq!(
        code(call(&plugin, nowhere, "ADD", "", Some(("a", netns)))),
        4
    );
    assert_eq!(code(call(&plugin, nowhere, "NONSENSE", "x", None)), 4);
    let config = |version: &str| json!({"cniVersion": version, "name": "naru", "type": "naru-cni", "socket": nowhere});
    assert_eq!(
        code(call_with(
            &plugin,
            &config("9.9.9"),
            "ADD",
            "x",
            Some(("a", netns))
        )),
        1
    );
    assert_eq!(
        code(call_with(
            &plugin,
            &config("0.3.1"),
            "CHECK",
            "x",
            Some(("a", netns))
        )),
        1
    );
    assert_eq!(
        code(call_with(
            &plugin,
            &json!({"cniVersion": "1.1.0", "name": 7}),
            "DEL",
            "x",
            None
        )),
        6
    );
    let (ok, versions) = call_with(&plugin, &config("1.0.0"), "VERSION", "", None);
    assert!(ok);
    assert_eq!(versions["supportedVersions"][0], "0.3.0");
}
