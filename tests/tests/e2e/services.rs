//! What Services promise beyond a cluster address: affinity, traffic policies, external addresses,
//! source ranges, ports of the host, datagrams that move.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use naru_tests::support::{addresses, wait};

use crate::harness::{Case, cases};
use crate::world::{PATIENCE, Space, World};

pub(crate) const CASES: &[Case] = cases![
    a_client_keeps_its_pod_under_session_affinity,
    a_client_meets_the_endpoints_of_its_zone,
    a_local_external_policy_keeps_the_source_and_says_which_node_serves,
    external_addresses_lead_to_pods_and_source_ranges_hold,
    every_node_gives_a_flow_to_the_same_pod_where_maglev_is_asked_for,
    a_port_of_the_host_leads_to_its_pod,
    node_ports_and_ports_of_the_host_are_at_every_address_of_a_node,
    datagrams_move_when_their_pod_leaves,
];

/// The host that answered an HTTP request to `landing serve`.
fn hostname(page: &str) -> Result<String> {
    let line = page.lines().find_map(|line| line.strip_prefix("hostname "));
    line.map(str::to_owned).context("no hostname in the answer")
}

/// The pod of a landing Service on every one of `times` requests of the pod `client`.
fn met(space: &Space<'_>, times: u32) -> Result<Vec<String>> {
    let ask = format!(
        "for i in $(seq {times}); do /landing get --url http://web/ | grep hostname; done | sort -u"
    );
    let said = space.exec("client", &["sh", "-c", &ask])?;
    said.lines().map(hostname).collect()
}

fn a_client_keeps_its_pod_under_session_affinity(world: &World) -> Result<()> {
    let space = world.namespace("affinity")?;
    space.landing_service("web", 3)?;
    space.landing_pod("client", None)?;
    let patch = r#"{"spec":{"sessionAffinity":"ClientIP",
        "sessionAffinityConfig":{"clientIP":{"timeoutSeconds":600}}}}"#;
    space.run(&["patch", "service", "web", "-p", patch])?;
    let one = wait::until("one pod for one client", PATIENCE, || {
        let met = met(&space, 20)?;
        Ok((met.len() == 1).then(|| met[0].clone()))
    })?;
    space.run(&["delete", "pod", &one, "--wait=false"])?;
    wait::until("another pod, and then always that", PATIENCE, || {
        let met = met(&space, 20)?;
        Ok((met.len() == 1 && met[0] != one).then_some(()))
    })
}

/// Zones of the two nodes, gone when dropped.
pub(crate) struct Zones<'a>(&'a World);

impl<'a> Zones<'a> {
    pub(crate) fn mark(world: &'a World) -> Result<Self> {
        let zones = Self(world);
        for (node, zone) in [("node1", "a"), ("node2", "b")] {
            let label = format!("topology.kubernetes.io/zone={zone}");
            world
                .kubectl
                .run(&["label", "node", node, "--overwrite", &label])?;
        }
        Ok(zones)
    }
}

impl Drop for Zones<'_> {
    fn drop(&mut self) {
        let label = "topology.kubernetes.io/zone-";
        let unmark = ["label", "node", "node1", "node2", label];
        self.0.kubectl.run(&unmark).ok();
    }
}

fn a_client_meets_the_endpoints_of_its_zone(world: &World) -> Result<()> {
    let _zones = Zones::mark(world)?;
    let space = world.namespace("zones")?;
    for (pod, node) in [("a", 1), ("b", 2)] {
        space.landing_pod(pod, Some(node))?;
        space.run(&["label", "pod", pod, "group=near"])?;
    }
    space.apply(
        "apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {group: near}
  trafficDistribution: PreferClose
  ports: [{port: 80, targetPort: 8080}]
",
    )?;
    for (node, near) in [(1, "a"), (2, "b")] {
        space.landing_pod("client", Some(node))?;
        wait::until(
            &format!("a client of node{node} to meet {near} alone"),
            PATIENCE,
            || {
                let met = met(&space, 20)?;
                Ok((met == [near]).then_some(()))
            },
        )?;
        space.run(&["delete", "pod", "client"])?;
    }
    // The near endpoint is gone: the other one is better than none.
    space.run(&["delete", "pod", "b"])?;
    space.landing_pod("client", Some(2))?;
    wait::until("the far endpoint", PATIENCE, || {
        Ok((met(&space, 5)? == ["a"]).then_some(()))
    })
}

/// Waits for an answer from outside; returns its body.
fn outside(world: &World, url: &str, wanted: u16) -> Result<String> {
    wait::until(url, PATIENCE, || {
        let (code, body) = world.get_outside(url, None)?;
        ensure!(code == wanted, "{code} {body}");
        Ok(Some(body))
    })
}

/// A LoadBalancer Service `web` with the policy `Local`, whose only pod is on node 1.
fn local_service(space: &Space<'_>) -> Result<()> {
    space.landing_pod("web", Some(1))?;
    space.apply(
        "apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
",
    )?;
    Ok(())
}

fn a_local_external_policy_keeps_the_source_and_says_which_node_serves(
    world: &World,
) -> Result<()> {
    let space = world.namespace("local")?;
    local_service(&space)?;
    let port = space.field("service/web", ".spec.ports[0].nodePort")?;
    let health = space.field("service/web", ".spec.healthCheckNodePort")?;
    let url = |k: u8, port: &str| format!("http://{}:{port}/", addresses::node(k));
    let page = outside(world, &url(1, &port), 200)?;
    let source = format!("peer {}\n", addresses::OUTSIDE);
    ensure!(page.contains(&source), "the source is not kept: {page}");
    wait::until("node 2 to be silent", PATIENCE, || {
        let error = world.get_outside(&url(2, &port), None).err();
        let silent = error.filter(|e| format!("{e:#}").contains("timed out"));
        Ok(silent.map(drop))
    })?;
    let healthy = outside(world, &url(1, &health), 200)?;
    let healthy: serde_json::Value = serde_json::from_str(&healthy)?;
    ensure!(healthy["localEndpoints"] == 1, "{healthy}");
    ensure!(healthy["service"]["name"] == "web", "{healthy}");
    outside(world, &url(2, &health), 503)?;
    let v6 = |k: u8| format!("http://[{}]:{health}/", addresses::node_v6(k));
    outside(world, &v6(1), 200)?;
    outside(world, &v6(2), 503)?;
    // The cluster's own reach the pod from everywhere.
    space.landing_pod("client", Some(2))?;
    let page = space.get_from("client", &url(2, &port))?;
    ensure!(page.contains("hostname web\n"), "{page}");
    Ok(())
}

/// Routes of the machine outside, gone when dropped.
pub(crate) struct Routes<'a>(&'a World, &'static [&'static str]);

impl<'a> Routes<'a> {
    pub(crate) fn to(world: &'a World, targets: &'static [&'static str], k: u8) -> Result<Self> {
        let (v4, v6) = (
            addresses::node(k).to_string(),
            addresses::node_v6(k).to_string(),
        );
        for target in targets {
            let via = if target.contains(':') { &v6 } else { &v4 };
            world.outside(&["ip", "route", "replace", target, "via", via])?;
        }
        Ok(Self(world, targets))
    }
}

impl Drop for Routes<'_> {
    fn drop(&mut self) {
        for target in self.1 {
            self.0.outside(&["ip", "route", "del", target]).ok();
        }
    }
}

fn external_addresses_lead_to_pods_and_source_ranges_hold(world: &World) -> Result<()> {
    let space = world.namespace("external")?;
    space.landing_service("web", 2)?;
    space.landing_pod("client", None)?;
    let _routes = Routes::to(world, &["198.51.100.10", "198.51.100.11"], 1)?;
    let patch = r#"{"spec":{"type":"LoadBalancer","externalIPs":["198.51.100.10"],
        "loadBalancerSourceRanges":["203.0.113.0/24"]}}"#;
    space.run(&["patch", "service", "web", "-p", patch])?;
    let status = r#"{"status":{"loadBalancer":{"ingress":[{"ip":"198.51.100.11"}]}}}"#;
    let patch = [
        "patch",
        "service",
        "web",
        "--subresource=status",
        "-p",
        status,
    ];
    space.run(&patch)?;
    outside(world, "http://198.51.100.10/", 200)?;
    let page = space.get_from("client", "http://198.51.100.10/")?;
    ensure!(page.contains("hostname web-"), "{page}");
    let balanced = "http://198.51.100.11/";
    let error = |result: Result<_>| match result {
        Err(error) => format!("{error:#}"),
        Ok((code, body)) => format!("answered {code} {body}"),
    };
    let refused = error(world.get_outside(balanced, None));
    ensure!(refused.contains("timed out"), "out of range: {refused}");
    let ranges = r#"{"spec":{"loadBalancerSourceRanges":["192.168.77.0/24"]}}"#;
    space.run(&["patch", "service", "web", "-p", ranges])?;
    outside(world, balanced, 200)?;
    let pod = space.get_from("client", balanced);
    let refused = pod.err().map(|e| format!("{e:#}")).unwrap_or_default();
    ensure!(
        refused.contains("refused"),
        "a pod is no such client: {refused}"
    );
    Ok(())
}

fn a_port_of_the_host_leads_to_its_pod(world: &World) -> Result<()> {
    let space = world.namespace("hostport")?;
    space.apply(&host_port_pod("web", 8099))?;
    space.pods_ready(&["web"])?;
    space.landing_pod("near", Some(1))?;
    space.landing_pod("far", Some(2))?;
    let url = format!("http://{}:8099/", addresses::node(1));
    let page = outside(world, &url, 200)?;
    let source = format!("peer {}\n", addresses::OUTSIDE);
    ensure!(page.contains(&source), "the source is not kept: {page}");
    for pod in ["near", "far"] {
        let page = space.get_from(pod, &url)?;
        ensure!(page.contains("hostname web\n"), "{pod}: {page}");
    }
    let loopback = "http://127.0.0.1:8099/";
    let page = world.on_node(1, &["curl", "-sS", "--max-time", "3", loopback])?;
    ensure!(page.contains("hostname web\n"), "{page}");
    let own = space.get_from("near", loopback);
    ensure!(own.is_err(), "the loopback of a pod is its own: {own:?}");
    space.run(&["delete", "pod", "web"])?;
    wait::until("the port is closed", PATIENCE, || {
        let closed = world.get_outside(&url, None).err();
        Ok(closed
            .filter(|e| format!("{e:#}").contains("connect to server"))
            .map(drop))
    })
}

/// An address that a node has beside the one that stands for it, until dropped.
struct Second<'a> {
    world: &'a World,
    address: &'static str,
}

impl<'a> Second<'a> {
    fn of_node1(world: &'a World, address: &'static str) -> Result<Self> {
        let words = ["ip", "addr", "add", address, "dev", "eth0"];
        let nodad: &[&str] = if address.contains("::") {
            &["nodad"]
        } else {
            &[]
        };
        world.on_node(1, &[&words, nodad].concat())?;
        Ok(Self { world, address })
    }
}

impl Drop for Second<'_> {
    fn drop(&mut self) {
        let words = ["ip", "addr", "del", self.address, "dev", "eth0"];
        self.world.on_node(1, &words).ok();
    }
}

fn node_ports_and_ports_of_the_host_are_at_every_address_of_a_node(world: &World) -> Result<()> {
    let space = world.namespace("addresses")?;
    space.apply(&host_port_pod("host", 8098))?;
    space.apply(
        "apiVersion: v1
kind: Service
metadata: {name: host}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: {app: host}
  ports: [{port: 80, targetPort: 8080}]
",
    )?;
    space.pods_ready(&["host"])?;
    let node_port = space.field("service/host", ".spec.ports[0].nodePort")?;
    space.landing_pod("near", Some(1))?;
    space.landing_pod("far", Some(2))?;
    let seconds = [
        ("192.168.77.201/24", "192.168.77.201"),
        ("fd00:77::201/64", "[fd00:77::201]"),
    ];
    for (address, host) in seconds {
        let second = Second::of_node1(world, address)?;
        for port in [node_port.as_str(), "8098"] {
            let url = format!("http://{host}:{port}/");
            outside(world, &url, 200)?;
            for pod in ["near", "far"] {
                let page = space.get_from(pod, &url)?;
                ensure!(page.contains("hostname host\n"), "{url} from {pod}: {page}");
            }
            let page = world.on_node(1, &["curl", "-gsS", "--max-time", "3", &url])?;
            ensure!(
                page.contains("hostname host\n"),
                "{url} from the node: {page}"
            );
        }
        drop(second);
        let url = format!("http://{host}:{node_port}/");
        wait::until("the address is nobody's", PATIENCE, || {
            Ok(space.get_from("near", &url).err().map(drop))
        })?;
    }
    Ok(())
}

/// A pod of node 1 with a port of the host that leads to its server.
fn host_port_pod(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: naru.dev/landing:v1
    args: [serve, --host, '::']
    ports: [{{containerPort: 8080, hostPort: {port}}}]
    readinessProbe: {{httpGet: {{path: /health, port: 8080}}, periodSeconds: 1}}
"
    )
}

/// A pod that sends datagrams back, behind the Service `echo` by its label.
fn echo_pod(name: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: echo}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {{name: main, image: naru.dev/landing:v1, args: [udp-echo, --port, '5353']}}
"
    )
}

const ECHO: &str = "apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  type: NodePort
  selector: {app: echo}
  ports: [{protocol: UDP, port: 9999, targetPort: 5353}]
";

/// Asks from outside, from the port `from`; returns who answered.
fn asked(world: &World, target: &str, from: u16) -> Result<String> {
    let (landing, from) = (world.landing()?, from.to_string());
    let said = world.outside(&[&landing, "udp-ask", "--target", target, "--from", &from])?;
    let host = said.split(' ').next().map(str::to_owned);
    host.context("an empty answer")
}

/// By datagrams, whose source port may be used again at once.
fn every_node_gives_a_flow_to_the_same_pod_where_maglev_is_asked_for(world: &World) -> Result<()> {
    const FLOWS: u16 = 20;
    let space = world.namespace("maglev")?;
    space.apply(ECHO)?;
    let wish = "naru.dev/load-balancer-algorithm=maglev";
    space.run(&["annotate", "service", "echo", wish])?;
    for name in ["a", "b", "c", "d"] {
        space.apply(&echo_pod(name))?;
    }
    space.pods_ready(&["--all"])?;
    let port = space.field("service/echo", ".spec.ports[0].nodePort")?;
    let nodes = [1, 2].map(|k| format!("{}:{port}", addresses::node(k)));
    // What a node remembers of a flow comes before any table: every attempt has other flows.
    let mut ports = 20_000..30_000;
    wait::until("both nodes to choose alike", PATIENCE, || {
        let mut pods = BTreeSet::new();
        for from in ports.by_ref().take(FLOWS.into()) {
            let [one, other] = [0, 1].map(|node: usize| asked(world, &nodes[node], from));
            let (one, other) = (one?, other?);
            ensure!(
                one == other,
                "port {from}: {one} at node1, {other} at node2"
            );
            pods.insert(one);
        }
        ensure!(pods.len() > 1, "all flows meet {pods:?}");
        Ok(Some(()))
    })
}

/// Pods leave by their label alone: they live on and would answer whoever still reached them.
fn datagrams_move_when_their_pod_leaves(world: &World) -> Result<()> {
    let space = world.namespace("datagrams")?;
    space.apply(ECHO)?;
    space.apply(&echo_pod("a"))?;
    space.landing_pod("client", None)?;
    space.pods_ready(&["a"])?;
    let label = |pod: &str, app: &str| {
        let label = format!("app={app}");
        space.run(&["label", "pod", pod, "--overwrite", &label])
    };
    let port = space.field("service/echo", ".spec.ports[0].nodePort")?;
    let target = format!("{}:{port}", addresses::node(1));
    let answers = |who: &str| {
        wait::until(&format!("an answer of {who}"), PATIENCE, || {
            let host = asked(world, &target, 47001)?;
            ensure!(host == who, "{host} answers");
            Ok(Some(()))
        })
    };
    answers("a")?;
    let connected = ["/landing", "udp-stay", "--target", "echo:9999"];
    let connected = space.background("client", &connected)?;
    label("a", "nobody")?;
    let ended = connected.finish()?.text;
    // ECONNABORTED, or EDESTADDRREQ if it sends before it hears of that.
    let errors = ["os error 103", "os error 89"];
    ensure!(errors.iter().any(|e| ended.contains(e)), "{ended:?}");
    wait::until("nobody answers", PATIENCE, || {
        Ok(asked(world, &target, 47001).is_err().then_some(()))
    })?;
    label("a", "echo")?;
    answers("a")?;
    space.apply(&echo_pod("b"))?;
    space.pods_ready(&["b"])?;
    label("a", "nobody")?;
    answers("b")
}
