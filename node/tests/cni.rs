//! The CNI specification, verb by verb, with the real plugin against the real daemon.

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use support::netns::Netns;
use support::pod::{call, call_with, config};
use support::{Fixture, Node, missing, plugin, wait_for};

const PATIENCE: Duration = Duration::from_secs(10);

fn node(number: u8, range: Option<&str>) -> Value {
    json!({
        "metadata": {"name": format!("node{number}")}, "spec": {"podCIDR": range},
        "status": {"addresses": [{"type": "InternalIP", "address": format!("192.168.77.10{number}")}]},
    })
}

/// A fixture whose first node runs; none on a machine that can't.
fn fixture(name: &str) -> Option<(Fixture, PathBuf)> {
    if let Some(missing) = missing() {
        eprintln!("SKIPPED: this test needs {missing}");
        return None;
    }
    let plugin = plugin();
    let mut fixture = Fixture::new(name);
    fixture
        .objects
        .put("nodes", [node(1, Some("10.244.0.0/24"))]);
    fixture.nodes[0].start(&plugin);
    Some((fixture, plugin))
}

/// A sandbox of which the API knows nothing: its namespace alone.
struct Sandbox {
    id: String,
    netns: Netns,
}

impl Sandbox {
    fn new(fixture: &str, id: &str) -> Self {
        Self {
            id: format!("{fixture}{id}"),
            netns: Netns::new(&format!("nt-{fixture}-s-{id}")),
        }
    }

    /// Calls the plugin about it with a configuration.
    fn call(&self, plugin: &Path, config: &Value, command: &str) -> (bool, Value) {
        let path = self.netns.path();
        call_with(plugin, config, command, &self.id, Some(("", &path)))
    }

    fn add(&self, plugin: &Path, node: &Node) -> Value {
        let (added, result) = self.call(plugin, &config(&node.socket()), "ADD");
        assert!(added, "ADD {}: {result}", self.id);
        result
    }
}

fn address(result: &Value) -> String {
    result["ips"][0]["address"]
        .as_str()
        .expect("an address")
        .to_owned()
}

fn leases(node: &Node) -> Vec<String> {
    let entries = std::fs::read_dir(node.dir.join("state/leases")).expect("leases");
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn links(node: &Node) -> usize {
    let list = support::must(
        node.command("ip")
            .args(["-o", "link", "show", "type", "veth"]),
    );
    list.lines().filter(|line| line.contains(": naru")).count()
}

#[test]
fn attachments_made_at_once_share_nothing_and_are_all_taken_back() {
    let Some((fixture, plugin)) = fixture("par") else {
        return;
    };
    let node = &fixture.nodes[0];
    let sandboxes: Vec<_> = (0..16)
        .map(|k| Sandbox::new("par", &k.to_string()))
        .collect();
    let results: Vec<Value> = std::thread::scope(|scope| {
        let adds: Vec<_> = sandboxes
            .iter()
            .map(|sandbox| scope.spawn(|| sandbox.add(&plugin, node)))
            .collect();
        adds.into_iter()
            .map(|add| add.join().expect("an ADD"))
            .collect()
    });
    let mut addresses: Vec<_> = results.iter().map(address).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!((addresses.len(), links(node)), (16, 16));
    std::thread::scope(|scope| {
        for sandbox in &sandboxes {
            let del = || call(&plugin, &node.socket(), "DEL", &sandbox.id, None);
            // Each twice, the second time perhaps while the first is under way.
            scope.spawn(move || assert!(del().0));
            scope.spawn(move || assert!(del().0));
        }
    });
    assert_eq!((leases(node), links(node)), (vec![], 0));
}

#[test]
fn what_the_runtime_no_longer_knows_is_collected() {
    let Some((fixture, plugin)) = fixture("gc") else {
        return;
    };
    let node = &fixture.nodes[0];
    let [a, b, c] = ["a", "b", "c"].map(|id| Sandbox::new("gc", id));
    let result = a.add(&plugin, node);
    b.add(&plugin, node);
    c.add(&plugin, node);
    // The namespace of one is gone already, as after a crash of the runtime.
    drop(c);
    let gc = |valid: Option<Value>| {
        let mut config = config(&node.socket());
        if let Some(valid) = valid {
            config["cni.dev/valid-attachments"] = valid;
        }
        call_with(&plugin, &config, "GC", "", None)
    };
    let (done, error) = gc(None);
    assert!(!done && error["code"] == 7, "{error}");
    assert_eq!(leases(node).len(), 3, "an absent list frees nothing");
    let valid = json!([{"containerID": "gca", "ifname": "eth0"}]);
    assert!(gc(Some(valid.clone())).0);
    assert_eq!(
        (leases(node), links(node)),
        (vec!["gca,eth0.json".to_owned()], 1)
    );
    assert!(gc(Some(valid)).0, "repeated");
    let mut kept = config(&node.socket());
    kept["prevResult"] = result;
    assert!(a.call(&plugin, &kept, "CHECK").0);
    let mut old = config(&node.socket());
    old["cniVersion"] = json!("1.0.0");
    assert_eq!(call_with(&plugin, &old, "GC", "", None).1["code"], 1);
}

#[test]
fn check_compares_with_the_result_of_the_add_and_with_the_node() {
    let Some((fixture, plugin)) = fixture("chk") else {
        return;
    };
    let node = &fixture.nodes[0];
    let sandbox = Sandbox::new("chk", "a");
    let result = sandbox.add(&plugin, node);
    let check = |previous: Option<&Value>| {
        let mut config = config(&node.socket());
        config["prevResult"] = previous.cloned().unwrap_or(Value::Null);
        sandbox.call(&plugin, &config, "CHECK")
    };
    assert!(check(Some(&result)).0);
    assert_eq!(check(None).1["code"], 7);
    let mut other = result.clone();
    other["ips"][0]["address"] = json!("10.244.0.99/32");
    let (_, error) = check(Some(&other));
    assert!(error["code"] == 102 && error["details"].as_str().unwrap().contains("10.244.0.99"));
    sandbox.netns.ip("link set eth0 down");
    assert_eq!(check(Some(&result)).1["code"], 102);
    // An ADD again makes it whole, with the same address.
    assert_eq!(address(&sandbox.add(&plugin, node)), address(&result));
    assert!(check(Some(&result)).0);
}

#[test]
fn results_are_printed_in_the_version_of_the_configuration() {
    let Some((fixture, plugin)) = fixture("ver") else {
        return;
    };
    let node = &fixture.nodes[0];
    let sandbox = Sandbox::new("ver", "a");
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let mut config = config(&node.socket());
        config["cniVersion"] = json!(version);
        let (added, result) = sandbox.call(&plugin, &config, "ADD");
        assert!(added && result["cniVersion"] == version, "{result}");
        let ip = &result["ips"][0];
        assert_eq!(ip.get("version").is_some(), version < "1.0.0", "{version}");
        let link = &result["interfaces"][1];
        assert_eq!(link.get("mtu").is_some(), version == "1.1.0", "{version}");
        assert_eq!(link["name"], "eth0");
        config["prevResult"] = result;
        assert_eq!(
            sandbox.call(&plugin, &config, "CHECK").0,
            version >= "0.4.0"
        );
        assert!(sandbox.call(&plugin, &config, "DEL").0);
        let (_, versions) = sandbox.call(&plugin, &config, "VERSION");
        assert_eq!(versions["cniVersion"], version);
    }
    let mut config = config(&node.socket());
    config["prevResult"] = json!({"cniVersion": "1.1.0", "ips": []});
    let (added, error) = sandbox.call(&plugin, &config, "ADD");
    assert!(
        !added && error["code"] == 7,
        "not the first in its list: {error}"
    );
    assert!(leases(node).is_empty());
}

#[test]
fn status_says_what_is_missing() {
    let Some((mut fixture, plugin)) = fixture("stat") else {
        return;
    };
    let status = |node: &Node| call(&plugin, &node.socket(), "STATUS", "", None);
    assert!(status(&fixture.nodes[0]).0);
    // A node of which the API says no range yet can't serve an ADD; nothing that runs is hurt.
    fixture.objects.put("nodes", [node(2, None)]);
    let two = &mut fixture.nodes[1];
    two.launch();
    wait_for("STATUS 50", PATIENCE, || status(&*two).1["code"] == 50);
    let (added, error) = call(
        &plugin,
        &two.socket(),
        "ADD",
        "x",
        Some(("", Path::new("/proc/self/ns/net"))),
    );
    assert!(!added && error["code"] == 11, "{error}");
    fixture
        .objects
        .put("nodes", [node(2, Some("10.244.1.0/24"))]);
    wait_for("STATUS 0", PATIENCE, || status(&fixture.nodes[1]).0);
    fixture.nodes[1].kill();
    assert_eq!(
        status(&fixture.nodes[1]).1["code"],
        51,
        "nobody looks after what runs"
    );
}

#[test]
fn an_attachment_that_is_killed_half_way_leaves_nothing() {
    let Some((mut fixture, plugin)) = fixture("half") else {
        return;
    };
    let begun = Sandbox::new("half", "a");
    let path = begun.netns.path();
    for attempt in 0..8 {
        let node = &mut fixture.nodes[0];
        let (socket, before) = (node.socket(), leases(node));
        assert!(before.is_empty() && links(node) == 0, "{before:?}");
        std::thread::scope(|scope| {
            let add = scope.spawn(|| call(&plugin, &socket, "ADD", &begun.id, Some(("", &path))));
            // Later in each attempt: with the lease alone, with the link, with all but the answer.
            wait_for("a lease", PATIENCE, || {
                !leases(node).is_empty() || add.is_finished()
            });
            std::thread::sleep(Duration::from_millis(attempt * 2));
            node.kill();
            let (added, answer) = add.join().expect("the plugin ends");
            assert!(added || answer["code"] == 11, "{answer}");
        });
        node.start(&plugin);
        // The runtime may ask again, or give up; either way with DEL or GC at the end.
        if attempt % 2 == 0 {
            assert!(call(&plugin, &socket, "DEL", &begun.id, None).0);
        } else {
            begun.add(&plugin, node);
            let mut all = config(&socket);
            all["cni.dev/valid-attachments"] = json!([]);
            assert!(call_with(&plugin, &all, "GC", "", None).0);
        }
        let inside = begun.netns.ip("-o link");
        assert!(!inside.contains("eth0"), "{inside}");
    }
}
