//! A cluster whose nodes reach each other's pods through VXLAN.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use naru_tests::support::daemons::node_process;
use naru_tests::support::{addresses, wait};

use crate::families::{answers, only_c_may_reach_a, pods, server, service, url};
use crate::faults::{UNTIL, within};
use crate::harness::{Case, cases};
use crate::network::arrive_from_their_nodes;
use crate::runtime::network_of;
use crate::world::{Background, PATIENCE, Space, World};

pub(crate) const CASES: &[Case] = cases![
    pods_of_two_nodes_meet_in_the_tunnel_under_their_own_addresses,
    pods_leave_room_for_the_tunnels_headers,
    services_and_node_ports_lead_through_the_tunnel,
    nodes_and_the_pods_of_others_reach_each_other_through_the_tunnel,
    policies_hold_through_the_tunnel,
    the_world_is_reached_past_the_tunnel,
    killing_a_node_daemon_breaks_no_connection_in_the_tunnel,
];

const DEVICE: &str = "naru_vxlan";

/// The addresses of a pod, one for each family.
fn ips(space: &Space<'_>, pod: &str) -> Result<[String; 2]> {
    let all = space.field(&format!("pod/{pod}"), ".status.podIPs[*].ip")?;
    let (v4, v6) = all.split_once(' ').context("two addresses")?;
    Ok([v4.to_owned(), v6.to_owned()])
}

/// The URL of a server at an address of either family.
fn page_of(ip: &str, port: u16) -> String {
    if ip.contains(':') {
        url(ip, port)
    } else {
        format!("http://{ip}:{port}/")
    }
}

/// How many packets the tunnel has brought to node `k`.
fn brought(world: &World, k: u8) -> Result<u64> {
    let links = world.on_node(k, &["cat", "/proc/net/dev"])?;
    let line = links.lines().find(|line| line.contains(DEVICE));
    // Name, bytes, packets.
    let count = line.and_then(|line| line.split_whitespace().nth(2));
    count.context(links.clone())?.parse().context(links)
}

fn pods_of_two_nodes_meet_in_the_tunnel_under_their_own_addresses(world: &World) -> Result<()> {
    let space = world.namespace("tunnel")?;
    pods(&space)?;
    for (from, to) in [("a", "c"), ("c", "a")] {
        let both = ips(&space, from)?.into_iter().zip(ips(&space, to)?);
        for (own, other) in both {
            let before = [brought(world, 1)?, brought(world, 2)?];
            let page = space.get_from(from, &page_of(&other, 8080))?;
            ensure!(page.contains(&format!("hostname {to}\n")), "{page}");
            ensure!(page.contains(&format!("peer {own}\n")), "{own}: {page}");
            for (k, before) in (1..).zip(before) {
                ensure!(brought(world, k)? > before, "node{k} got none of {other}");
            }
        }
    }
    Ok(())
}

fn pods_leave_room_for_the_tunnels_headers(world: &World) -> Result<()> {
    let space = world.namespace("room")?;
    pods(&space)?;
    let mtu = |words: &[&str]| -> Result<u32> {
        let said = space.exec("a", words)?;
        said.trim().parse().context(said)
    };
    let of_pod = mtu(&["cat", "/sys/class/net/eth0/mtu"])?;
    ensure!(of_pod == 1450, "{of_pod}");
    let [v4, v6] = ips(&space, "c")?;
    let pings = [
        ("-4", &v4, of_pod - 28),
        ("-6", &v6, of_pod - 48),
        ("-4", &v4, 8000),
        ("-6", &v6, 8000),
    ];
    for (family, ip, size) in pings {
        let size = size.to_string();
        let said = space.exec("a", &["ping", family, "-c", "1", "-s", &size, ip])?;
        ensure!(said.contains("1 packets received"), "{size} bytes: {said}");
    }
    for k in world.cluster.nodes() {
        let link = world.on_node(k, &["ip", "link", "show", "dev", DEVICE])?;
        ensure!(link.contains("mtu 1450"), "{link}");
    }
    Ok(())
}

fn services_and_node_ports_lead_through_the_tunnel(world: &World) -> Result<()> {
    let space = world.namespace("through")?;
    pods(&space)?;
    let spec = "type: NodePort, ipFamilyPolicy: RequireDualStack";
    space.apply(&service("c", spec))?;
    let addresses = space.field("service/c", ".spec.clusterIPs[*]")?;
    for ip in addresses.split(' ') {
        for from in ["a", "c"] {
            answers(&space, from, &page_of(ip, 80), "c")?;
        }
    }
    answers(&space, "a", "http://c/", "c")?;
    let port = space.field("service/c", ".spec.ports[0].nodePort")?;
    let port = port.parse()?;
    for k in world.cluster.nodes() {
        let hosts = [
            addresses::node(k).to_string(),
            addresses::node_v6(k).to_string(),
        ];
        for host in hosts {
            let target = page_of(&host, port);
            wait::until(&target, PATIENCE, || {
                let page = world.outside(&["curl", "-gsS", "--max-time", "3", &target])?;
                ensure!(page.contains("hostname c\n"), "{page}");
                Ok(Some(()))
            })?;
            answers(&space, "a", &target, "c")?;
        }
    }
    Ok(())
}

fn nodes_and_the_pods_of_others_reach_each_other_through_the_tunnel(world: &World) -> Result<()> {
    let space = world.namespace("nodes")?;
    pods(&space)?;
    for (k, pod) in [(1, "c"), (2, "a"), (1, "a")] {
        for ip in ips(&space, pod)? {
            let target = page_of(&ip, 8080);
            let page = world.on_node(k, &["curl", "-gsS", "--max-time", "3", &target]);
            let page = page.with_context(|| format!("node{k} to {target}"))?;
            ensure!(page.contains(&format!("hostname {pod}\n")), "{page}");
        }
    }
    // The daemon's own server is a process of the node.
    let asked = [
        "/landing",
        "get",
        "--url",
        &format!("http://{}:10250/", addresses::node(2)),
    ];
    let answer = space
        .exec("a", &asked)
        .err()
        .map(|error| format!("{error:#}"));
    let refused = answer
        .as_deref()
        .is_some_and(|text| text.contains("refused"));
    let lost = answer
        .as_deref()
        .is_some_and(|text| text.contains("timed out"));
    ensure!(!refused && !lost, "{answer:?}");
    Ok(())
}

fn policies_hold_through_the_tunnel(world: &World) -> Result<()> {
    let space = world.namespace("judged")?;
    pods(&space)?;
    for ip in ips(&space, "a")? {
        only_c_may_reach_a(&space, &page_of(&ip, 8080))?;
        space.run(&["delete", "networkpolicies", "--all"])?;
    }
    Ok(())
}

/// The server outside knows no route to pods, so an answer proves the translation.
fn the_world_is_reached_past_the_tunnel(world: &World) -> Result<()> {
    let space = world.namespace("past")?;
    pods(&space)?;
    let outside = addresses::OUTSIDE;
    let v4 = SocketAddr::new(outside.into(), 8187);
    arrive_from_their_nodes(&space, v4, |node| addresses::node(node).into())?;
    let v6 = SocketAddr::new(addresses::v6(outside).into(), 8188);
    arrive_from_their_nodes(&space, v6, |node| addresses::node_v6(node).into())
}

fn killing_a_node_daemon_breaks_no_connection_in_the_tunnel(world: &World) -> Result<()> {
    let space = world.namespace("kill")?;
    pods(&space)?;
    space.apply(&service("c", "ipFamilyPolicy: RequireDualStack"))?;
    let pod = network_of(world, &space, "a")?;
    let addresses = space.field("service/c", ".spec.clusterIPs[*]")?;
    let (mut loads, mut streams) = (Vec::new(), Vec::new());
    for ip in addresses.split(' ') {
        let page = page_of(ip, 80);
        answers(&space, "a", &page, "c")?;
        let target = page.trim_start_matches("http://").trim_end_matches('/');
        let start = |verb| Background::start(within(world, 1, &pod, verb, target, UNTIL)?);
        loads.push(start("load")?);
        streams.push(start("stream")?);
    }
    for k in world.cluster.nodes() {
        world.cluster.kill(&node_process(k))?;
        world.cluster.start_node(k)?;
        world.cluster.wait_ready()?;
    }
    // A pod that comes after the restart shares the tunnel with those from before.
    space.apply(&server("d", 1))?;
    space.pods_ready(&["d"])?;
    for ip in ips(&space, "c")? {
        answers(&space, "d", &page_of(&ip, 8080), "c")?;
    }
    for load in loads {
        load.finish()?.flawless(20)?;
    }
    for stream in streams {
        let said = stream.finish()?;
        let whole = said.number("breaks")? == 0 && said.number("lines")? > 10;
        ensure!(whole, "stream: {}", said.text);
    }
    Ok(())
}
