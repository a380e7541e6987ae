//! `netctl drops`: what was dropped on all nodes, by cause.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt as _;
use naru_node_api::flows::{Drop, DropTotal, DropsRequest, DropsResponse};
use serde_json::json;

use crate::cli::{DropsArgs, Output};
use crate::cluster::{Answer, Cluster};
use crate::observe::peer_json;
use crate::text;

/// Runs the command; 1 when a node did not answer.
pub(crate) async fn run(cluster: &Cluster, args: &DropsArgs) -> anyhow::Result<u8> {
    let nodes = cluster.nodes().await?;
    let names: Vec<String> = nodes.iter().map(|node| node.name_any()).collect();
    let mut answers = cluster
        .ask(&names, async |mut node| {
            Ok(node.drops(DropsRequest {}).await?.into_inner())
        })
        .await;
    keep(&mut answers, cluster.given_namespace.as_deref());
    match args.output {
        Output::Text => print!("{}", render(&answers, Timestamp::now())),
        Output::Json => println!("{}", serde_json::to_string_pretty(&to_json(&answers))?),
    }
    let mut code = 0;
    for (node, answer) in &answers {
        if let Err(reason) = answer {
            eprintln!("netctl: {node}: {reason}");
            code = 1;
        }
    }
    Ok(code)
}

/// Leaves the drops with an end in the namespace that the user gave.
fn keep(answers: &mut [Answer<DropsResponse>], namespace: Option<&str>) {
    let Some(namespace) = namespace else { return };
    for (_, answer) in answers {
        if let Ok(response) = answer {
            response.drops.retain(|drop| {
                [&drop.source, &drop.destination]
                    .into_iter()
                    .flatten()
                    .any(|it| it.namespace == namespace)
            });
        }
    }
}

fn render(answers: &[Answer<DropsResponse>], now: Timestamp) -> String {
    let all = || {
        answers
            .iter()
            .filter_map(|(node, answer)| Some((node, answer.as_ref().ok()?)))
    };
    let mut drops: Vec<(&String, &Drop)> = all()
        .flat_map(|(node, it)| it.drops.iter().map(move |drop| (node, drop)))
        .collect();
    drops.sort_by_key(|(_, drop)| std::cmp::Reverse(drop.packets));
    let mut text = match drops.is_empty() {
        true if all().next().is_none() => String::new(),
        true => "no drop is on record\n".to_owned(),
        false => causes(&drops, now),
    };
    let totals: Vec<(&String, &DropTotal)> = all()
        .flat_map(|(node, it)| it.totals.iter().map(move |total| (node, total)))
        .collect();
    if !totals.is_empty() {
        text.push_str(&sums(&totals));
    }
    text
}

fn causes(drops: &[(&String, &Drop)], now: Timestamp) -> String {
    let heads = [
        "PACKETS", "LAST", "NODE", "REASON", "PROTO", "FROM", "TO", "POLICIES",
    ];
    let mut table = vec![heads.map(str::to_owned).to_vec()];
    for (node, drop) in drops {
        table.push(vec![
            text::count(drop.packets),
            text::ago(drop.last_ns, now),
            (*node).clone(),
            drop.reason.clone(),
            drop.protocol.clone(),
            text::peer(drop.source.as_ref()),
            target(drop),
            drop.policies.join(", "),
        ]);
    }
    let helps: BTreeMap<&str, &str> = drops
        .iter()
        .map(|(_, drop)| (drop.reason.as_str(), drop.help.as_str()))
        .collect();
    let helps = helps.iter().filter(|(_, help)| !help.is_empty());
    let helps: String = helps
        .map(|(reason, help)| format!("{reason}: {help}\n"))
        .collect();
    format!("{}\n{helps}", text::columns(&table))
}

fn target(drop: &Drop) -> String {
    let peer = text::peer(drop.destination.as_ref());
    match drop.service.as_str() {
        "" => peer,
        service => format!("{peer} (service {service})"),
    }
}

fn sums(totals: &[(&String, &DropTotal)]) -> String {
    let mut table = vec![
        ["SINCE LOADED", "NODE", "HOOK", "PACKETS", "BYTES"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (node, total) in totals {
        table.push(vec![
            total.reason.clone(),
            (*node).clone(),
            total.hook.clone(),
            text::count(total.packets),
            text::count(total.bytes),
        ]);
    }
    format!("\n{}", text::columns(&table))
}

fn to_json(answers: &[Answer<DropsResponse>]) -> serde_json::Value {
    let drop = |it: &Drop| {
        json!({"reason": it.reason, "reasonNumber": it.reason_number, "help": it.help,
            "source": peer_json(it.source.as_ref()), "destination": peer_json(it.destination.as_ref()),
            "protocol": it.protocol, "service": it.service, "policies": it.policies,
            "packets": it.packets, "bytes": it.bytes,
            "first": text::timestamp(it.first_ns), "last": text::timestamp(it.last_ns)})
    };
    let total = |it: &DropTotal| {
        json!({"hook": it.hook, "reason": it.reason, "reasonNumber": it.reason_number,
            "packets": it.packets, "bytes": it.bytes})
    };
    let node = |(node, answer): &Answer<DropsResponse>| match answer {
        Err(reason) => json!({"node": node, "error": reason}),
        Ok(it) => json!({"node": node,
            "drops": it.drops.iter().map(drop).collect::<Vec<_>>(),
            "totals": it.totals.iter().map(total).collect::<Vec<_>>()}),
    };
    json!({"nodes": answers.iter().map(node).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use naru_node_api::flows::Peer;

    use super::*;

    fn drop(packets: u64, namespace: &str) -> Drop {
        let peer = |pod: &str, port| {
            let (pod, namespace) = (pod.to_owned(), namespace.to_owned());
            Some(Peer {
                pod,
                namespace,
                port,
                kind: "pod".into(),
                ..Peer::default()
            })
        };
        Drop {
            reason: "POLICY_DENIED".into(),
            help: "no rule allows it".into(),
            source: peer("web", 0),
            destination: peer("db", 5432),
            protocol: "TCP".into(),
            policies: vec!["shop/deny".into()],
            packets,
            last_ns: 90_000_000_000,
            ..Drop::default()
        }
    }

    fn answers() -> Vec<Answer<DropsResponse>> {
        let of = |drops: Vec<Drop>| {
            Ok(DropsResponse {
                drops,
                totals: Vec::new(),
            })
        };
        vec![
            ("node1".into(), of(vec![drop(2, "shop")])),
            ("node2".into(), of(vec![drop(1500, "other")])),
            ("node3".into(), Err("away".into())),
        ]
    }

    #[test]
    fn the_most_frequent_cause_comes_first_with_its_policy() {
        let text = render(&answers(), Timestamp::from_second(100).unwrap());
        assert_eq!(
            text,
            "PACKETS  LAST  NODE   REASON         PROTO  FROM       TO             POLICIES\n\
             1.5k     10s   node2  POLICY_DENIED  TCP    other/web  other/db:5432  shop/deny\n\
             2        10s   node1  POLICY_DENIED  TCP    shop/web   shop/db:5432   shop/deny\n\
             \nPOLICY_DENIED: no rule allows it\n"
        );
    }

    #[test]
    fn a_namespace_filters_by_either_end() {
        let mut answers = answers();
        keep(&mut answers, Some("shop"));
        assert_eq!(answers[0].1.as_ref().unwrap().drops.len(), 1);
        assert!(answers[1].1.as_ref().unwrap().drops.is_empty());
    }

    #[test]
    fn totals_stand_below_and_nothing_is_said_plainly() {
        let total = DropTotal {
            hook: "from_pod".into(),
            reason: "BAD_SOURCE".into(),
            packets: 3,
            bytes: 180,
            ..DropTotal::default()
        };
        let response = DropsResponse {
            drops: Vec::new(),
            totals: vec![total],
        };
        let text = render(&[("node1".into(), Ok(response))], Timestamp::UNIX_EPOCH);
        assert!(
            text.starts_with("no drop is on record\n\nSINCE LOADED"),
            "{text}"
        );
        assert!(
            text.contains("BAD_SOURCE    node1  from_pod  3        180\n"),
            "{text}"
        );
    }

    #[test]
    fn nobody_that_answers_is_not_the_same_as_no_drop() {
        let away = [("node3".into(), Err("away".into()))];
        assert_eq!(render(&away, Timestamp::UNIX_EPOCH), "");
    }

    #[test]
    fn json_names_the_node_that_is_away() {
        let value = to_json(&answers());
        assert_eq!(value["nodes"][1]["drops"][0]["packets"], 1500);
        assert_eq!(value["nodes"][2]["error"], "away");
    }
}
