//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Shows what the network of a Naru cluster does, and why.
///
/// Exit codes: 0 done; 1 something failed or a node did not answer; 2 wrong usage; 3 (`why`) the
/// connection would be dropped.
#[derive(Debug, Parser)]
#[command(name = "netctl", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) access: Access,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How to reach the cluster, as kubectl has it.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Access {
    /// The kubeconfig file to use; otherwise $KUBECONFIG, then ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig to use.
    #[arg(long, global = true)]
    pub(crate) context: Option<String>,
    /// The cluster of the kubeconfig to use.
    #[arg(long, global = true)]
    pub(crate) cluster: Option<String>,
    /// The user of the kubeconfig to use.
    #[arg(long, global = true)]
    pub(crate) user: Option<String>,
    /// The namespace: of names without one in `why`, a filter in `observe` and `drops`.
    #[arg(short, long, global = true)]
    pub(crate) namespace: Option<String>,
    /// Only this node.
    #[arg(long, global = true)]
    pub(crate) node: Option<String>,
    /// Seconds that a node may take to answer.
    #[arg(long, global = true, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) timeout: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .trim_end_matches('s')
        .parse()
        .map_err(|_| "not a number".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be more than zero".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The nodes, their data path, and what is degraded and why.
    Status(StatusArgs),
    /// Flow events with the names of pods and Services.
    Observe(ObserveArgs),
    /// What was dropped, by cause.
    Drops(DropsArgs),
    /// What would happen to a connection, hop by hop, decided by the data path's own code.
    Why(WhyArgs),
    /// Save everything that the API server keeps, or make a store of it.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
}

/// What is done with a snapshot.
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Save all objects, Secrets included, at one revision, into a file.
    Save {
        /// The file; what is there is replaced when the new one is whole.
        file: PathBuf,
    },
    /// Make the store of a control plane that does not run of a file: `naru-control restore`.
    Restore {
        /// The file.
        file: PathBuf,
        /// What `naru-control restore` is to be told: --data-dir DIR, or --etcd-servers URL.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        args: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs: JSON.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Also show programs and maps.
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum VerdictArg {
    /// The packet went on.
    Forwarded,
    /// The packet was dropped.
    Dropped,
}

/// A protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PortProtocol {
    Tcp,
    Udp,
    Sctp,
}

impl PortProtocol {
    /// The name by which nodes know it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// A protocol of which there are flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FlowProtocol {
    Tcp,
    Udp,
    Sctp,
    Icmp,
}

impl FlowProtocol {
    /// The name by which nodes know it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
            Self::Icmp => "ICMP",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ObserveArgs {
    /// Go on with what happens from now.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only flows of this pod: NAME or NAMESPACE/NAME.
    #[arg(long)]
    pub(crate) pod: Option<String>,
    /// Only flows to this Service: NAME or NAMESPACE/NAME.
    #[arg(long)]
    pub(crate) service: Option<String>,
    /// Only flows that were forwarded, or dropped.
    #[arg(long, value_enum)]
    pub(crate) verdict: Option<VerdictArg>,
    /// Only flows of this protocol.
    #[arg(long, value_enum, ignore_case = true)]
    pub(crate) protocol: Option<FlowProtocol>,
    /// At most so many past events of each node.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub(crate) last: u32,
    /// Output format; JSON is one object a line.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct DropsArgs {
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// The pod that would connect: NAME, NAMESPACE/NAME, or deploy/NAME for the first of a
    /// Deployment's.
    pub(crate) pod: String,
    /// Where to: SERVICE:PORT, POD:PORT or IP:PORT; names may have a kind and a namespace before
    /// them (svc/web:80, shop/web:80, pod/shop/web-1:8080), ports may be names.
    pub(crate) target: String,
    /// The protocol; by default what the port says, or tcp.
    #[arg(long, value_enum, ignore_case = true)]
    pub(crate) protocol: Option<PortProtocol>,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_kubectl_go_before_or_after_the_command() {
        let cli = Cli::parse_from(["netctl", "-n", "shop", "observe", "-f", "--context", "dev"]);
        assert_eq!(cli.access.namespace.as_deref(), Some("shop"));
        assert_eq!(cli.access.context.as_deref(), Some("dev"));
        assert_eq!(cli.access.timeout, Duration::from_secs(5));
    }

    #[test]
    fn a_protocol_is_one_that_is_known_in_any_case() {
        let parse = |words: &[&str]| Cli::try_parse_from([&["netctl"], words].concat());
        assert!(parse(&["observe", "--protocol", "ICMP"]).is_ok());
        assert!(parse(&["observe", "--protocol", "xyz"]).is_err());
        assert!(parse(&["why", "a", "b:1", "--protocol", "UDP"]).is_ok());
        assert!(parse(&["why", "a", "b:1", "--protocol", "sctp"]).is_ok());
    }

    #[test]
    fn a_timeout_is_a_positive_number() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("3s"), Ok(Duration::from_secs(3)));
        assert!(seconds("0").is_err() && seconds("soon").is_err() && seconds("-1").is_err());
    }
}
