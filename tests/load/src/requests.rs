//! Creates and reads of ConfigMaps.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::{Method, StatusCode};

use crate::access::Access;
use crate::crowd::Steps;
use crate::objects::{NAMESPACE, config_map, namespace, node, pod};
use crate::session::Session;
use crate::{Crowd, crowd};

/// Workers that fill.
const FILLERS: usize = 16;

/// What is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// ConfigMaps.
    ConfigMaps,
    /// Nodes that nobody serves.
    Nodes,
    /// Pods that are bound to those nodes.
    Pods,
}

/// Arguments of `fill`.
#[derive(Debug, Args)]
pub(crate) struct FillArgs {
    #[arg(long)]
    kubeconfig: PathBuf,
    /// How many objects.
    #[arg(long)]
    count: usize,
    #[arg(long, value_enum, default_value = "config-maps")]
    sort: Sort,
    /// Nodes that the pods are spread over.
    #[arg(long, default_value_t = 1)]
    nodes: usize,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[arg(long)]
    kubeconfig: PathBuf,
    #[arg(long, default_value = "/api/v1/namespaces/load/configmaps")]
    path: String,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Durable creates.
///
/// # Errors
/// When a request fails.
pub(crate) async fn creates(args: &Crowd) -> Result<Steps> {
    let access = Access::of(&args.kubeconfig)?;
    prepare(&access, NAMESPACE).await?;
    let seats = Session::many(&access, args.clients).await?;
    let run = unique();
    crowd::run(seats, args.seconds, |number, seat, until| {
        create_until(seat, format!("c-{run}-{number}"), until)
    })
    .await
}

async fn create_until(mut seat: Session, prefix: String, until: Instant) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    let mut now = Instant::now();
    while now < until {
        create(&mut seat, NAMESPACE, &format!("{prefix}-{}", took.len())).await?;
        took.push(now.elapsed());
        now = Instant::now();
    }
    Ok(took)
}

/// Makes one ConfigMap; the answer means that it is on disk.
///
/// # Errors
/// When the server refuses.
pub(crate) async fn create(seat: &mut Session, namespace: &str, name: &str) -> Result<()> {
    let path = collection(namespace);
    seat.call(Method::POST, &path, config_map(name), &[])
        .await
        .map(drop)
}

/// Reads of one object.
///
/// # Errors
/// When a request fails.
pub(crate) async fn reads(args: &Crowd) -> Result<Steps> {
    let access = Access::of(&args.kubeconfig)?;
    prepare(&access, NAMESPACE).await?;
    let mut seats = Session::many(&access, args.clients.max(1)).await?;
    let name = format!("r-{}", unique());
    create(&mut seats[0], NAMESPACE, &name).await?;
    crowd::run(seats, args.seconds, |_, seat, until| {
        read_until(seat, format!("{}/{name}", collection(NAMESPACE)), until)
    })
    .await
}

async fn read_until(mut seat: Session, path: String, until: Instant) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    let mut now = Instant::now();
    while now < until {
        seat.call(Method::GET, &path, Bytes::new(), &[]).await?;
        took.push(now.elapsed());
        now = Instant::now();
    }
    Ok(took)
}

/// A list of everything under a path: the median of the rounds in milliseconds.
///
/// # Errors
/// When a request fails.
pub(crate) async fn list(args: &ListArgs) -> Result<f64> {
    let access = Access::of(&args.kubeconfig)?;
    let mut seat = Session::open(&access).await?;
    let mut took = Vec::with_capacity(args.rounds);
    for _ in 0..args.rounds.max(1) {
        let begin = Instant::now();
        let bytes = seat.drain(&args.path).await?;
        took.push(begin.elapsed().as_secs_f64() * 1000.0);
        println!("{bytes} bytes");
    }
    took.sort_by(f64::total_cmp);
    Ok(took[took.len() / 2])
}

/// Makes `count` objects and returns the bytes of one as it was sent.
///
/// # Errors
/// When a request fails.
pub(crate) async fn fill(args: &FillArgs) -> Result<f64> {
    let access = Access::of(&args.kubeconfig)?;
    prepare(&access, NAMESPACE).await?;
    let seats = Session::many(&access, FILLERS).await?;
    let (run, count, sort, nodes) = (unique(), args.count, args.sort, args.nodes);
    let body = move |i: usize| match sort {
        Sort::ConfigMaps => config_map(&format!("f-{run}-{i}")),
        Sort::Nodes => node(i),
        Sort::Pods => pod(i, nodes),
    };
    let path = match sort {
        Sort::ConfigMaps => collection(NAMESPACE),
        Sort::Nodes => "/api/v1/nodes".to_owned(),
        Sort::Pods => format!("/api/v1/namespaces/{NAMESPACE}/pods"),
    };
    // The work ends it, not the clock.
    crowd::run(seats, 0.0, |number, mut seat, _| {
        let (body, path) = (body.clone(), path.clone());
        async move {
            for i in crowd::share(count, number, FILLERS) {
                seat.call(Method::POST, &path, body(i), &[]).await?;
            }
            Ok(Vec::new())
        }
    })
    .await?;
    Ok(body(count).len() as f64)
}

/// Makes the namespace, if there is none.
///
/// # Errors
/// When the server is not reached or refuses.
pub(crate) async fn prepare(access: &Access, name: &str) -> Result<()> {
    let mut session = Session::open(access).await?;
    let path = "/api/v1/namespaces";
    let there = [StatusCode::CONFLICT];
    session
        .call(Method::POST, path, namespace(name), &there)
        .await
        .map(drop)
}

/// Path of the ConfigMaps of a namespace.
pub(crate) fn collection(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

/// A word that no other run has used.
pub(crate) fn unique() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    format!("{:x}", since.unwrap_or_default().as_nanos())
}
