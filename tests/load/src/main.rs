//! The load of `cargo xtask bench`: many clients of an API server, or of etcd, at once; and a client
//! of containerd.
//!
//! A program of its own, so that xtask needs no TLS and compiles fast. Every subcommand prints one
//! figure as its last word. Clients hold one HTTP/2 connection each and wait for every answer, as
//! the peers' do; a request that fails ends the run, because a rate with failures would mislead.

mod access;
mod crowd;
mod definitions;
mod etcd;
mod fanout;
mod heartbeats;
mod objects;
mod pod;
mod policy;
mod requests;
mod services;
mod session;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use crowd::Steps;

#[derive(Debug, Parser)]
#[command(name = "naru-load", about = "Loads one server and prints a figure")]
struct Line {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Make services with one EndpointSlice each.
    Services(services::ServicesArgs),
    /// Make definitions of custom kinds; prints the bytes of one.
    Definitions(definitions::DefinitionsArgs),
    /// Make a NetworkPolicy; prints the moment before it was sent, in seconds since 1970.
    Policy(policy::PolicyArgs),
    /// Durable creates of ConfigMaps.
    Creates(Crowd),
    /// Reads of one ConfigMap.
    Reads(Crowd),
    /// Milliseconds of a list.
    List(requests::ListArgs),
    /// Make a number of objects; prints the bytes of one.
    Fill(requests::FillArgs),
    /// Keep many nodes ready until killed.
    Heartbeats(heartbeats::HeartbeatsArgs),
    /// Milliseconds from a write until the last of many watchers has it.
    Fanout(fanout::FanoutArgs),
    /// Milliseconds that containerd and runc need to start a pod.
    Pod(pod::PodArgs),
    /// Raw puts into etcd, per second, of values as large as the ConfigMaps.
    EtcdPuts(etcd::EtcdArgs),
}

/// Who loads the API server, and how long.
#[derive(Debug, Args)]
struct Crowd {
    /// kubeconfig (JSON) with the certificates inside.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Clients, each with a connection of its own.
    #[arg(long, default_value_t = 1)]
    clients: usize,
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Print the milliseconds that 99 of 100 take at most, instead of how many are done in a second.
    #[arg(long)]
    p99: bool,
}

impl Crowd {
    fn figure(&self, steps: Steps) -> anyhow::Result<f64> {
        match self.p99 {
            true => steps.p99(),
            false => Ok(steps.rate()),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = dispatch(Line::parse().task).await;
    match outcome {
        Ok(figure) => {
            println!("{figure}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(task: Task) -> anyhow::Result<f64> {
    match task {
        Task::Services(args) => services::run(&args).await,
        Task::Definitions(args) => definitions::run(&args).await,
        Task::Policy(args) => policy::run(&args).await,
        Task::Creates(crowd) => crowd.figure(requests::creates(&crowd).await?),
        Task::Reads(crowd) => crowd.figure(requests::reads(&crowd).await?),
        Task::List(args) => requests::list(&args).await,
        Task::Fill(args) => requests::fill(&args).await,
        Task::Heartbeats(args) => heartbeats::run(&args).await,
        Task::Fanout(args) => fanout::run(&args).await,
        Task::Pod(args) => pod::run(&args).await,
        Task::EtcdPuts(args) => etcd::run(&args).await,
    }
}
