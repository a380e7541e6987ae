//! `up`, `down` and `node`: the development cluster for people.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use naru_tests::support::layout::{checkout, node_name};
use naru_tests::support::{Cluster, Families, Layout, Routing, Spec, down as fixture_down, leaks};

use crate::progress::step;
use crate::{compile, kubectls};

/// Which cluster is meant.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Name of the cluster; clusters of different names stand side by side.
    #[arg(long, env = "NARU_CLUSTER", default_value = "dev")]
    cluster: String,
}

/// Arguments of `cargo xtask up`.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    which: Which,
    /// Number of nodes.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=50))]
    nodes: u8,
    /// How pods of different nodes reach each other: native or vxlan.
    #[arg(long, default_value_t)]
    routing: Routing,
    /// Leave the demo shop out.
    #[arg(long)]
    bare: bool,
    /// Start what is built, without building.
    #[arg(long)]
    no_build: bool,
}

/// Arguments of `cargo xtask down`.
#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    #[command(flatten)]
    which: Which,
    /// End it even if another checkout started it.
    #[arg(long)]
    force: bool,
}

/// Arguments of `cargo xtask node`.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    which: Which,
    /// Number of the node, from 1; or `control1`, `outside`.
    node: String,
    /// The command.
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// Builds and starts a cluster, or completes a running one.
pub(crate) fn up(args: &UpArgs) -> Result<()> {
    require_root()?;
    let layout = Layout::of_checkout(&args.which.cluster)?;
    if !args.no_build {
        compile::everything()?;
    }
    step(&format!(
        "starting the cluster {:?} with {} nodes",
        args.which.cluster, args.nodes
    ));
    let cluster = Cluster::up(
        layout,
        &Spec {
            nodes: args.nodes,
            families: Families::Both,
            routing: args.routing,
            kubectl: kubectls::any()?,
        },
    )?;
    if !args.bare {
        apply_shop(&cluster)?;
    }
    println!("{}", farewell(&cluster));
    Ok(())
}

/// Ends a cluster.
pub(crate) fn down(args: &DownArgs) -> Result<()> {
    require_root()?;
    let which = &args.which;
    let layout = Layout::of_checkout(&which.cluster)?;
    if !args.force {
        fixture_down::ensure_ours(&layout)?;
    }
    fixture_down::down(&layout)?;
    let left = leaks::find(&layout)?;
    ensure!(left.is_empty(), "left behind: {}", left.join("; "));
    step(&format!(
        "nothing of the cluster {:?} is left but its logs",
        which.cluster
    ));
    Ok(())
}

/// Runs a command on a node.
pub(crate) fn node(args: &NodeArgs) -> Result<ExitCode> {
    require_root()?;
    let layout = Layout::of_checkout(&args.which.cluster)?;
    let cluster = Cluster::open(layout, "kubectl".into())?;
    let cluster = cluster.ok_or_else(|| anyhow!("no cluster runs: `cargo xtask up` starts one"))?;
    let role = args
        .node
        .parse()
        .map_or_else(|_| args.node.clone(), node_name);
    let status = cluster
        .inside(&role)
        .args(&args.command)
        .status()
        .context("enter the node")?;
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn apply_shop(cluster: &Cluster) -> Result<()> {
    step("applying examples/shop");
    let shop = checkout().join("examples/shop");
    let kubectl = cluster.kubectl();
    kubectl.run(&["apply", "-f", &shop.to_string_lossy()])?;
    kubectl.run(&[
        "-n",
        "shop",
        "wait",
        "--for=condition=Available",
        "--timeout=60s",
        "deployment",
        "--all",
    ])?;
    Ok(())
}

fn farewell(cluster: &Cluster) -> String {
    let config = cluster.layout.kubeconfig();
    let config = config.display();
    let port = cluster.door().ingress;
    let target = cluster.layout.target().join("release/netctl");
    format!(
        "\nThe cluster is up.\n\n  kubeconfig  {config}\n  shop        http://shop.localhost:{port}/\n\nTry next:\n\n  \
         export KUBECONFIG={config}; kubectl get pods -A -o wide\n  \
         curl -s http://shop.localhost:{port}/api/hello\n  \
         {} why -n shop deploy/web api:80\n\n`cargo xtask down` ends it.",
        target.display()
    )
}

fn require_root() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "namespaces, mounts and eBPF need root: run as root or with sudo -E"
    );
    Ok(())
}
