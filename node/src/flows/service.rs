//! The gRPC service.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use ipnet::IpNet;
use naru_ebpf_common::{Reason, counter};
use naru_node_api::flows::flows_server::{Flows, FlowsServer};
use naru_node_api::flows::{
    Counter, DropTotal, DropsRequest, DropsResponse, Fault, Flow, Map, ObserveRequest,
    ObserveResponse, Program, StatusRequest, StatusResponse, WhyRequest, WhyResponse,
    observe_response::Event,
};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::denying;
use super::filter::passes;
use super::past;
use super::resolve::Resolver;
use super::why;
use crate::Shared;
use crate::datapath::DatapathError;
use crate::network::{Network, chain};

/// Events in flight to one client, on top of what the transport holds.
const IN_FLIGHT: usize = 64;
/// Past events that an answer has at most, unless the client says otherwise.
const MOST: usize = 1024;

/// The service, ready to be mounted.
pub(super) fn server(shared: Shared) -> FlowsServer<FlowsService> {
    FlowsServer::new(FlowsService { shared })
}

#[derive(Clone)]
pub(super) struct FlowsService {
    shared: Shared,
}

impl FlowsService {
    fn network(&self) -> Result<Arc<Network>, Status> {
        let why = || {
            self.shared
                .health
                .fault("datapath")
                .unwrap_or_else(|| "it is starting".into())
        };
        let network = self.shared.network.get().cloned();
        network.ok_or_else(|| {
            Status::unavailable(format!("the node's data path is not open: {}", why()))
        })
    }
}

#[tonic::async_trait]
impl Flows for FlowsService {
    type ObserveStream = Pin<Box<dyn Stream<Item = Result<ObserveResponse, Status>> + Send>>;

    async fn observe(
        &self,
        request: Request<ObserveRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let network = self.network()?;
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        tokio::spawn(observe(network, request.into_inner(), sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn drops(&self, _: Request<DropsRequest>) -> Result<Response<DropsResponse>, Status> {
        let network = self.network()?;
        read(move || drops(&network)).await
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let shared = self.shared.clone();
        read(move || status(&shared)).await
    }

    async fn why(&self, request: Request<WhyRequest>) -> Result<Response<WhyResponse>, Status> {
        let network = self.network()?;
        let request = request.into_inner();
        let answer = tokio::task::spawn_blocking(move || why::explain(&network, &request)).await;
        answer
            .map_err(|error| Status::internal(error.to_string()))?
            .map(Response::new)
    }
}

async fn read<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DatapathError> + Send + 'static,
) -> Result<Response<T>, Status> {
    let answer = tokio::task::spawn_blocking(work).await;
    let answer = answer.map_err(|error| Status::internal(error.to_string()))?;
    answer
        .map(Response::new)
        .map_err(|error| Status::internal(chain(&error)))
}

type Sender = mpsc::Sender<Result<ObserveResponse, Status>>;

/// Turns flow reports of the programs on for as long as it lives.
struct Watching(Arc<Network>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.watch_flows(false);
    }
}

async fn observe(network: Arc<Network>, request: ObserveRequest, sender: Sender) {
    let (kept, feed) = network.flows.watch();
    // A follower is told of every opening from now on; one that is in the table and in the feed
    // would be told twice.
    let open = match request.follow {
        true => Ok(Vec::new()),
        false => open_flows(&network).await,
    };
    let open = match open {
        Ok(open) => open,
        Err(status) => {
            // A client that has gone needs no answer.
            let _ = sender.send(Err(status)).await;
            return;
        }
    };
    let mut matching: Vec<_> = past::merge(kept, open)
        .into_iter()
        .filter(|flow| passes(&request, flow))
        .collect();
    let wanted = match request.last {
        0 => MOST,
        last => last as usize,
    };
    matching.drain(..matching.len().saturating_sub(wanted));
    for flow in matching {
        if sender.send(Ok(event(&flow))).await.is_err() {
            return;
        }
    }
    if request.follow {
        network.watch_flows(true);
        let _watching = Watching(Arc::clone(&network));
        tokio::select! {
            () = follow(feed, &request, &sender) => {}
            () = sender.closed() => {}
        }
    }
}

/// The openings of the flows in the table, with names.
async fn open_flows(network: &Arc<Network>) -> Result<Vec<Flow>, Status> {
    let network = Arc::clone(network);
    let reading = tokio::task::spawn_blocking(move || {
        let resolver = Resolver::of(&network);
        let entries = network.datapath.conntrack.entries()?.into_iter();
        Ok(entries
            .map(|(tuple, conn)| resolver.opening(&tuple, &conn))
            .collect())
    });
    let read = reading
        .await
        .map_err(|error| Status::internal(error.to_string()))?;
    read.map_err(|error: DatapathError| Status::internal(chain(&error)))
}

/// The wait for room in `sender` is what makes a slow client lag behind the feed, which then says
/// how many events it missed.
async fn follow(mut feed: Receiver<Arc<Flow>>, request: &ObserveRequest, sender: &Sender) {
    loop {
        let message = match feed.recv().await {
            Ok(flow) if passes(request, &flow) => event(&flow),
            Ok(_) => continue,
            Err(RecvError::Lagged(lost)) => ObserveResponse {
                event: Some(Event::Lost(lost)),
            },
            Err(RecvError::Closed) => return,
        };
        if sender.send(Ok(message)).await.is_err() {
            return;
        }
    }
}

fn event(flow: &Flow) -> ObserveResponse {
    ObserveResponse {
        event: Some(Event::Flow(flow.clone())),
    }
}

fn drops(network: &Network) -> Result<DropsResponse, DatapathError> {
    let resolver = Resolver::of(network);
    let entries = network.datapath.drops.entries()?;
    let mut drops = Vec::new();
    for (key, count) in &entries {
        let rule = denying::rule(&network.datapath, key)?;
        drops.push(resolver.drop(key, count, rule));
    }
    drops.sort_by_key(|drop| std::cmp::Reverse(drop.packets));
    let mut totals = Vec::new();
    for hook in counter::hooks() {
        for reason in Reason::ALL
            .iter()
            .filter(|reason| **reason != Reason::FORWARDED)
        {
            let count = network.datapath.counter(counter::index(hook, *reason))?;
            if count.packets > 0 {
                totals.push(DropTotal {
                    hook: counter::hook_name(hook).to_owned(),
                    reason: reason.name().to_owned(),
                    reason_number: reason.0.into(),
                    packets: count.packets,
                    bytes: count.bytes,
                });
            }
        }
    }
    Ok(DropsResponse { drops, totals })
}

fn status(shared: &Shared) -> Result<StatusResponse, DatapathError> {
    let faults = shared.health.faults().into_iter();
    let base = StatusResponse {
        node: shared.config.node_name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        faults: faults
            .map(|(component, reason)| Fault {
                component: component.to_owned(),
                reason,
            })
            .collect(),
        ..StatusResponse::default()
    };
    let Some(network) = shared.network.get() else {
        return Ok(base);
    };
    let features = network.datapath.features();
    Ok(StatusResponse {
        kernel: features.kernel.clone(),
        attachment: if features.tcx { "tcx" } else { "clsact" }.to_owned(),
        pod_cidr: joined(&network.ipam.ranges()),
        pods: network.attachments().len() as u32,
        services: network.service_count() as u32,
        maps: maps(network)?,
        programs: programs(network)?,
        counters: counter::hooks()
            .map(|hook| counted(network, hook))
            .collect::<Result<_, _>>()?,
        ..base
    })
}

fn joined(ranges: &[IpNet]) -> String {
    let texts: Vec<_> = ranges.iter().map(IpNet::to_string).collect();
    texts.join(",")
}

fn maps(network: &Network) -> Result<Vec<Map>, DatapathError> {
    let fill = network.datapath.fill()?.into_iter();
    Ok(fill
        .map(|(name, entries, capacity)| Map {
            name: name.to_owned(),
            entries,
            capacity,
        })
        .collect())
}

fn programs(network: &Network) -> Result<Vec<Program>, DatapathError> {
    let links: HashMap<&str, u32> = network.datapath.links_per_program()?;
    let tags = network.datapath.program_tags()?.into_iter();
    let program = |(name, tag): (&'static str, u64)| Program {
        name: name.to_owned(),
        tag: format!("{tag:016x}"),
        links: links.get(name).copied().unwrap_or(0),
    };
    Ok(tags.map(program).collect())
}

fn counted(network: &Network, hook: u8) -> Result<Counter, DatapathError> {
    let mut counter = Counter {
        hook: counter::hook_name(hook).to_owned(),
        ..Counter::default()
    };
    for reason in Reason::ALL {
        let count = network.datapath.counter(counter::index(hook, *reason))?;
        if *reason == Reason::FORWARDED {
            (counter.forwarded_packets, counter.forwarded_bytes) = (count.packets, count.bytes);
        } else {
            counter.dropped_packets += count.packets;
            counter.dropped_bytes += count.bytes;
        }
    }
    Ok(counter)
}
