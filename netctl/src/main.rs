//! netctl: what the network does, and why.
//!
//! It asks the Kubernetes API for nodes, pods and Services, and each node for what it sees, by
//! gRPC through the API server's node proxy, so that a kubeconfig is all a user needs. Collecting
//! and printing are apart: everything that makes text is pure.

mod address;
mod channel;
mod cli;
mod cluster;
mod config;
mod drops;
mod observe;
mod snapshot;
mod status;
mod text;
mod why;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use cluster::Cluster;

/// Exit code when something could not be done or somebody did not answer.
const FAILED: u8 = 1;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(cli).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("netctl: {}", text::one_line(&error));
            ExitCode::from(FAILED)
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<u8> {
    let cluster = async || Cluster::connect(&cli.access).await;
    match &cli.command {
        Command::Status(args) => status::run(&cluster().await?, args).await,
        Command::Observe(args) => observe::run(&cluster().await?, args).await,
        Command::Drops(args) => drops::run(&cluster().await?, args).await,
        Command::Why(args) => why::run(&cluster().await?, args).await,
        Command::Snapshot(command) => snapshot::run(&cli.access, command).await,
    }
}
