//! The daemons of nodes that nobody serves: they report ready once and renew their leases for ever.
//!
//! Without them a control plane under the objects of a large cluster would be one that has just lost
//! all its nodes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::access::Access;
use crate::objects::{lease, node_name, renewal};
use crate::session::Session;
use crate::{crowd, requests};

const LEASES: &str = "kube-node-lease";
const WORKERS: usize = 8;
/// How often a node renews its lease.
const PERIOD: Duration = Duration::from_secs(10);

/// Arguments of `heartbeats`.
#[derive(Debug, Args)]
pub(crate) struct HeartbeatsArgs {
    #[arg(long)]
    kubeconfig: PathBuf,
    /// How many nodes, numbered as `fill` numbers them.
    #[arg(long)]
    nodes: usize,
}

/// Goes on until it is killed; says `started` when every node is ready.
///
/// # Errors
/// When a request fails.
pub(crate) async fn run(args: &HeartbeatsArgs) -> Result<f64> {
    let access = Access::of(&args.kubeconfig)?;
    requests::prepare(&access, LEASES).await?;
    let seats = Session::many(&access, WORKERS).await?;
    let mut starting = JoinSet::new();
    for (number, seat) in seats.into_iter().enumerate() {
        let nodes = crowd::share(args.nodes, number, WORKERS).collect();
        starting.spawn(begin(seat, nodes));
    }
    let mut running = JoinSet::new();
    while let Some(begun) = starting.join_next().await {
        let (seat, leases) = begun??;
        running.spawn(renew(seat, leases));
    }
    println!("started");
    match running.join_next().await {
        Some(ended) => ended?,
        None => bail!("there are no nodes"),
    }
}

/// Makes the leases, or takes over those that are there, and reports the nodes ready.
async fn begin(mut seat: Session, nodes: Vec<usize>) -> Result<(Session, Vec<Value>)> {
    let mut leases = Vec::with_capacity(nodes.len());
    for name in nodes.into_iter().map(node_name) {
        let there = [StatusCode::CONFLICT];
        let (post, collection) = (Method::POST, path(""));
        seat.call(post, &collection, lease(&name), &there).await?;
        leases.push(get(&mut seat, &path(&name)).await?);
        report(&mut seat, &name).await?;
    }
    Ok((seat, leases))
}

async fn report(seat: &mut Session, node: &str) -> Result<()> {
    let path = format!("/api/v1/nodes/{node}");
    let mut object = get(seat, &path).await?;
    object["status"]["conditions"] = json!([
        {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}]);
    // Unconditional: the control plane gives the node its range and taints at the same time.
    object["metadata"]["resourceVersion"] = Value::Null;
    let body = object.to_string().into();
    let status = format!("{path}/status");
    seat.call(Method::PUT, &status, body, &[]).await.map(drop)
}

/// Spread over the period, like nodes that started at different times.
async fn renew(mut seat: Session, mut leases: Vec<Value>) -> Result<f64> {
    let share = PERIOD.div_f64(leases.len().max(1) as f64);
    let mut due = Instant::now();
    loop {
        for lease in &mut leases {
            due += share;
            sleep_until(due).await;
            lease["spec"]["renewTime"] = renewal().into();
            let name = lease["metadata"]["name"].as_str().context("a name")?;
            let (path, body) = (path(name), lease.to_string().into());
            let answer = seat.call(Method::PUT, &path, body, &[]).await?;
            *lease = serde_json::from_slice(&answer)?;
        }
        anyhow::ensure!(!leases.is_empty(), "a worker without nodes");
    }
}

async fn get(seat: &mut Session, path: &str) -> Result<Value> {
    let nothing = bytes::Bytes::new();
    let answer = seat.call(Method::GET, path, nothing, &[]).await?;
    Ok(serde_json::from_slice(&answer)?)
}

fn path(lease: &str) -> String {
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{LEASES}/leases");
    match lease {
        "" => leases,
        name => format!("{leases}/{name}"),
    }
}
