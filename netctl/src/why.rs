//! `netctl why`: what would happen to a connection, hop by hop.
//!
//! The nodes decide, with the data path's own code over their live maps; netctl finds out who is
//! meant, asks the source's node, and follows the packet to the next one.

use anyhow::{Context as _, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::ListParams;
use kube::core::Selector;
use naru_node_api::flows::{Step, Verdict, WhyRequest, WhyResponse};
use serde_json::json;

use crate::address::{self, Destination, Kind, Name, Target};
use crate::cli::{Output, WhyArgs};
use crate::cluster::Cluster;
use crate::observe::policies;
use crate::text::Paint;

/// Exit code of a connection that would be dropped.
const DROPPED: u8 = 3;
/// Nodes that a packet may visit, so that two that point at each other don't hold us.
const MAX_HOPS: usize = 4;

/// A question, resolved.
#[derive(Debug)]
struct Question {
    namespace: String,
    pod: String,
    node: String,
    destination: Destination,
    protocol: String,
}

/// What one node said.
#[derive(Debug)]
struct Hop {
    node: String,
    answer: Result<WhyResponse, String>,
}

/// Runs the command; 3 when the connection would be dropped, 1 when a node did not answer.
pub(crate) async fn run(cluster: &Cluster, args: &WhyArgs) -> anyhow::Result<u8> {
    let question = resolve(cluster, args).await?;
    let hops = walk(cluster, &question).await;
    match args.output {
        Output::Text => print!("{}", render(&question, &hops, Paint::for_stdout())),
        Output::Json => println!(
            "{}",
            serde_json::to_string_pretty(&to_json(&question, &hops))?
        ),
    }
    Ok(exit_code(&hops))
}

fn exit_code(hops: &[Hop]) -> u8 {
    match hops.last().map(|hop| &hop.answer) {
        Some(Ok(answer)) if answer.verdict() == Verdict::Forwarded => 0,
        Some(Ok(_)) => DROPPED,
        Some(Err(_)) | None => 1,
    }
}

async fn resolve(cluster: &Cluster, args: &WhyArgs) -> anyhow::Result<Question> {
    let name = Name::parse(&args.pod, &cluster.namespace)?;
    let pod = match name.kind {
        Some(Kind::Service) => bail!("a connection starts at a pod, not at a Service"),
        Some(Kind::Deployment) => pod_of_deployment(cluster, &name).await?,
        Some(Kind::Pod) | None => find_pod(cluster, &name).await?,
    };
    let absent = || format!("there is no pod {}/{}", name.namespace, name.name);
    let pod = pod.with_context(absent)?;
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let node = node.with_context(|| format!("pod {} runs on no node yet", args.pod))?;
    if let Some(phase) = ended(&pod) {
        bail!(
            "pod {}/{} has ended ({phase}): nothing connects from it any more",
            name.namespace,
            name.name
        );
    }
    let target = Target::parse(&args.target, &name.namespace)?;
    let destination = find(cluster, target).await?;
    let asked = args.protocol.map(|protocol| protocol.name().to_owned());
    let protocol = asked.or_else(|| destination.protocol.clone());
    let protocol = protocol.map_or("TCP".to_owned(), |text| text.to_ascii_uppercase());
    Ok(Question {
        namespace: name.namespace,
        pod: pod.metadata.name.unwrap_or_default(),
        node,
        destination,
        protocol,
    })
}

async fn find(cluster: &Cluster, target: Target) -> anyhow::Result<Destination> {
    let (name, port) = match target {
        Target::Address(ip, port) => {
            return Ok(Destination {
                label: ip.to_string(),
                ip,
                port,
                protocol: None,
            });
        }
        Target::Named(name, port) => (name, port),
    };
    if name.kind == Some(Kind::Deployment) {
        bail!("a connection goes to a Service, a pod or an address, not to a Deployment");
    }
    if name.kind != Some(Kind::Pod)
        && let Some(service) = find_service(cluster, &name).await?
    {
        return match address::of_service(&service, &port)? {
            Some(destination) => Ok(destination),
            None => first_endpoint(cluster, &name, &port).await,
        };
    }
    if name.kind != Some(Kind::Service)
        && let Some(pod) = find_pod(cluster, &name).await?
    {
        return Ok(address::of_pod(&pod, &port)?);
    }
    bail!(
        "there is no {} {}/{}",
        wanted(name.kind),
        name.namespace,
        name.name
    )
}

fn wanted(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(Kind::Service) => "Service",
        Some(Kind::Pod) => "pod",
        Some(Kind::Deployment) => "Deployment",
        None => "Service or pod",
    }
}

async fn find_pod(cluster: &Cluster, name: &Name) -> anyhow::Result<Option<Pod>> {
    let api = Api::<Pod>::namespaced(cluster.api.clone(), &name.namespace);
    let finding = tokio::time::timeout(cluster.timeout, api.get_opt(&name.name));
    finding
        .await
        .context("the API server does not answer")?
        .context("get the pod")
}

/// The first running pod of a Deployment, by name.
async fn pod_of_deployment(cluster: &Cluster, name: &Name) -> anyhow::Result<Option<Pod>> {
    let Name {
        namespace, name, ..
    } = name;
    let api = Api::<Deployment>::namespaced(cluster.api.clone(), namespace);
    let found = tokio::time::timeout(cluster.timeout, api.get_opt(name))
        .await
        .context("the API server does not answer")?
        .context("get the Deployment")?
        .with_context(|| format!("there is no Deployment {namespace}/{name}"))?;
    let selector = found.spec.selector;
    let selector = Selector::try_from(selector).context("the Deployment's selector")?;
    let api = Api::<Pod>::namespaced(cluster.api.clone(), namespace);
    let params = ListParams::default().labels_from(&selector);
    let mut pods = api.list(&params).await.context("list pods")?.items;
    pods.retain(is_running);
    pods.sort_by_key(|pod| pod.metadata.name.clone());
    let first = pods.into_iter().next();
    let first =
        first.with_context(|| format!("Deployment {namespace}/{name} has no running pod"))?;
    Ok(Some(first))
}

/// The phase of a pod whose containers have ended for good.
fn ended(pod: &Pod) -> Option<&str> {
    let phase = pod.status.as_ref()?.phase.as_deref()?;
    matches!(phase, "Succeeded" | "Failed").then_some(phase)
}

fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
    phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
}

async fn find_service(cluster: &Cluster, name: &Name) -> anyhow::Result<Option<Service>> {
    let api = Api::<Service>::namespaced(cluster.api.clone(), &name.namespace);
    let finding = tokio::time::timeout(cluster.timeout, api.get_opt(&name.name));
    finding
        .await
        .context("the API server does not answer")?
        .context("get the Service")
}

/// A Service without an address: its first ready endpoint stands for it.
async fn first_endpoint(cluster: &Cluster, name: &Name, port: &str) -> anyhow::Result<Destination> {
    let api = Api::<EndpointSlice>::namespaced(cluster.api.clone(), &name.namespace);
    let selector = format!("kubernetes.io/service-name={}", name.name);
    let slices = api
        .list(&ListParams::default().labels(&selector))
        .await
        .context("list endpoints")?;
    let found = slices
        .items
        .iter()
        .find_map(|slice| ready_endpoint(slice, port));
    let (ip, number) = found.with_context(|| {
        format!(
            "Service {}/{} has no ready endpoint",
            name.namespace, name.name
        )
    })?;
    let label = format!(
        "service {}/{} (headless, first endpoint)",
        name.namespace, name.name
    );
    Ok(Destination {
        label,
        ip,
        port: number,
        protocol: None,
    })
}

/// The first ready address of a slice and its port of this name, else of the number asked for.
fn ready_endpoint(slice: &EndpointSlice, port: &str) -> Option<(std::net::IpAddr, u16)> {
    let is_ready = |it: &&k8s_openapi::api::discovery::v1::Endpoint| {
        it.conditions
            .as_ref()
            .and_then(|conditions| conditions.ready)
            .unwrap_or(true)
    };
    let endpoint = slice.endpoints.iter().flatten().find(is_ready)?;
    let ports = || slice.ports.iter().flatten();
    let named = ports().find(|it| it.name.as_deref() == Some(port));
    let number = match (named, port.parse::<u16>()) {
        (Some(named), _) => u16::try_from(named.port?).ok()?,
        (None, Ok(number)) => number,
        (None, Err(_)) => return None,
    };
    Some((endpoint.addresses.first()?.parse().ok()?, number))
}

/// Asks the source's node, then each node that the packet goes on to.
async fn walk(cluster: &Cluster, question: &Question) -> Vec<Hop> {
    let mut hops: Vec<Hop> = Vec::new();
    let mut node = question.node.clone();
    let mut request = WhyRequest {
        namespace: question.namespace.clone(),
        pod: question.pod.clone(),
        destination: question.destination.ip.to_string(),
        port: question.destination.port.into(),
        protocol: question.protocol.clone(),
    };
    while hops.len() < MAX_HOPS {
        let asking = cluster.ask(std::slice::from_ref(&node), async |mut client| {
            Ok(client.why(request.clone()).await?.into_inner())
        });
        let Some((name, answer)) = asking.await.pop() else {
            break;
        };
        let next = answer.as_ref().ok().and_then(next);
        hops.push(Hop { node: name, answer });
        let Some((next_node, address, port)) = next else {
            break;
        };
        node = next_node;
        request.destination = address;
        request.port = port;
    }
    hops
}

/// Where the packet goes on, unless it was dropped or has arrived.
fn next(answer: &WhyResponse) -> Option<(String, String, u32)> {
    let goes_on = answer.verdict() != Verdict::Dropped && !answer.next_node.is_empty();
    goes_on.then(|| {
        (
            answer.next_node.clone(),
            answer.next_address.clone(),
            answer.next_port,
        )
    })
}

fn render(question: &Question, hops: &[Hop], paint: Paint) -> String {
    let Destination {
        label, ip, port, ..
    } = &question.destination;
    let target = if *label == ip.to_string() {
        String::new()
    } else {
        format!(" ({label})")
    };
    let address = std::net::SocketAddr::new(*ip, *port);
    let title = format!(
        "pod {}/{} -> {} {address}{target}",
        question.namespace, question.pod, question.protocol
    );
    let mut text = paint.strong(&title) + "\n";
    let mut has_failed = false;
    for hop in hops {
        text.push_str(&format!("on node {}\n", hop.node));
        match &hop.answer {
            Err(reason) => text.push_str(&format!("  {}\n", paint.bad(&format!("? {reason}")))),
            Ok(answer) => {
                for step in &answer.steps {
                    let is_first = step.failed && !has_failed;
                    has_failed |= step.failed;
                    text.push_str(&line(step, is_first, paint));
                }
            }
        }
    }
    text + &conclusion(hops, paint)
}

/// A step; the first one that failed stands out.
fn line(step: &Step, is_first_failure: bool, paint: Paint) -> String {
    let mark = if step.failed { "x" } else { "+" };
    let text = format!("{mark} {}{}", step.text, policies("", &step.policies));
    match is_first_failure {
        true => format!("{}\n", paint.bad(&format!("> {text}"))),
        false => format!("  {text}\n"),
    }
}

fn conclusion(hops: &[Hop], paint: Paint) -> String {
    match hops.last().map(|hop| (&hop.node, &hop.answer)) {
        Some((_, Ok(answer))) if answer.verdict() == Verdict::Forwarded => {
            format!(
                "{}{}\n",
                paint.good("the connection is allowed"),
                policies("", &answer.policies)
            )
        }
        Some((node, Ok(answer))) => {
            let verdict = paint.bad(&format!(
                "the connection is dropped on {node}: {}",
                answer.reason
            ));
            format!("{verdict}{}\n", policies("", &answer.policies))
        }
        Some((node, Err(_))) => format!(
            "{}\n",
            paint.bad(&format!("{node} did not answer, so the rest is unknown"))
        ),
        None => String::new(),
    }
}

fn to_json(question: &Question, hops: &[Hop]) -> serde_json::Value {
    let step = |it: &Step| json!({"text": it.text, "failed": it.failed, "policies": it.policies});
    let hop = |hop: &Hop| match &hop.answer {
        Err(reason) => json!({"node": hop.node, "error": reason}),
        Ok(it) => json!({"node": hop.node,
            "verdict": it.verdict().as_str_name().trim_start_matches("VERDICT_").to_lowercase(),
            "reason": it.reason, "policies": it.policies,
            "steps": it.steps.iter().map(step).collect::<Vec<_>>()}),
    };
    json!({
        "source": {"namespace": question.namespace, "pod": question.pod, "node": question.node},
        "destination": {"label": question.destination.label, "ip": question.destination.ip.to_string(),
            "port": question.destination.port, "protocol": question.protocol},
        "hops": hops.iter().map(hop).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests;
