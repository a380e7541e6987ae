//! `naru-control`: the control plane, and the offline signing of credentials.

mod restore;
mod serve;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use naru_control::pki::{
    Authority, KubeconfigSpec, NodeFiles, write_kubeconfig, write_node_credentials,
};

#[derive(Parser)]
#[command(name = "naru-control", version, about = "The control plane of Naru")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the API server, the controllers and the scheduler.
    Serve(Box<serve::ServeArgs>),
    /// Make a store of a snapshot that `netctl snapshot save` took.
    Restore(restore::RestoreArgs),
    /// Sign a client certificate and write its kubeconfig.
    Kubeconfig(KubeconfigArgs),
    /// Sign what a node needs: kubeconfig, serving.crt, serving.key, ca.crt.
    NodeCredentials(NodeArgs),
}

#[derive(Args)]
struct KubeconfigArgs {
    /// Directory of the control plane.
    #[arg(long)]
    data_dir: PathBuf,
    /// URL of the API server.
    #[arg(long)]
    server: String,
    /// Name of the user.
    #[arg(long)]
    user: String,
    /// Groups of the user.
    #[arg(long = "group")]
    groups: Vec<String>,
    /// File to write.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Args)]
struct NodeArgs {
    /// Directory of the control plane.
    #[arg(long)]
    data_dir: PathBuf,
    /// URL of the API server.
    #[arg(long)]
    server: String,
    /// Name of the node.
    #[arg(long)]
    node: String,
    /// Address at which the API server reaches the node.
    #[arg(long)]
    address: IpAddr,
    /// Directory to write into.
    #[arg(long)]
    out: PathBuf,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => serve::run(*args),
        Command::Restore(args) => restore::run(&args),
        Command::Kubeconfig(args) => sign_kubeconfig(&args),
        Command::NodeCredentials(args) => sign_node(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("naru-control: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn sign_kubeconfig(args: &KubeconfigArgs) -> anyhow::Result<()> {
    let authority = Authority::open(&args.data_dir.join("pki"))?;
    let spec = KubeconfigSpec {
        server: &args.server,
        user: &args.user,
    };
    write_kubeconfig(&authority, &spec, &args.groups, &args.out).context("kubeconfig")
}

fn sign_node(args: &NodeArgs) -> anyhow::Result<()> {
    let authority = Authority::open(&args.data_dir.join("pki"))?;
    let files = NodeFiles {
        server: &args.server,
        node: &args.node,
        address: args.address,
        out: &args.out,
    };
    write_node_credentials(&authority, &files).context("node credentials")
}
