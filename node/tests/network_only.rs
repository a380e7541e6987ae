//! Only the network: the daemon with a service account against an API server that is not ours.
//!
//! The server is the test's own, which knows list and watch of plain objects and nothing of Naru.
//! Every request that it sees is held against the ClusterRole of the manifest.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use support::pod::Pod;
use support::{Fixture, missing, plugin, wait_for};

const PATIENCE: Duration = Duration::from_secs(10);
/// A client looks at its token's file once a minute.
const ROTATION: Duration = Duration::from_secs(90);
const MANIFEST: &str = include_str!("../../deploy/network-only/daemonset.yaml");

fn node(number: u8) -> Value {
    json!({
        "metadata": {"name": format!("node{number}")},
        "spec": {"podCIDR": format!("10.244.{}.0/24", number - 1)},
        "status": {"addresses": [{"type": "InternalIP", "address": format!("192.168.77.10{number}")}]},
    })
}

fn pod(name: &str, number: u8, app: &str, address: Option<&str>) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "labels": {"app": app}},
        "spec": {"nodeName": format!("node{number}"), "containers": [{"name": "main", "image": "none"}]},
        "status": {"phase": "Running", "podIPs": address.map(|ip| json!([{"ip": ip}]))},
    })
}

/// `group/resource verb` of every rule of the manifest's ClusterRole.
fn allowed() -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    let role = MANIFEST
        .split("\n---\n")
        .find(|text| text.contains("kind: ClusterRole\n"));
    let rules = role.expect("a ClusterRole").split("- apiGroups: ").skip(1);
    for rule in rules {
        let list = |from: &str| -> Vec<String> {
            let inner = from
                .split_once('[')
                .and_then(|(_, rest)| rest.split_once(']'));
            let (inner, _) = inner.expect("a list");
            let words = inner
                .split(',')
                .map(|word| word.trim().trim_matches('"').to_owned());
            words.collect()
        };
        let part = |name: &str| list(rule.split_once(name).expect(name).1);
        for group in list(rule) {
            for resource in part("resources:") {
                for verb in part("verbs:") {
                    allowed.insert(format!("{group}/{resource} {verb}"));
                }
            }
        }
    }
    allowed
}

/// What a request asks for, in the same words.
fn asked(method: &str, uri: &str) -> String {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let words: Vec<_> = path.trim_start_matches('/').split('/').collect();
    let (group, rest) = match words.as_slice() {
        ["api", "v1", rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => panic!("no path of the Kubernetes API: {uri}"),
    };
    let rest = match rest {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    let verb = match (method, rest.len()) {
        ("GET", 1) if query.contains("watch=true") => "watch",
        ("GET", 1) => "list",
        ("GET", _) => "get",
        ("POST", _) => "create",
        ("PATCH", _) => "patch",
        _ => panic!("{method} {uri}"),
    };
    format!("{group}/{} {verb}", rest[0])
}

#[test]
fn the_network_runs_on_an_api_server_that_is_not_ours() {
    if let Some(missing) = missing() {
        eprintln!("SKIPPED: this test needs {missing}");
        return;
    }
    plugin();
    let mut fixture = Fixture::new("only");
    fixture.objects.demand("first");
    // A cluster where nobody has brought the kind along.
    fixture.objects.know("clusternetworkpolicies", false);
    fixture.objects.put("nodes", [node(1), node(2)]);
    let namespaces = ["shop", "kube-system"].map(|name| json!({"metadata": {"name": name}}));
    fixture.objects.put("namespaces", namespaces);
    let pods = [
        pod("a", 1, "web", None),
        pod("b", 2, "api", None),
        pod("c", 2, "other", None),
    ];
    fixture.objects.put("pods", pods);
    let host = fixture.dir.path().to_owned();
    for node in &mut fixture.nodes {
        // No kubeconfig: the files of a service account alone.
        std::fs::remove_file(node.dir.join("cred/kubeconfig")).expect("removed");
        for dir in ["account", "cni/net.d", "cni/bin"] {
            std::fs::create_dir_all(node.dir.join(dir)).expect("a directory");
        }
        std::fs::write(node.dir.join("account/token"), "first").expect("a token");
        let path = |name: &str| node.dir.join(name).display().to_string();
        let flags = [
            "--network-only",
            "--api-server",
            "http://192.168.77.11:6443",
            "--service-account",
            &path("account"),
            "--cni-conf-dir",
            &path("cni/net.d"),
            "--cni-bin-dir",
            &path("cni/bin"),
        ];
        node.flags = flags.map(str::to_owned).to_vec();
        node.launch();
    }
    // As a runtime does: the configuration appears when pods can be attached, the plugin with it.
    let [one, two] = fixture.nodes.as_slice() else {
        panic!("two nodes")
    };
    for node in [one, two] {
        let list = node.dir.join("cni/net.d/05-naru.conflist");
        wait_for("the CNI configuration", Duration::from_secs(60), || {
            list.exists()
        });
        let list: Value = serde_json::from_slice(&std::fs::read(list).unwrap()).unwrap();
        assert_eq!(list["plugins"][0]["socket"], json!(node.socket()));
    }
    let installed = |k: u8| host.join(format!("node{k}/cni/bin/naru-cni"));
    let a = Pod::add(&installed(1), one, "only", "a");
    let b = Pod::add(&installed(2), two, "only", "b");
    let c = Pod::add(&installed(2), two, "only", "c");
    a.serve(8080);
    fixture.objects.put(
        "pods",
        [
            pod("a", 1, "web", Some(&a.address)),
            pod("b", 2, "api", Some(&b.address)),
            pod("c", 2, "other", Some(&c.address)),
        ],
    );
    assert_eq!(b.ask(two, &a.address, 8080).as_deref(), Some("a"));
    service(&fixture, &a);
    let through = |from: &Pod, address: &str| from.ask(two, address, 80).as_deref() == Some("a");
    wait_for("the Service", PATIENCE, || through(&b, "10.96.1.1"));
    // The address that a Naru cluster has for its DNS is a Service like any other here.
    wait_for("the cluster's DNS Service", PATIENCE, || {
        through(&b, "10.96.0.10")
    });
    let policy = json!({
        "metadata": {"name": "web-from-api", "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "api"}}}]}]},
    });
    fixture.objects.put("networkpolicies", [policy]);
    wait_for("the policy", PATIENCE, || !through(&c, "10.96.1.1"));
    assert!(through(&b, "10.96.1.1"));
    assert!(b.cni("CHECK").0 && b.cni("DEL").0);
    rotate(&fixture, &c);
    the_custom_kind_comes_and_goes(&fixture, &c);
    holds_to_its_role(&fixture);
}

fn service(fixture: &Fixture, backend: &Pod) {
    let named = |name: &str, ip: &str| {
        json!({"metadata": {"name": name, "namespace": "shop"},
            "spec": {"clusterIP": ip, "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]}})
    };
    let slice = |name: &str| {
        json!({"metadata": {"name": format!("{name}-1"), "namespace": "shop",
                "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "ports": [{"port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": [backend.address], "conditions": {"ready": true}}]})
    };
    let services = [named("web", "10.96.1.1"), named("dns", "10.96.0.10")];
    fixture.objects.put("services", services);
    fixture
        .objects
        .put("endpointslices", [slice("web"), slice("dns")]);
}

/// The kubelet replaces the token; the server forgets the old one, and its watches end.
fn rotate(fixture: &Fixture, changed: &Pod) {
    for node in &fixture.nodes {
        let (token, aside) = (node.dir.join("account/token"), node.dir.join("account/new"));
        std::fs::write(&aside, "second").expect("a token");
        std::fs::rename(aside, token).expect("replaced");
    }
    fixture.objects.demand("second");
    fixture.objects.hang_up();
    wait_for("the new token", ROTATION, || {
        let seen = fixture.objects.seen();
        seen.iter()
            .any(|seen| seen.authorization == "Bearer second")
    });
    // What changes from now on arrives again.
    fixture
        .objects
        .remove("networkpolicies", "shop", "web-from-api");
    wait_for("the policy to be gone", ROTATION, || {
        changed.ask(&fixture.nodes[1], "10.96.1.1", 80).as_deref() == Some("a")
    });
}

/// Its policies count as long as the server knows the kind.
fn the_custom_kind_comes_and_goes(fixture: &Fixture, other: &Pod) {
    let reaches = || other.ask(&fixture.nodes[1], "10.96.1.1", 80).as_deref() == Some("a");
    let deny = json!({
        "metadata": {"name": "deny"},
        "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}},
            "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]},
    });
    let objects = &fixture.objects;
    objects.put("clusternetworkpolicies", [deny]);
    objects.know("clusternetworkpolicies", true);
    wait_for("the policy of the custom kind", ROTATION, || !reaches());
    objects.know("clusternetworkpolicies", false);
    objects.hang_up();
    wait_for("the custom kind to be gone", ROTATION, reaches);
}

fn holds_to_its_role(fixture: &Fixture) {
    let allowed = allowed();
    assert!(allowed.contains("/pods watch") && !allowed.contains("/secrets get"));
    let seen = fixture.objects.seen();
    let asked: BTreeSet<_> = seen
        .iter()
        .map(|seen| asked(&seen.method, &seen.uri))
        .collect();
    let beyond: Vec<_> = asked.difference(&allowed).collect();
    assert!(beyond.is_empty(), "not in the ClusterRole: {beyond:?}");
    assert!(asked.contains("/pods watch"), "{asked:?}");
    assert!(
        seen.iter()
            .all(|seen| seen.authorization.starts_with("Bearer "))
    );
}
