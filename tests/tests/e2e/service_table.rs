//! The features of Services as a table: each row once over IPv4 and once over IPv6, by connect from
//! pods and packet by packet from outside.
//!
//! Every case has one set of pods that serve both families, and a Service of one family for each row,
//! so that an answer can only have come over the family that the row names.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use naru_tests::support::{addresses, wait};

use crate::families::server;
use crate::harness::{Case, cases};
use crate::services::{Routes, Zones};
use crate::world::{PATIENCE, Space, World};

pub(crate) const CASES: &[Case] = cases![
    affinity_holds_by_connect_and_by_packet_in_both_families,
    an_internal_local_policy_keeps_to_the_node_in_both_families,
    an_external_local_policy_keeps_the_source_in_both_families,
    topology_is_preferred_in_both_families,
    external_addresses_without_node_ports_and_source_ranges_hold_in_both_families,
    ports_of_the_host_lead_to_their_pod_in_both_families,
    maglev_chooses_alike_on_every_node_in_both_families,
    readiness_counts_as_the_service_says_in_both_families,
    an_endpoint_that_ends_serves_until_another_is_ready_in_both_families,
    a_named_target_port_is_each_pods_own_in_both_families,
    pods_of_the_hosts_network_ask_and_answer_in_both_families,
];

/// One column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// As `ipFamilies` spells it.
    fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// What a Service of this family is called.
    fn service(self) -> &'static str {
        match self {
            Self::V4 => "four",
            Self::V6 => "six",
        }
    }

    fn of(self, v4: std::net::Ipv4Addr) -> IpAddr {
        match self {
            Self::V4 => v4.into(),
            Self::V6 => addresses::v6(v4).into(),
        }
    }

    fn node(self, k: u8) -> IpAddr {
        self.of(addresses::node(k))
    }

    fn outside(self) -> IpAddr {
        self.of(addresses::OUTSIDE)
    }
}

/// An address and a port as URLs and sockets are written.
fn socket(address: &str, port: &str) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

fn url(address: &str, port: &str) -> String {
    format!("http://{}/", socket(address, port))
}

/// Runs a row for each family, and says of which one a failure is.
fn in_both(row: impl Fn(Family) -> Result<()>) -> Result<()> {
    for family in Family::ALL {
        row(family).with_context(|| format!("over {}", family.name()))?;
    }
    Ok(())
}

/// Servers `a` on node 1 and `b` on node 2 with the label `group=web`, clients `near` on node 1 and
/// `far` on node 2.
fn cast(space: &Space<'_>) -> Result<()> {
    let all = [("a", 1), ("b", 2), ("near", 1), ("far", 2)];
    let pods = all.map(|(name, node)| server(name, node)).join("---\n");
    space.apply(&pods)?;
    for name in ["a", "b"] {
        space.run(&["label", "pod", name, "group=web"])?;
    }
    space.pods_ready(&["--all"])
}

/// A Service of one family in front of the pods that the labels of `selector` select.
fn service(family: Family, selector: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {}}}
spec: {{ipFamilies: [{}], selector: {{{selector}}}, ports: [{{port: 80, targetPort: 8080}}], {spec}}}
",
        family.service(),
        family.name()
    )
}

/// A field of the family's Service.
fn field(space: &Space<'_>, family: Family, path: &str) -> Result<String> {
    space.field(&format!("service/{}", family.service()), path)
}

fn cluster_url(space: &Space<'_>, family: Family) -> Result<String> {
    Ok(url(&field(space, family, ".spec.clusterIP")?, "80"))
}

fn node_port(space: &Space<'_>, family: Family) -> Result<String> {
    field(space, family, ".spec.ports[0].nodePort")
}

/// The host that a page names.
fn host_of(page: &str) -> Result<String> {
    let line = page.lines().find_map(|line| line.strip_prefix("hostname "));
    line.map(str::to_owned).context("no hostname in the answer")
}

/// Who answered on every one of twenty new connections of the pod `client`.
fn met(space: &Space<'_>, client: &str, url: &str) -> Result<BTreeSet<String>> {
    let ask = format!("for i in $(seq 20); do /landing get --url {url} | grep hostname; done");
    let said = space.exec(client, &["sh", "-c", &ask])?;
    ensure!(said.lines().count() == 20, "{client} at {url}: {said}");
    said.lines().map(host_of).collect()
}

fn becomes_met(space: &Space<'_>, client: &str, url: &str, wanted: &[&str]) -> Result<()> {
    let wanted: BTreeSet<_> = wanted.iter().map(|&name| name.to_owned()).collect();
    wait::until(
        &format!("{client} to meet {wanted:?} at {url}"),
        PATIENCE,
        || {
            let met = met(space, client, url)?;
            ensure!(met == wanted, "it meets {met:?}");
            Ok(Some(()))
        },
    )
}

/// Waits for a page to somebody outside.
fn outside(world: &World, url: &str) -> Result<String> {
    wait::until(&format!("{url} from outside"), PATIENCE, || {
        let (code, body) = world.get_outside(url, None)?;
        ensure!(code == 200, "{code} {body}");
        Ok(Some(body))
    })
}

/// Waits until a request fails with these words.
fn fails(what: &str, words: &str, ask: impl Fn() -> Result<String>) -> Result<()> {
    wait::until(&format!("{what} to be {words}"), PATIENCE, || {
        let text = match ask() {
            Ok(page) => format!("answered: {page}"),
            Err(error) => format!("{error:#}"),
        };
        ensure!(text.contains(words), "{text}");
        Ok(Some(()))
    })
}

fn affinity_holds_by_connect_and_by_packet_in_both_families(world: &World) -> Result<()> {
    let space = world.namespace("table-affinity")?;
    cast(&space)?;
    in_both(|family| {
        let spec = "type: NodePort, sessionAffinity: ClientIP";
        space.apply(&service(family, "group: web", spec))?;
        let own = cluster_url(&space, family)?;
        wait::until("one pod for one client", PATIENCE, || {
            let met = met(&space, "near", &own)?;
            ensure!(met.len() == 1, "{met:?}");
            Ok(Some(()))
        })?;
        let port = url(&family.node(1).to_string(), &node_port(&space, family)?);
        let one = host_of(&outside(world, &port)?)?;
        for _ in 0..20 {
            let other = host_of(&outside(world, &port)?)?;
            ensure!(one == other, "{port}: {one}, then {other}");
        }
        Ok(())
    })
}

fn an_internal_local_policy_keeps_to_the_node_in_both_families(world: &World) -> Result<()> {
    let space = world.namespace("table-internal")?;
    cast(&space)?;
    in_both(|family| {
        let spec = "internalTrafficPolicy: Local";
        space.apply(&service(family, "group: web", spec))?;
        let own = cluster_url(&space, family)?;
        becomes_met(&space, "near", &own, &["a"])?;
        becomes_met(&space, "far", &own, &["b"])?;
        space.apply(&service(family, "app: a", spec))?;
        becomes_met(&space, "near", &own, &["a"])?;
        // An endpoint on another node is none.
        wait::until("no endpoint for node 2", PATIENCE, || {
            Ok(space.get_from("far", &own).err().map(drop))
        })
    })
}

fn an_external_local_policy_keeps_the_source_in_both_families(world: &World) -> Result<()> {
    let space = world.namespace("table-external")?;
    cast(&space)?;
    in_both(|family| {
        let spec = "type: LoadBalancer, externalTrafficPolicy: Local";
        space.apply(&service(family, "app: a", spec))?;
        let port = node_port(&space, family)?;
        let [here, there] = [1, 2].map(|k| url(&family.node(k).to_string(), &port));
        let page = outside(world, &here)?;
        let source = format!("peer {}\n", family.outside());
        ensure!(page.contains(&source), "the source is not kept: {page}");
        fails(&there, "timed out", || {
            world.get_outside(&there, None).map(|(_, body)| body)
        })?;
        // The cluster's own reach the pod from everywhere.
        becomes_met(&space, "far", &there, &["a"])?;
        let health = field(&space, family, ".spec.healthCheckNodePort")?;
        for (k, wanted) in [(1, 200), (2, 503)] {
            let health = url(&family.node(k).to_string(), &health);
            let (code, body) = world.get_outside(&health, None)?;
            ensure!(code == wanted, "{health}: {code} {body}");
        }
        Ok(())
    })
}

fn topology_is_preferred_in_both_families(world: &World) -> Result<()> {
    let _zones = Zones::mark(world)?;
    let space = world.namespace("table-topology")?;
    cast(&space)?;
    in_both(|family| {
        for distribution in ["PreferSameZone", "PreferSameNode", "PreferClose"] {
            let spec = format!("trafficDistribution: {distribution}");
            space.apply(&service(family, "group: web", &spec))?;
            let own = cluster_url(&space, family)?;
            becomes_met(&space, "near", &own, &["a"]).context(distribution)?;
            becomes_met(&space, "far", &own, &["b"]).context(distribution)?;
            // The only endpoint is better than none, however far it is.
            space.apply(&service(family, "app: a", &spec))?;
            becomes_met(&space, "far", &own, &["a"]).context(distribution)?;
            space.run(&["delete", "service", family.service()])?;
        }
        Ok(())
    })
}

/// Addresses that lead to the cluster by routes of the machine outside.
const EXTERNAL: &[&str] = &[
    "198.51.100.20",
    "198.51.100.21",
    "2001:db8:100::20",
    "2001:db8:100::21",
];

fn external_addresses_without_node_ports_and_source_ranges_hold_in_both_families(
    world: &World,
) -> Result<()> {
    let space = world.namespace("table-balanced")?;
    cast(&space)?;
    let _routes = Routes::to(world, EXTERNAL, 1)?;
    in_both(|family| {
        let (own, inside, elsewhere) = match family {
            Family::V4 => (&EXTERNAL[..2], "192.168.77.0/24", "203.0.113.0/24"),
            Family::V6 => (&EXTERNAL[2..], "fd00:77::/64", "2001:db8:200::/48"),
        };
        let spec = format!(
            "type: LoadBalancer, allocateLoadBalancerNodePorts: false, externalIPs: ['{}'],
        loadBalancerSourceRanges: ['{elsewhere}']",
            own[0]
        );
        space.apply(&service(family, "group: web", &spec))?;
        let ports = node_port(&space, family)?;
        ensure!(ports.is_empty(), "it has the node port {ports}");
        let status = format!(
            "{{\"status\":{{\"loadBalancer\":{{\"ingress\":[{{\"ip\":\"{}\"}}]}}}}}}",
            own[1]
        );
        let name = family.service();
        let patch = ["patch", "service", name, "--subresource=status", "-p"];
        space.run(&[&patch[..], &[&status]].concat())?;
        let [external, balanced] = [0, 1].map(|i: usize| url(own[i], "80"));
        outside(world, &external)?;
        for client in ["near", "far"] {
            becomes_met(&space, client, &external, &["a", "b"])?;
        }
        let ask = || world.get_outside(&balanced, None).map(|(_, body)| body);
        fails("who is out of range", "timed out", ask)?;
        let ranges = format!("{{\"spec\":{{\"loadBalancerSourceRanges\":[\"{inside}\"]}}}}");
        space.run(&["patch", "service", name, "-p", &ranges])?;
        outside(world, &balanced)?;
        let pod = || space.get_from("near", &balanced);
        fails("a pod, which is out of range,", "refused", pod)
    })
}

fn ports_of_the_host_lead_to_their_pod_in_both_families(world: &World) -> Result<()> {
    let space = world.namespace("table-hostport")?;
    cast(&space)?;
    space.apply(
        "apiVersion: v1
kind: Pod
metadata: {name: host}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: naru.dev/landing:v1
    args: [serve, --host, '::']
    ports: [{containerPort: 8080, hostPort: 8096}]
    readinessProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 1}
",
    )?;
    space.pods_ready(&["host"])?;
    in_both(|family| {
        let at = url(&family.node(1).to_string(), "8096");
        let page = outside(world, &at)?;
        let source = format!("peer {}\n", family.outside());
        ensure!(page.contains(&source), "the source is not kept: {page}");
        for client in ["near", "far"] {
            becomes_met(&space, client, &at, &["host"])?;
        }
        let loopback = match family {
            Family::V4 => "127.0.0.1",
            Family::V6 => "::1",
        };
        let loopback = url(loopback, "8096");
        let page = world.on_node(1, &["curl", "-gsS", "--max-time", "3", &loopback])?;
        ensure!(page.contains("hostname host\n"), "{page}");
        Ok(())
    })
}

/// A pod that sends datagrams of both families back.
fn echo(name: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: echo}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {{name: main, image: naru.dev/landing:v1, args: [udp-echo, --port, '5353', --host, '::']}}
"
    )
}

/// By datagrams, whose source port may be used again at once.
fn maglev_chooses_alike_on_every_node_in_both_families(world: &World) -> Result<()> {
    const FLOWS: u16 = 20;
    let space = world.namespace("table-maglev")?;
    space.apply(&["a", "b", "c", "d"].map(echo).join("---\n"))?;
    space.pods_ready(&["--all"])?;
    let landing = world.landing()?;
    in_both(|family| {
        space.apply(&format!(
            "apiVersion: v1
kind: Service
metadata: {{name: {}, annotations: {{naru.dev/load-balancer-algorithm: maglev}}}}
spec:
  type: NodePort
  ipFamilies: [{}]
  selector: {{app: echo}}
  ports: [{{protocol: UDP, port: 9999, targetPort: 5353}}]
",
            family.service(),
            family.name()
        ))?;
        let port = node_port(&space, family)?;
        let nodes = [1, 2].map(|k| socket(&family.node(k).to_string(), &port));
        let asked = |target: &str, from: u16| -> Result<String> {
            let from = from.to_string();
            let ask = [&landing, "udp-ask", "--target", target, "--from", &from];
            let said = world.outside(&ask)?;
            let host = said.split(' ').next().map(str::to_owned);
            host.context("an empty answer")
        };
        // What a node remembers of a flow comes before any table: every attempt has other flows.
        let mut ports = 20_000..30_000;
        wait::until("both nodes to choose alike", PATIENCE, || {
            let mut pods = BTreeSet::new();
            for from in ports.by_ref().take(FLOWS.into()) {
                let (one, other) = (asked(&nodes[0], from)?, asked(&nodes[1], from)?);
                ensure!(
                    one == other,
                    "port {from}: {one} at node1, {other} at node2"
                );
                pods.insert(one);
            }
            ensure!(pods.len() > 1, "all flows meet {pods:?}");
            Ok(Some(()))
        })
    })
}

fn readiness_counts_as_the_service_says_in_both_families(world: &World) -> Result<()> {
    let space = world.namespace("table-ready")?;
    // Its readiness is asked where it does not serve.
    let sick = server("a", 1).replace("path: /health", "path: /status/500");
    space.apply(&format!("{sick}---\n{}", server("near", 1)))?;
    space.pods_ready(&["near"])?;
    space.field_becomes("pod/a", ".status.podIP", |ip| !ip.is_empty())?;
    in_both(|family| {
        space.apply(&service(family, "app: a", "publishNotReadyAddresses: true"))?;
        let own = cluster_url(&space, family)?;
        becomes_met(&space, "near", &own, &["a"])?;
        space.apply(&service(
            family,
            "app: a",
            "publishNotReadyAddresses: false",
        ))?;
        let ask = || space.get_from("near", &own);
        fails("a Service without a ready pod", "refused", ask)
    })
}

fn an_endpoint_that_ends_serves_until_another_is_ready_in_both_families(
    world: &World,
) -> Result<()> {
    let space = world.namespace("table-ending")?;
    cast(&space)?;
    // It serves on for as long as it is asked to end.
    let mut ending = server("old", 1).replace(
        "terminationGracePeriodSeconds: 1",
        "terminationGracePeriodSeconds: 120",
    );
    ending = ending.replace("app: old", "app: ending");
    writeln!(
        ending,
        "    lifecycle: {{preStop: {{sleep: {{seconds: 100}}}}}}"
    )?;
    space.apply(&ending)?;
    space.pods_ready(&["old"])?;
    let mut urls = Vec::new();
    for family in Family::ALL {
        space.apply(&service(family, "app: ending", "type: NodePort"))?;
        let inside = cluster_url(&space, family)?;
        becomes_met(&space, "far", &inside, &["old"])?;
        let port = node_port(&space, family)?;
        urls.push((inside, url(&family.node(2).to_string(), &port)));
    }
    space.run(&["delete", "pod", "old", "--wait=false"])?;
    let conditions = "jsonpath={.items[*].endpoints[*].conditions.terminating}";
    wait::until("slices that say so", PATIENCE, || {
        let said = space.run(&["get", "endpointslices", "-o", conditions])?;
        ensure!(said == "true true", "terminating: {said:?}");
        Ok(Some(()))
    })?;
    for (inside, port) in &urls {
        becomes_met(&space, "far", inside, &["old"])?;
        ensure!(host_of(&outside(world, port)?)? == "old");
    }
    space.apply(&server("new", 2).replace("app: new", "app: ending"))?;
    space.pods_ready(&["new"])?;
    for (inside, port) in &urls {
        becomes_met(&space, "near", inside, &["new"])?;
        wait::until("the new one alone from outside", PATIENCE, || {
            let host = host_of(&outside(world, port)?)?;
            ensure!(host == "new", "{host}");
            Ok(Some(()))
        })?;
    }
    let now = ["delete", "pod", "old", "--grace-period=0", "--force"];
    space.run(&now).map(drop)
}

fn a_named_target_port_is_each_pods_own_in_both_families(world: &World) -> Result<()> {
    let space = world.namespace("table-named")?;
    cast(&space)?;
    for (name, node, port) in [("one", 1, "8081"), ("two", 2, "8082")] {
        let mut pod = server(name, node).replace("port: 8080", &format!("port: {port}"));
        pod = pod.replace("'::']", &format!("'::', --port, '{port}']"));
        pod = pod.replace(&format!("app: {name}"), "app: named");
        writeln!(pod, "    ports: [{{name: web, containerPort: {port}}}]")?;
        space.apply(&pod)?;
    }
    space.pods_ready(&["-l", "app=named"])?;
    in_both(|family| {
        let ports = "ports: [{name: http, port: 80, targetPort: web}, {name: more, port: 81, targetPort: web}]";
        let spec = service(family, "app: named", "type: NodePort");
        space.apply(&spec.replace("ports: [{port: 80, targetPort: 8080}]", ports))?;
        let address = field(&space, family, ".spec.clusterIP")?;
        for port in ["80", "81"] {
            becomes_met(&space, "near", &url(&address, port), &["one", "two"])?;
        }
        for index in [0, 1] {
            let port = field(&space, family, &format!(".spec.ports[{index}].nodePort"))?;
            outside(world, &url(&family.node(1).to_string(), &port))?;
        }
        Ok(())
    })
}

/// A server on the network of its node.
fn on_the_host(name: &str, node: u8) -> String {
    let pod = server(name, node).replace("port: 8080", "port: 8095");
    let pod = pod.replace("'::']", "'::', --port, '8095']");
    pod.replace("spec:\n", "spec:\n  hostNetwork: true\n")
}

fn pods_of_the_hosts_network_ask_and_answer_in_both_families(world: &World) -> Result<()> {
    let space = world.namespace("table-host")?;
    cast(&space)?;
    space.apply(&on_the_host("host", 1))?;
    space.pods_ready(&["host"])?;
    let hostname = space.exec("host", &["hostname"])?;
    let hostname = hostname.trim();
    in_both(|family| {
        let name = family.service();
        space.apply(&service(family, "group: web", "type: NodePort"))?;
        let own = cluster_url(&space, family)?;
        becomes_met(&space, "host", &own, &["a", "b"])?;
        let port = node_port(&space, family)?;
        for k in [1, 2] {
            let at = url(&family.node(k).to_string(), &port);
            becomes_met(&space, "host", &at, &["a", "b"])?;
        }
        space.run(&["delete", "service", name])?;
        let behind = service(family, "app: host", "type: NodePort");
        space.apply(&behind.replace("targetPort: 8080", "targetPort: 8095"))?;
        let own = cluster_url(&space, family)?;
        for client in ["near", "far", "host"] {
            becomes_met(&space, client, &own, &[hostname])?;
        }
        // Its own node leaves the client's address, the other one asks under its own.
        let port = node_port(&space, family)?;
        let nodes = [1, 2].map(|k| url(&family.node(k).to_string(), &port));
        for (at, peer) in nodes.iter().zip([family.outside(), family.node(2)]) {
            let page = outside(world, at)?;
            ensure!(host_of(&page)? == hostname);
            ensure!(page.contains(&format!("peer {peer}\n")), "{at}: {page}");
        }
        // As an ingress controller on the nodes' network is exposed.
        let spec = "type: LoadBalancer, externalTrafficPolicy: Local";
        let behind = service(family, "app: host", spec);
        space.apply(&behind.replace("targetPort: 8080", "targetPort: 8095"))?;
        let page = outside(world, &nodes[0])?;
        ensure!(
            page.contains(&format!("peer {}\n", family.outside())),
            "{page}"
        );
        fails(&nodes[1], "timed out", || {
            world.get_outside(&nodes[1], None).map(|(_, body)| body)
        })
    })
}
