//! The thinnest slice: nodes, one pod, nothing of the old packet filters.

use anyhow::{Result, ensure};
use naru_tests::support::run;

use crate::harness::{Case, cases};
use crate::world::World;

pub(crate) const CASES: &[Case] = cases![
    both_nodes_report_ready,
    starting_a_running_cluster_again_is_harmless,
    a_pod_runs_and_answers_its_probe,
    no_node_has_an_iptables_or_nftables_rule,
];

fn both_nodes_report_ready(world: &World) -> Result<()> {
    let table = world.kubectl.run(&["get", "nodes"])?;
    let ready = table
        .lines()
        .filter(|l| l.split_whitespace().nth(1) == Some("Ready"))
        .count();
    ensure!(ready == 2, "{table}");
    Ok(())
}

fn starting_a_running_cluster_again_is_harmless(world: &World) -> Result<()> {
    let names = [
        "naru-control@control1",
        "naru-node@node1",
        "containerd@node2",
        "door",
    ];
    let ids = || names.map(|n| world.cluster.process(n).map(|p| p.pid));
    let before = ids();
    let layout = &world.cluster.layout;
    let (families, routing) = (world.cluster.families(), world.cluster.routing());
    World::start(&layout.cluster, families, routing)?;
    ensure!(
        before == ids() && before.iter().all(Option::is_some),
        "{before:?} became {:?}",
        ids()
    );
    Ok(())
}

fn a_pod_runs_and_answers_its_probe(world: &World) -> Result<()> {
    let space = world.namespace("pod")?;
    space.landing_pod("hello", None)?;
    let address = space.field("pod/hello", ".status.podIP")?;
    ensure!(address.starts_with("10.244."), "{address}");
    let page = space.get_from("hello", "http://127.0.0.1:8080/")?;
    ensure!(
        page.contains("hostname hello\n") && page.contains("version v1"),
        "{page}"
    );
    Ok(())
}

fn no_node_has_an_iptables_or_nftables_rule(world: &World) -> Result<()> {
    for k in world.cluster.nodes() {
        let nftables = world.on_node(k, &["nft", "list", "ruleset"])?;
        ensure!(nftables.trim().is_empty(), "node{k}: {nftables}");
        // Names of the tables that the old iptables has in this namespace; absent without its module.
        let legacy = run::checked(world.cluster.inside(&format!("node{k}")).args([
            "sh",
            "-c",
            "cat /proc/net/ip_tables_names 2>/dev/null || true",
        ]))?;
        ensure!(legacy.trim().is_empty(), "node{k}: {legacy}");
    }
    Ok(())
}
