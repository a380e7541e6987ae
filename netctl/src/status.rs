//! `netctl status`: the nodes, their data path, and what is degraded and why.

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use naru_node_api::flows::{StatusRequest, StatusResponse};
use serde_json::json;

use crate::cli::{Output, StatusArgs};
use crate::cluster::Cluster;
use crate::text::{self, Paint};

/// One node, from both sides.
#[derive(Debug)]
struct Row {
    name: String,
    is_ready: bool,
    answer: Result<StatusResponse, String>,
}

/// Runs the command; 1 when a node did not answer.
pub(crate) async fn run(cluster: &Cluster, args: &StatusArgs) -> anyhow::Result<u8> {
    let nodes = cluster.nodes().await?;
    let names: Vec<String> = nodes.iter().map(|node| node.name_any()).collect();
    let answers = cluster
        .ask(&names, async |mut node| {
            Ok(node.status(StatusRequest {}).await?.into_inner())
        })
        .await;
    let row = |(node, (name, answer)): (&Node, _)| Row {
        name,
        is_ready: is_ready(node),
        answer,
    };
    let rows: Vec<Row> = nodes.iter().zip(answers).map(row).collect();
    match args.output {
        Output::Text => print!("{}", render(&rows, args.verbose, Paint::for_stdout())),
        Output::Json => println!("{}", serde_json::to_string_pretty(&to_json(&rows))?),
    }
    Ok(u8::from(rows.iter().any(|row| row.answer.is_err())))
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    ready.any(|condition| condition.status == "True")
}

fn render(rows: &[Row], verbose: bool, paint: Paint) -> String {
    let heads = [
        "NODE",
        "READY",
        "DATA PATH",
        "PODS",
        "SERVICES",
        "FORWARDED",
        "DROPPED",
        "POD CIDR",
        "KERNEL",
        "VERSION",
    ];
    let mut table = vec![heads.map(str::to_owned).to_vec()];
    table.extend(rows.iter().map(cells));
    let mut text = text::columns(&table);
    if verbose {
        rows.iter().for_each(|row| text.push_str(&details(row)));
    }
    text + &degraded(rows, paint)
}

fn cells(row: &Row) -> Vec<String> {
    let ready = if row.is_ready { "yes" } else { "no" };
    let mut cells = vec![row.name.clone(), ready.to_owned()];
    let Ok(status) = &row.answer else {
        cells.push("no answer".to_owned());
        return cells;
    };
    let sum = |of: fn(&naru_node_api::flows::Counter) -> u64| {
        text::count(status.counters.iter().map(of).fold(0, u64::saturating_add))
    };
    if status.attachment.is_empty() {
        cells.push("not open".to_owned());
        return cells;
    }
    cells.extend([
        status.attachment.clone(),
        status.pods.to_string(),
        status.services.to_string(),
        sum(|counter| counter.forwarded_packets),
        sum(|counter| counter.dropped_packets),
        status.pod_cidr.clone(),
        status.kernel.clone(),
        status.version.clone(),
    ]);
    cells
}

fn details(row: &Row) -> String {
    let Ok(status) = &row.answer else {
        return String::new();
    };
    let mut table = vec![["PROGRAM", "LINKS", "TAG"].map(str::to_owned).to_vec()];
    let programs = status.programs.iter();
    table.extend(programs.map(|it| vec![it.name.clone(), it.links.to_string(), it.tag.clone()]));
    let mut maps = vec![["MAP", "ENTRIES", "CAPACITY"].map(str::to_owned).to_vec()];
    let all = status.maps.iter();
    maps.extend(all.map(|it| {
        vec![
            it.name.clone(),
            it.entries.to_string(),
            it.capacity.to_string(),
        ]
    }));
    format!(
        "\n{}\n{}\n{}",
        row.name,
        text::columns(&table),
        text::columns(&maps)
    )
}

/// What is wrong, one line each; one good line when nothing is.
fn degraded(rows: &[Row], paint: Paint) -> String {
    let lines: Vec<String> = rows.iter().flat_map(faults).collect();
    if lines.is_empty() {
        return format!("\n{}\n", paint.good("nothing is degraded"));
    }
    let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    format!("\n{}\n{lines}", paint.bad("degraded:"))
}

fn faults(row: &Row) -> Vec<String> {
    let mut lines = Vec::new();
    if !row.is_ready {
        lines.push(format!("{}: the node is not Ready", row.name));
    }
    match &row.answer {
        Err(reason) => lines.push(format!("{}: does not answer: {reason}", row.name)),
        Ok(status) => {
            let faults = status.faults.iter();
            lines.extend(faults.map(|it| format!("{}: {}: {}", row.name, it.component, it.reason)));
        }
    }
    lines
}

fn to_json(rows: &[Row]) -> serde_json::Value {
    let node = |row: &Row| match &row.answer {
        Err(reason) => json!({"node": row.name, "ready": row.is_ready, "error": reason}),
        Ok(status) => json!({
            "node": row.name, "ready": row.is_ready, "version": status.version,
            "kernel": status.kernel, "attachment": status.attachment, "podCIDR": status.pod_cidr,
            "pods": status.pods, "services": status.services,
            "maps": status.maps.iter().map(|it| json!({"name": it.name, "entries": it.entries, "capacity": it.capacity})).collect::<Vec<_>>(),
            "programs": status.programs.iter().map(|it| json!({"name": it.name, "tag": it.tag, "links": it.links})).collect::<Vec<_>>(),
            "counters": status.counters.iter().map(|it| json!({"hook": it.hook,
                "forwardedPackets": it.forwarded_packets, "forwardedBytes": it.forwarded_bytes,
                "droppedPackets": it.dropped_packets, "droppedBytes": it.dropped_bytes})).collect::<Vec<_>>(),
            "faults": status.faults.iter().map(|it| json!({"component": it.component, "reason": it.reason})).collect::<Vec<_>>(),
        }),
    };
    json!({"nodes": rows.iter().map(node).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use naru_node_api::flows::{Counter, Fault};

    use super::*;

    fn well() -> Row {
        let counter = |forwarded_packets, dropped_packets| Counter {
            forwarded_packets,
            dropped_packets,
            ..Counter::default()
        };
        let status = StatusResponse {
            attachment: "tcx".into(),
            pods: 5,
            services: 12,
            pod_cidr: "10.244.0.0/24".into(),
            kernel: "6.18.1".into(),
            version: "0.1.0".into(),
            counters: vec![counter(1000, 3), counter(500, 0)],
            ..StatusResponse::default()
        };
        Row {
            name: "node1".into(),
            is_ready: true,
            answer: Ok(status),
        }
    }

    fn away() -> Row {
        let answer = Err("no answer within 5s".to_owned());
        Row {
            name: "node2".into(),
            is_ready: false,
            answer,
        }
    }

    #[test]
    fn a_well_cluster_says_so() {
        assert_eq!(
            render(&[well()], false, Paint::default()),
            "NODE   READY  DATA PATH  PODS  SERVICES  FORWARDED  DROPPED  POD CIDR       KERNEL  VERSION\n\
             node1  yes    tcx        5     12        1.5k       3        10.244.0.0/24  6.18.1  0.1.0\n\
             \nnothing is degraded\n"
        );
    }

    #[test]
    fn a_node_that_is_away_is_named_beside_the_others() {
        let text = render(&[well(), away()], false, Paint::default());
        assert!(text.contains("node1  yes    tcx"), "{text}");
        assert!(text.contains("node2  no     no answer\n"), "{text}");
        assert!(text.contains("degraded:\n  node2: the node is not Ready\n  node2: does not answer: no answer within 5s\n"), "{text}");
    }

    #[test]
    fn faults_carry_their_reason() {
        let mut row = well();
        let fault = Fault {
            component: "cluster-dns".into(),
            reason: "listen on 10.96.0.10:53".into(),
        };
        row.answer.as_mut().unwrap().faults.push(fault);
        let text = render(&[row], true, Paint::default());
        assert!(
            text.ends_with("degraded:\n  node1: cluster-dns: listen on 10.96.0.10:53\n"),
            "{text}"
        );
        assert!(text.contains("PROGRAM") && text.contains("MAP"), "{text}");
    }

    #[test]
    fn a_data_path_that_is_not_open_has_no_numbers() {
        let answer = Ok(StatusResponse::default());
        let row = Row {
            name: "node1".into(),
            is_ready: true,
            answer,
        };
        let text = render(&[row], false, Paint::default());
        assert!(text.contains("node1  yes    not open\n"), "{text}");
    }

    #[test]
    fn json_has_every_node() {
        let value = to_json(&[well(), away()]);
        assert_eq!(value["nodes"][0]["counters"][0]["forwardedPackets"], 1000);
        assert_eq!(value["nodes"][1]["error"], "no answer within 5s");
    }
}
