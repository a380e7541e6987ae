//! Creates and reads of ConfigMaps.

use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use http::{Method, StatusCode};

use crate::access::Access;
use crate::objects::{NAMESPACE, config_map, namespace};
use crate::session::Session;
use crate::{Crowd, crowd};

/// Workers that fill.
const FILLERS: usize = 16;

/// Arguments of `fill`.
#[derive(Debug, Args)]
pub(crate) struct FillArgs {
    #[arg(long)]
    kubeconfig: PathBuf,
    /// How many objects.
    #[arg(long)]
    count: usize,
}

/// Durable creates per second.
///
/// # Errors
/// When a request fails.
pub(crate) async fn creates(args: &Crowd) -> Result<f64> {
    let access = Access::of(&args.kubeconfig)?;
    prepare(&access, NAMESPACE).await?;
    let seats = Session::many(&access, args.clients).await?;
    let run = unique();
    crowd::rate(seats, args.seconds, |number, seat, until| {
        create_until(seat, format!("c-{run}-{number}"), until)
    })
    .await
}

async fn create_until(mut seat: Session, prefix: String, until: Instant) -> Result<u64> {
    let mut done = 0;
    while Instant::now() < until {
        create(&mut seat, NAMESPACE, &format!("{prefix}-{done}")).await?;
        done += 1;
    }
    Ok(done)
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

/// Reads of one object per second.
///
/// # Errors
/// When a request fails.
pub(crate) async fn reads(args: &Crowd) -> Result<f64> {
    let access = Access::of(&args.kubeconfig)?;
    prepare(&access, NAMESPACE).await?;
    let mut seats = Session::many(&access, args.clients.max(1)).await?;
    let name = format!("r-{}", unique());
    create(&mut seats[0], NAMESPACE, &name).await?;
    crowd::rate(seats, args.seconds, |_, seat, until| {
        read_until(seat, format!("{}/{name}", collection(NAMESPACE)), until)
    })
    .await
}

async fn read_until(mut seat: Session, path: String, until: Instant) -> Result<u64> {
    let mut done = 0;
    while Instant::now() < until {
        seat.call(Method::GET, &path, Bytes::new(), &[]).await?;
        done += 1;
    }
    Ok(done)
}

/// Makes `count` ConfigMaps and returns the bytes of one as it was sent.
///
/// # Errors
/// When a request fails.
pub(crate) async fn fill(args: &FillArgs) -> Result<f64> {
    let access = Access::of(&args.kubeconfig)?;
    prepare(&access, NAMESPACE).await?;
    let seats = Session::many(&access, FILLERS).await?;
    let (run, count) = (unique(), args.count);
    // The work ends it, not the clock.
    crowd::rate(seats, 0.0, |number, mut seat, _| {
        let run = run.clone();
        async move {
            for i in crowd::share(count, number, FILLERS) {
                create(&mut seat, NAMESPACE, &format!("f-{run}-{i}")).await?;
            }
            Ok(1)
        }
    })
    .await?;
    Ok(config_map(&format!("f-{run}-{count}")).len() as f64)
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
