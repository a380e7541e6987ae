//! `netctl observe`: flow events of all nodes with the names of pods and Services.
//!
//! Past events are gathered and sorted by time; events that come are printed as they come.

use std::io::Write as _;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::tz::TimeZone;
use kube::ResourceExt as _;
use naru_node_api::flows::observe_response::Event;
use naru_node_api::flows::{Flow, Kind, ObserveRequest, Peer, Verdict};
use serde_json::json;
use tokio::sync::mpsc;
use tonic::Status;

use crate::cli::{ObserveArgs, Output, VerdictArg};
use crate::cluster::{Answer, Cluster, NodeClient, reason};
use crate::text::{self, Paint};

/// How events become lines.
struct Printer {
    output: Output,
    zone: TimeZone,
    paint: Paint,
}

/// Runs the command; 1 when a node did not answer or its stream broke.
pub(crate) async fn run(cluster: &Cluster, args: &ObserveArgs) -> anyhow::Result<u8> {
    let request = request(args, cluster.given_namespace.as_deref());
    let nodes = cluster.nodes().await?;
    let names: Vec<String> = nodes.iter().map(|node| node.name_any()).collect();
    let printer = Printer {
        output: args.output,
        zone: TimeZone::system(),
        paint: Paint::for_stdout(),
    };
    match args.follow {
        true => follow(cluster, &names, &request, &printer).await,
        false => past(cluster, &names, &request, &printer).await,
    }
}

fn request(args: &ObserveArgs, namespace: Option<&str>) -> ObserveRequest {
    let verdict = match args.verdict {
        None => Verdict::Unspecified,
        Some(VerdictArg::Forwarded) => Verdict::Forwarded,
        Some(VerdictArg::Dropped) => Verdict::Dropped,
    };
    ObserveRequest {
        pod: args.pod.clone().unwrap_or_default(),
        namespace: namespace.unwrap_or_default().to_owned(),
        service: args.service.clone().unwrap_or_default(),
        verdict: verdict.into(),
        protocol: args
            .protocol
            .map_or_else(String::new, |it| it.name().to_owned()),
        follow: args.follow,
        last: args.last,
    }
}

async fn past(
    cluster: &Cluster,
    names: &[String],
    request: &ObserveRequest,
    printer: &Printer,
) -> anyhow::Result<u8> {
    let answers = cluster
        .ask(names, async |node| kept(node, request.clone()).await)
        .await;
    let (flows, faults) = merge(answers);
    let mut out = std::io::stdout().lock();
    for flow in &flows {
        writeln!(out, "{}", printer.line(flow))?;
    }
    faults.iter().for_each(|fault| eprintln!("netctl: {fault}"));
    Ok(u8::from(!faults.is_empty()))
}

/// All events that a node has kept.
async fn kept(mut node: NodeClient, request: ObserveRequest) -> Result<Vec<Event>, Status> {
    let mut stream = node.observe(request).await?.into_inner();
    let mut events = Vec::new();
    while let Some(response) = stream.message().await? {
        events.extend(response.event);
    }
    Ok(events)
}

/// The flows of all nodes by time, and a line for everything that is missing.
fn merge(answers: Vec<Answer<Vec<Event>>>) -> (Vec<Flow>, Vec<String>) {
    let (mut flows, mut faults) = (Vec::new(), Vec::new());
    for (node, answer) in answers {
        match answer {
            Err(reason) => faults.push(format!("{node}: {reason}")),
            Ok(events) => events.into_iter().for_each(|event| match event {
                Event::Flow(flow) => flows.push(flow),
                Event::Lost(count) => faults.push(lost(&node, count)),
            }),
        }
    }
    flows.sort_by_key(|flow| flow.time_ns);
    (flows, faults)
}

fn lost(node: &str, count: u64) -> String {
    format!("{node}: {count} events were not sent, because they were not read fast enough")
}

async fn follow(
    cluster: &Cluster,
    names: &[String],
    request: &ObserveRequest,
    printer: &Printer,
) -> anyhow::Result<u8> {
    let (sender, mut events) = mpsc::channel::<(String, Event)>(1024);
    let mut streams: FuturesUnordered<_> = names
        .iter()
        .map(|name| stream(cluster, name, request.clone(), sender.clone()))
        .collect();
    drop(sender);
    let printing = async {
        while let Some((node, event)) = events.recv().await {
            match event {
                Event::Flow(flow) => writeln!(std::io::stdout(), "{}", printer.line(&flow))?,
                Event::Lost(count) => eprintln!("netctl: {}", lost(&node, count)),
            }
        }
        Ok::<(), std::io::Error>(())
    };
    let reporting = async {
        while let Some(fault) = streams.next().await {
            eprintln!("netctl: {fault}");
        }
    };
    // Both end when no node sends any more, which is a failure: a follower is ended by its user.
    let (printed, ()) = tokio::join!(printing, reporting);
    match printed {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(0),
        printed => printed.map(|()| 1).map_err(Into::into),
    }
}

/// Sends a node's events on; returns why they ended.
async fn stream(
    cluster: &Cluster,
    name: &str,
    request: ObserveRequest,
    events: mpsc::Sender<(String, Event)>,
) -> String {
    let mut node = match cluster.node(name) {
        Ok(node) => node,
        Err(error) => return format!("{name}: {}", text::one_line(&error)),
    };
    let opening = tokio::time::timeout(cluster.timeout, node.observe(request)).await;
    let mut stream = match opening {
        Err(_) => return format!("{name}: no answer within {:?}", cluster.timeout),
        Ok(Err(status)) => return format!("{name}: {}", reason(&status)),
        Ok(Ok(response)) => response.into_inner(),
    };
    loop {
        match stream.message().await {
            Ok(Some(response)) => {
                let Some(event) = response.event else {
                    continue;
                };
                if events.send((name.to_owned(), event)).await.is_err() {
                    return format!("{name}: output closed");
                }
            }
            Ok(None) => return format!("{name}: the node ended the stream"),
            Err(status) => return format!("{name}: {}", reason(&status)),
        }
    }
}

impl Printer {
    fn line(&self, flow: &Flow) -> String {
        match self.output {
            Output::Json => to_json(flow).to_string(),
            Output::Text => self.text(flow),
        }
    }

    fn text(&self, flow: &Flow) -> String {
        let (source, destination) = (
            text::peer(flow.source.as_ref()),
            text::peer(flow.destination.as_ref()),
        );
        let mut line = format!(
            "{} {} {} {:<5} {} {source} -> {destination}",
            text::clock(flow.time_ns, &self.zone),
            flow.node,
            self.verdict(flow),
            kind(flow),
            flow.protocol,
        );
        if !flow.service.is_empty() {
            line.push_str(&format!(" (service {})", flow.service));
        }
        if !flow.reason.is_empty() {
            line.push_str(&format!(" {}", self.paint.bad(&flow.reason)));
        }
        line + &policies(&flow.direction, &flow.policies) + &repeats(flow)
    }

    fn verdict(&self, flow: &Flow) -> String {
        match flow.verdict() {
            Verdict::Dropped => self.paint.bad("DROPPED  "),
            Verdict::Forwarded => self.paint.good("FORWARDED"),
            Verdict::Unspecified => "         ".to_owned(),
        }
    }
}

fn kind(flow: &Flow) -> &'static str {
    match flow.kind() {
        Kind::Unspecified => "?",
        Kind::Start => "start",
        Kind::End => "end",
        Kind::Judged => "again",
        Kind::Drop => "drop",
    }
}

/// Which policies decided, and for which direction.
pub(crate) fn policies(direction: &str, names: &[String]) -> String {
    match (names.is_empty(), direction.is_empty()) {
        (true, _) => String::new(),
        (false, true) => format!(" by policy {}", names.join(", ")),
        (false, false) => format!(" by {direction} policy {}", names.join(", ")),
    }
}

fn repeats(flow: &Flow) -> String {
    match flow.packets {
        0 | 1 => String::new(),
        packets => format!(" ({packets} packets, {} bytes)", flow.bytes),
    }
}

fn to_json(flow: &Flow) -> serde_json::Value {
    json!({
        "time": text::timestamp(flow.time_ns), "node": flow.node,
        "kind": flow.kind().as_str_name().trim_start_matches("KIND_").to_lowercase(),
        "verdict": flow.verdict().as_str_name().trim_start_matches("VERDICT_").to_lowercase(),
        "protocol": flow.protocol,
        "source": peer_json(flow.source.as_ref()), "destination": peer_json(flow.destination.as_ref()),
        "service": flow.service, "reason": flow.reason, "reasonNumber": flow.reason_number,
        "policies": flow.policies, "direction": flow.direction,
        "packets": flow.packets, "bytes": flow.bytes, "hook": flow.hook,
    })
}

/// One end of a flow, for programs.
pub(crate) fn peer_json(peer: Option<&Peer>) -> serde_json::Value {
    let Some(peer) = peer else {
        return serde_json::Value::Null;
    };
    json!({"ip": peer.ip, "port": peer.port, "namespace": peer.namespace, "pod": peer.pod,
        "node": peer.node, "kind": peer.kind})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, port: u32) -> Option<Peer> {
        Some(Peer {
            namespace: "shop".into(),
            pod: name.into(),
            kind: "pod".into(),
            port,
            ..Peer::default()
        })
    }

    fn flow(time_ns: u64) -> Flow {
        Flow {
            time_ns,
            node: "node1".into(),
            kind: Kind::Start.into(),
            verdict: Verdict::Forwarded.into(),
            protocol: "TCP".into(),
            source: pod("web-1", 41000),
            destination: pod("api-2", 8080),
            service: "shop/api".into(),
            policies: vec!["shop/allow-web".into()],
            direction: "ingress".into(),
            packets: 1,
            ..Flow::default()
        }
    }

    fn dropped() -> Flow {
        Flow {
            kind: Kind::Drop.into(),
            verdict: Verdict::Dropped.into(),
            reason: "POLICY_DENIED".into(),
            policies: vec!["shop/deny".into(), "shop/other".into()],
            packets: 4,
            bytes: 240,
            service: String::new(),
            ..flow(0)
        }
    }

    fn printer(output: Output) -> Printer {
        Printer {
            output,
            zone: TimeZone::UTC,
            paint: Paint::default(),
        }
    }

    #[test]
    fn a_line_has_names_verdict_and_policy() {
        assert_eq!(
            printer(Output::Text).line(&flow(1_500_000_000)),
            "00:00:01.500 node1 FORWARDED start TCP shop/web-1:41000 -> shop/api-2:8080 (service shop/api) by ingress policy shop/allow-web"
        );
        assert_eq!(
            printer(Output::Text).line(&dropped()),
            "00:00:00.000 node1 DROPPED   drop  TCP shop/web-1:41000 -> shop/api-2:8080 POLICY_DENIED by ingress policy shop/deny, shop/other (4 packets, 240 bytes)"
        );
    }

    #[test]
    fn json_is_one_line_with_plain_words() {
        let line = printer(Output::Json).line(&dropped());
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(
            (&value["verdict"], &value["kind"]),
            (&json!("dropped"), &json!("drop"))
        );
        assert_eq!(value["source"]["pod"], "web-1");
    }

    #[test]
    fn nodes_are_merged_by_time_and_gaps_are_named() {
        let one = (
            "node1".into(),
            Ok(vec![Event::Flow(flow(3)), Event::Lost(7)]),
        );
        let two = (
            "node2".into(),
            Ok(vec![Event::Flow(flow(1)), Event::Flow(flow(5))]),
        );
        let three = ("node3".into(), Err("no answer within 5s".to_owned()));
        let (flows, faults) = merge(vec![one, two, three]);
        assert_eq!(
            flows.iter().map(|flow| flow.time_ns).collect::<Vec<_>>(),
            [1, 3, 5]
        );
        assert_eq!(faults[1], "node3: no answer within 5s");
        assert!(faults[0].starts_with("node1: 7 events"), "{faults:?}");
    }
}
