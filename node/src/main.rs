//! naru-node: reads the command line, makes the shared state, runs the daemon until a signal.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use naru_node::{Config, Health, Shared, Watches, access, daemon, network};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    naru_core::start("naru-node");
    tracing::info!(?config, "starting");
    config.tunnel_address()?;
    config.flow_tables()?;
    // Nothing that this daemon does later can give the kernel what it lacks: whoever starts it is
    // told at once, and what runs in the kernel is not touched.
    naru_node::datapath::Features::probe().context("this machine cannot run naru-node")?;
    // Two workers are plenty for an agent, and every worker's stack and heap arena is memory.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let client = access::client(&config)
        .await
        .context("no way to the API server")?;
    let shared = Shared {
        config: Arc::new(config),
        client,
        watches: Watches::new(),
        health: Arc::new(Health::default()),
        network: network::Handle::default(),
    };
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone())?);
    daemon::run(shared, shutdown).await;
    Ok(())
}

fn cancel_on_signal(shutdown: CancellationToken) -> std::io::Result<impl Future<Output = ()>> {
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("shutting down");
        shutdown.cancel();
    })
}
