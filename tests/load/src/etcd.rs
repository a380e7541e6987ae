//! The peer: puts into etcd, over its own gRPC.
//!
//! Two messages of etcd's `rpc.proto` (KV.Put, API v3) are written out here; fields that are not
//! needed are skipped by the decoder.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use http::uri::PathAndQuery;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::objects::config_map;
use crate::{crowd, requests};

const PUT: &str = "/etcdserverpb.KV/Put";

/// Arguments of `etcd-puts`.
#[derive(Debug, Args)]
pub(crate) struct EtcdArgs {
    /// For example `http://127.0.0.1:2379`.
    #[arg(long)]
    endpoint: String,
    /// Clients, each with a connection of its own.
    #[arg(long, default_value_t = 1)]
    clients: usize,
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

/// `etcdserverpb.PutRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `etcdserverpb.PutResponse`, of which nothing is read.
#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

/// Puts per second.
///
/// # Errors
/// When etcd is not reached or a put fails.
pub(crate) async fn run(args: &EtcdArgs) -> Result<f64> {
    let endpoint = Endpoint::from_shared(args.endpoint.clone())?.tcp_nodelay(true);
    let mut seats = Vec::with_capacity(args.clients);
    for _ in 0..args.clients {
        seats.push(endpoint.connect().await.context("connect to etcd")?);
    }
    let run = requests::unique();
    let puts = crowd::run(seats, args.seconds, |number, seat, until| {
        put_until(seat, format!("/bench/{run}-{number}"), until)
    });
    Ok(puts.await?.rate())
}

async fn put_until(seat: Channel, prefix: String, until: Instant) -> Result<Vec<Duration>> {
    let mut client = Grpc::new(seat);
    let mut took = Vec::new();
    let mut now = Instant::now();
    while now < until {
        let name = format!("{prefix}-{}", took.len());
        let put = PutRequest {
            value: config_map(&name).to_vec(),
            key: name.into_bytes(),
        };
        client.ready().await?;
        let codec: ProstCodec<PutRequest, PutResponse> = ProstCodec::default();
        let path = PathAndQuery::from_static(PUT);
        client.unary(Request::new(put), path, codec).await?;
        took.push(now.elapsed());
        now = Instant::now();
    }
    Ok(took)
}
