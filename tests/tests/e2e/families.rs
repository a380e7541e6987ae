//! Two address families: pods, Services, names and policies over IPv6 beside IPv4.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use naru_tests::support::addresses;
use naru_tests::support::daemons::node_process;
use naru_tests::support::wait;

use crate::faults::{UNTIL, within};
use crate::harness::{Case, cases};
use crate::network::arrive_from_their_nodes;
use crate::policy::policy;
use crate::runtime::network_of;
use crate::world::{Background, PATIENCE, Space, World};

pub(crate) const CASES: &[Case] = cases![
    pods_and_nodes_have_an_address_of_each_family,
    pods_reach_pods_over_ipv6_under_their_own_address,
    a_dual_stack_service_answers_at_both_addresses,
    udp_goes_through_an_ipv6_service,
    a_node_port_answers_over_ipv6_on_every_node,
    pods_reach_the_world_over_ipv6_under_their_nodes_address,
    names_have_addresses_of_both_families,
    the_cluster_dns_answers_at_addresses_of_both_families,
    a_second_family_comes_and_goes_with_the_policy_of_its_service,
    policies_hold_over_ipv6,
    killing_a_node_daemon_breaks_no_ipv6_connection,
];

/// A server of both families.
pub(crate) fn server(name: &str, node: u8) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  nodeName: node{node}
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: naru.dev/landing:v1
    args: [serve, --host, '::']
    readinessProbe: {{httpGet: {{path: /health, port: 8080}}, periodSeconds: 1}}
"
    )
}

/// A Service in front of the pod of the same name.
pub(crate) fn service(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80, targetPort: 8080}}], {spec}}}
"
    )
}

/// Pods `a` and `b` on node 1, `c` on node 2.
pub(crate) fn pods(space: &Space<'_>) -> Result<()> {
    for (name, node) in [("a", 1), ("b", 1), ("c", 2)] {
        space.apply(&server(name, node))?;
    }
    space.pods_ready(&["--all"])
}

fn v6(space: &Space<'_>, pod: &str) -> Result<String> {
    space.field(&format!("pod/{pod}"), ".status.podIPs[1].ip")
}

pub(crate) fn url(address: &str, port: u16) -> String {
    format!("http://[{address}]:{port}/")
}

/// Waits until `pod` gets the page of `host` from `url`.
pub(crate) fn answers(space: &Space<'_>, pod: &str, url: &str, host: &str) -> Result<()> {
    wait::until(&format!("{pod} to get {url}"), PATIENCE, || {
        let page = space.get_from(pod, url)?;
        ensure!(page.contains(&format!("hostname {host}\n")), "{page}");
        Ok(Some(()))
    })
}

fn pods_and_nodes_have_an_address_of_each_family(world: &World) -> Result<()> {
    let space = world.namespace("both")?;
    space.apply(&server("a", 1))?;
    space.pods_ready(&["a"])?;
    let all = |object: &str, path: &str| space.field(object, path);
    let node = addresses::node_v6(1).to_string();
    let hosts = all("pod/a", ".status.hostIPs[*].ip")?;
    ensure!(hosts == format!("{} {node}", addresses::node(1)), "{hosts}");
    let addresses = all("node/node1", ".status.addresses[*].address")?;
    ensure!(addresses.split(' ').any(|ip| ip == node), "{addresses}");
    let ranges = all("node/node1", ".spec.podCIDRs")?;
    ensure!(ranges.contains("fd00:10:244"), "{ranges}");
    let own = v6(&space, "a")?;
    let seen = space.exec("a", &["ip", "-6", "addr", "show", "dev", "eth0"])?;
    ensure!(seen.contains(&format!("{own}/128")), "{own} in {seen}");
    ensure!(!seen.contains("fe80"), "a link address: {seen}");
    Ok(())
}

fn pods_reach_pods_over_ipv6_under_their_own_address(world: &World) -> Result<()> {
    let space = world.namespace("reach6")?;
    pods(&space)?;
    for (from, to) in [("a", "b"), ("a", "c"), ("c", "a"), ("a", "a")] {
        let page = space.get_from(from, &url(&v6(&space, to)?, 8080))?;
        ensure!(page.contains(&format!("hostname {to}\n")), "{page}");
        let own = format!("peer {}\n", v6(&space, from)?);
        ensure!(page.contains(&own), "{from} to {to}: {page}");
    }
    for (k, pod) in [(1, "a"), (1, "c"), (2, "a")] {
        let page = world.on_node(
            k,
            &[
                "curl",
                "-gsS",
                "--max-time",
                "3",
                &url(&v6(&space, pod)?, 8080),
            ],
        );
        let page = page.with_context(|| format!("node{k} to {pod}"))?;
        ensure!(page.contains(&format!("hostname {pod}\n")), "{page}");
    }
    let large = space.exec(
        "a",
        &["ping", "-6", "-c", "1", "-s", "8000", &v6(&space, "c")?],
    )?;
    ensure!(large.contains("1 packets received"), "fragments: {large}");
    Ok(())
}

fn a_dual_stack_service_answers_at_both_addresses(world: &World) -> Result<()> {
    let space = world.namespace("dual")?;
    pods(&space)?;
    space.apply(&service("c", "ipFamilyPolicy: RequireDualStack"))?;
    let addresses = space.field("service/c", ".spec.clusterIPs[*]")?;
    let (v4, v6) = addresses.split_once(' ').context("two addresses")?;
    for from in ["a", "c"] {
        answers(&space, from, &format!("http://{v4}:80/"), "c")?;
        answers(&space, from, &url(v6, 80), "c")?;
    }
    for k in world.cluster.nodes() {
        let words = ["curl", "-gsS", "--max-time", "3", &url(v6, 80)];
        wait::until("an answer on the node", PATIENCE, || {
            let page = world.on_node(k, &words)?;
            Ok(page.contains("hostname c\n").then_some(()))
        })?;
    }
    space.run(&["delete", "pod", "c"])?;
    wait::until("a refused connection", PATIENCE, || {
        let refused = space.get_from("a", &url(v6, 80)).err();
        let text = refused.map(|error| format!("{error:#}"));
        Ok(text.filter(|text| text.contains("refused")).map(drop))
    })
}

fn udp_goes_through_an_ipv6_service(world: &World) -> Result<()> {
    let space = world.namespace("udp6")?;
    space.apply(
        "apiVersion: v1
kind: Pod
metadata: {name: echo, labels: {app: echo}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: naru.dev/landing:v1, args: [udp-echo, --port, '5353', --host, '::']}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  ipFamilies: [IPv6]
  selector: {app: echo}
  ports: [{protocol: UDP, port: 9999, targetPort: 5353}]
",
    )?;
    space.pods_ready(&["echo"])?;
    space.landing_pod("client", None)?;
    let service = space.field("service/echo", ".spec.clusterIP")?;
    let target = format!("[{service}]:9999");
    wait::until("an answer from the Service", PATIENCE, || {
        let said = space.exec("client", &["/landing", "udp-ask", "--target", &target])?;
        let expected = format!("echo ping from {target}\n");
        ensure!(said == expected, "{said:?}");
        Ok(Some(()))
    })
}

fn a_node_port_answers_over_ipv6_on_every_node(world: &World) -> Result<()> {
    let space = world.namespace("nodeport6")?;
    space.apply(&server("a", 1))?;
    space.pods_ready(&["a"])?;
    let spec = "type: NodePort, ipFamilyPolicy: PreferDualStack";
    space.apply(&service("a", spec))?;
    let port = space.field("service/a", ".spec.ports[0].nodePort")?;
    for k in world.cluster.nodes() {
        let hosts = [
            addresses::node(k).to_string(),
            format!("[{}]", addresses::node_v6(k)),
        ];
        for host in hosts {
            let url = format!("http://{host}:{port}/");
            wait::until(&url, PATIENCE, || {
                let page = world.outside(&["curl", "-gsS", "--max-time", "3", &url])?;
                ensure!(page.contains("hostname a\n"), "{page}");
                Ok(Some(()))
            })?;
        }
    }
    Ok(())
}

/// The server outside knows no route to pods, so an answer proves the translation.
fn pods_reach_the_world_over_ipv6_under_their_nodes_address(world: &World) -> Result<()> {
    let space = world.namespace("world6")?;
    pods(&space)?;
    let target = SocketAddr::new(addresses::v6(addresses::OUTSIDE).into(), 8186);
    arrive_from_their_nodes(&space, target, |node| addresses::node_v6(node).into())
}

fn names_have_addresses_of_both_families(world: &World) -> Result<()> {
    let space = world.namespace("names6")?;
    pods(&space)?;
    space.apply(&service("a", "ipFamilyPolicy: PreferDualStack"))?;
    let headless = "clusterIP: None, ipFamilyPolicy: PreferDualStack";
    space.apply(&service("c", headless))?;
    let dig = |args: &[&str]| world.on_node(2, &[&["dig", "@10.96.0.10", "+short"], args].concat());
    let asked = |kind: &str, name: &str, expected: &str| {
        let full = format!("{name}.{}.svc.cluster.local.", space.name);
        wait::until(&format!("{kind} of {name}"), PATIENCE, || {
            let said = dig(&[kind, &full])?;
            ensure!(said.trim() == expected, "{said:?}, not {expected}");
            Ok(Some(()))
        })
    };
    let service = space.field("service/a", ".spec.clusterIPs[1]")?;
    asked("AAAA", "a", &service)?;
    asked("A", "a", &space.field("service/a", ".spec.clusterIP")?)?;
    asked("AAAA", "c", &v6(&space, "c")?)?;
    asked("A", "c", &space.field("pod/c", ".status.podIP")?)?;
    let pointer = dig(&["-x", &service])?;
    let name = format!("a.{}.svc.cluster.local.", space.name);
    ensure!(pointer.trim() == name, "{pointer:?}, not {name}");
    let page = space.get_from("b", "http://a/")?;
    ensure!(page.contains("hostname a\n"), "{page}");
    Ok(())
}

fn the_cluster_dns_answers_at_addresses_of_both_families(world: &World) -> Result<()> {
    let output = ["-o", "jsonpath={.spec.clusterIPs[*]}"];
    let find = ["get", "service", "-n", "kube-system", "kube-dns"];
    let said = world.kubectl.run(&[&find[..], &output].concat())?;
    let (v4, v6) = said.split_once(' ').context("two addresses")?;
    let space = world.namespace("dns6")?;
    pods(&space)?;
    let name = "kube-dns.kube-system.svc.cluster.local.";
    for server in [v4, v6] {
        for k in world.cluster.nodes() {
            let dig = |kind: &str, more: &[&str]| {
                let at = format!("@{server}");
                world.on_node(k, &[&["dig", &at, "+short", kind, name], more].concat())
            };
            ensure!(dig("A", &[])?.trim() == v4, "node{k} at {server}");
            ensure!(dig("AAAA", &["+tcp"])?.trim() == v6, "node{k} at {server}");
        }
        for pod in ["a", "c"] {
            let said = space.exec(pod, &["nslookup", "-type=aaaa", name, server])?;
            ensure!(said.contains(v6), "{pod} at {server}: {said}");
        }
    }
    Ok(())
}

fn a_second_family_comes_and_goes_with_the_policy_of_its_service(world: &World) -> Result<()> {
    let space = world.namespace("upgrade")?;
    space.apply(&server("a", 1))?;
    space.pods_ready(&["a"])?;
    space.apply(&service("a", "sessionAffinity: None"))?;
    let slices = || {
        let path = "jsonpath={.items[*].addressType}";
        let all = [
            "get",
            "endpointslices",
            "-l",
            "kubernetes.io/service-name=a",
        ];
        let said = space.run(&[&all[..], &["-o", path]].concat())?;
        let mut kinds: Vec<_> = said.split(' ').map(str::to_owned).collect();
        kinds.sort();
        anyhow::Ok(kinds.join(" "))
    };
    let become_slices = |expected: &str| {
        wait::until(&format!("slices {expected}"), PATIENCE, || {
            let kinds = slices()?;
            ensure!(kinds == expected, "{kinds}");
            Ok(Some(()))
        })
    };
    let set = |policy: &str| {
        let patch = format!("{{\"spec\":{{\"ipFamilyPolicy\":\"{policy}\"}}}}");
        space.run(&["patch", "service", "a", "-p", &patch])
    };
    let addresses = || space.field("service/a", ".spec.clusterIPs[*]");
    become_slices("IPv4")?;
    let first = addresses()?;
    set("PreferDualStack")?;
    become_slices("IPv4 IPv6")?;
    let both = addresses()?;
    let second = both.strip_prefix(&format!("{first} "));
    let second = second.with_context(|| format!("{first} in {both}"))?;
    answers(&space, "a", &url(second, 80), "a")?;
    set("SingleStack")?;
    become_slices("IPv4")?;
    ensure!(addresses()? == first, "{}", addresses()?);
    let families = space.field("service/a", ".spec.ipFamilies[*]")?;
    ensure!(families == "IPv4", "{families}");
    Ok(())
}

/// Selects pod `a` in a policy.
const OF_A: &str = "podSelector: {matchLabels: {app: a}}";

/// Where a policy by labels lets `c` alone reach `a`, whose URL is given; before it both `b` and `c` do.
pub(crate) fn only_c_may_reach_a(space: &Space<'_>, target: &str) -> Result<()> {
    become_reachable(space, target, "b", true)?;
    become_reachable(space, target, "c", true)?;
    let by_label = "ingress: [{from: [{podSelector: {matchLabels: {app: c}}}]}]";
    space.apply(&policy("p", &format!("{{{OF_A}, {by_label}}}")))?;
    become_reachable(space, target, "b", false)?;
    become_reachable(space, target, "c", true)
}

/// Waits until a pod reaches a URL, or does not.
fn become_reachable(space: &Space<'_>, target: &str, pod: &str, wanted: bool) -> Result<()> {
    wait::holds(&format!("{pod} to {target}: {wanted}"), PATIENCE, || {
        space.get_from(pod, target).is_ok() == wanted
    })
}

fn policies_hold_over_ipv6(world: &World) -> Result<()> {
    let space = world.namespace("policy6")?;
    pods(&space)?;
    let target = url(&v6(&space, "a")?, 8080);
    only_c_may_reach_a(&space, &target)?;
    let block = format!(
        "ingress: [{{from: [{{ipBlock: {{cidr: '{}/128'}}}}]}}]",
        v6(&space, "b")?
    );
    space.apply(&policy("p", &format!("{{{OF_A}, {block}}}")))?;
    become_reachable(&space, &target, "c", false)?;
    become_reachable(&space, &target, "b", true)?;
    // The block holds one address of b; the other is not meant.
    let v4 = space.field("pod/a", ".status.podIP")?;
    let v4 = space.get_from("b", &format!("http://{v4}:8080/"));
    ensure!(v4.is_err(), "b reaches a over IPv4");
    Ok(())
}

fn killing_a_node_daemon_breaks_no_ipv6_connection(world: &World) -> Result<()> {
    let space = world.namespace("kill6")?;
    pods(&space)?;
    space.apply(&service("c", "ipFamilies: [IPv6]"))?;
    let address = space.field("service/c", ".spec.clusterIP")?;
    answers(&space, "a", &url(&address, 80), "c")?;
    let pod = network_of(world, &space, "a")?;
    let target = format!("[{address}]:80");
    let load = Background::start(within(world, 1, &pod, "load", &target, UNTIL)?)?;
    let own = v6(&space, "a")?;
    world.cluster.kill(&node_process(1))?;
    world.cluster.start_node(1)?;
    world.cluster.wait_ready()?;
    // A pod that comes after the restart shares the network with those from before.
    space.apply(&server("d", 1))?;
    space.pods_ready(&["d"])?;
    answers(&space, "d", &url(&own, 8080), "a")?;
    load.finish()?.flawless(50)?;
    ensure!(v6(&space, "a")? == own, "a has another address");
    Ok(())
}
