//! Many services, each without selector and with one EndpointSlice.
//!
//! Idempotent: what is there stays, so that a run can grow from 1 to 1,000 to 10,000.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use http::{Method, StatusCode};

use crate::access::Access;
use crate::objects::{NAMESPACE, endpoint_slice, service};
use crate::session::Session;
use crate::{crowd, requests};

/// Requests in flight.
const WORKERS: usize = 32;

/// Arguments of `services`.
#[derive(Debug, Args)]
pub(crate) struct ServicesArgs {
    #[arg(long)]
    kubeconfig: PathBuf,
    /// How many services: `svc-0` and so on in the namespace `load`.
    #[arg(long)]
    count: usize,
    /// Addresses behind every service.
    #[arg(long, value_delimiter = ',')]
    endpoints: Vec<String>,
    /// Port of the services and of the endpoints.
    #[arg(long, default_value_t = 9000)]
    port: u16,
    /// Delete them instead.
    #[arg(long)]
    delete: bool,
}

/// Makes or deletes them; the seconds that it took.
///
/// # Errors
/// When a request fails.
pub(crate) async fn run(args: &ServicesArgs) -> Result<f64> {
    let access = Access::of(&args.kubeconfig)?;
    requests::prepare(&access, NAMESPACE).await?;
    let begin = Instant::now();
    let seats = Session::many(&access, WORKERS.min(args.count.max(1))).await?;
    let workers = seats.len();
    crowd::run(seats, 0.0, |number, mut seat, _| {
        let (endpoints, port) = (args.endpoints.clone(), args.port);
        let (count, delete) = (args.count, args.delete);
        async move {
            for i in crowd::share(count, number, workers) {
                let name = format!("svc-{i}");
                match delete {
                    true => remove(&mut seat, &name).await?,
                    false => make(&mut seat, &name, &endpoints, port).await?,
                }
            }
            Ok(Vec::new())
        }
    })
    .await?;
    Ok(begin.elapsed().as_secs_f64())
}

async fn make(seat: &mut Session, name: &str, endpoints: &[String], port: u16) -> Result<()> {
    let there = [StatusCode::CONFLICT];
    let slice = endpoint_slice(name, endpoints, port);
    seat.call(Method::POST, &slices(), slice, &there).await?;
    seat.call(Method::POST, &services(), service(name, port), &there)
        .await
        .map(drop)
}

async fn remove(seat: &mut Session, name: &str) -> Result<()> {
    for collection in [services(), slices()] {
        let path = format!("{collection}/{name}");
        let gone = [StatusCode::NOT_FOUND];
        seat.call(Method::DELETE, &path, Bytes::new(), &gone)
            .await?;
    }
    Ok(())
}

fn services() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/services")
}

fn slices() -> String {
    format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices")
}
