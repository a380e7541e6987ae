//! Connections between two pods, through a ClusterIP and directly.
//!
//! Client and server are pinned to one core: on two, one measures how fast an idle core wakes.

use anyhow::Result;
use naru_tests::support::Cluster;

use super::series::Case;
use super::{Ground, last_number};

const PODS: &str = "apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: naru.dev/landing:v1, command: [/bin/taskset, '2', /landing, measure-server]}]
---
apiVersion: v1
kind: Pod
metadata: {name: remote, labels: {app: remote}}
spec:
  nodeName: node2
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: naru.dev/landing:v1, command: [/bin/taskset, '2', /landing, measure-server]}]
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: naru.dev/landing:v1, command: [/landing, pause]}]
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec: {selector: {app: server}, ports: [{port: 9000}]}
---
apiVersion: v1
kind: Service
metadata: {name: remote}
spec: {selector: {app: remote}, ports: [{port: 9000}]}
";

const MODES: [(&str, &str); 3] = [("rr", "1/s"), ("crr", "1/s"), ("stream", "B/s")];

/// Each mode, on one node and across nodes; the null case first.
pub(super) fn measure(cluster: &Cluster, pairs: usize) -> Result<Vec<Case>> {
    let ground = Ground::prepare(cluster)?;
    ground.apply(PODS)?;
    ground.run(&[
        "wait",
        "--for=condition=Ready",
        "--timeout=60s",
        "pod",
        "--all",
    ])?;
    let mut cases = Vec::new();
    for (place, target) in [("one_node", "server"), ("two_nodes", "remote")] {
        let pod = format!(
            "{}:9000",
            ground.field(&format!("pod/{target}"), ".status.podIP")?
        );
        let service = format!(
            "{}:9000",
            ground.field(&format!("service/{target}"), ".spec.clusterIP")?
        );
        for (mode, unit) in MODES {
            let direct = || rate(&ground, mode, &pod);
            cases.push(Case::paired(
                &format!("null_{mode}_{place}"),
                unit,
                "direct pod",
                pairs,
                direct,
                direct,
            )?);
            let ours = || rate(&ground, mode, &service);
            cases.push(Case::paired(
                &format!("clusterip_{mode}_{place}"),
                unit,
                "direct pod",
                pairs,
                ours,
                direct,
            )?);
        }
    }
    Ok(cases)
}

fn rate(ground: &Ground, mode: &str, target: &str) -> Result<f64> {
    let line = [
        "exec", "client", "--", "taskset", "2", "/landing", "measure", "--mode", mode, "--target",
        target,
    ];
    last_number(&ground.run(&line)?)
}
