//! Flow and drop events: reading, naming, keeping, streaming.
//!
//! One task reads the ring of the data path, gives every event its names once, keeps the latest
//! and hands each to whoever watches. The programs report starts and ends of flows only while
//! somebody does; drops and changed verdicts always. A slow watcher loses events and is told how
//! many. `service` answers gRPC; `why` runs the data path's own code over a copy of its maps.

mod denying;
mod filter;
mod log;
mod past;
mod resolve;
mod service;
mod snapshot;
mod why;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tonic::service::Routes;

pub use log::FlowLog;
pub use resolve::Resolver;

use crate::Shared;
use crate::network::Network;

/// Only drops wake the reader; starts and ends of flows are fetched this often while somebody
/// watches.
const WATCHED: Duration = Duration::from_millis(50);
/// And this often when nobody does, so that verdicts do not fill the ring.
const UNWATCHED: Duration = Duration::from_secs(5);

/// The gRPC services of this room, for the node's HTTPS server.
#[must_use]
pub fn routes(shared: Shared) -> Routes {
    Routes::new(service::server(shared))
}

/// Reads events for as long as the daemon runs.
pub(crate) async fn read(network: Arc<Network>) {
    loop {
        let failed = match network.datapath.events() {
            Ok(events) => follow(&network, events).await.to_string(),
            Err(error) => crate::network::chain(&error),
        };
        network.report_health("flows", Some(failed));
        sleep(UNWATCHED).await;
    }
}

async fn follow(network: &Network, mut events: crate::datapath::Events) -> std::io::Error {
    network.report_health("flows", None);
    loop {
        let pause = if network.is_watched() {
            WATCHED
        } else {
            UNWATCHED
        };
        let mut fresh = Vec::new();
        tokio::select! {
            outcome = events.read(|event| fresh.push(event)) => if let Err(error) = outcome {
                return error;
            },
            () = sleep(pause) => events.drain(|event| fresh.push(event)),
        }
        if fresh.is_empty() {
            continue;
        }
        let resolver = Resolver::of(network);
        for event in &fresh {
            network.flows.push(resolver.flow(event));
        }
    }
}
