//! The daemon's configuration: parsed once, immutable afterwards.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use ipnet::IpNet;
use naru_ebpf_common::TableSize;
use naru_ebpf_common::config::Timeouts;

/// The fewest flows that tables are made for: below it, what each processor sets aside counts.
pub const LEAST_FLOWS: u32 = 4096;
/// The most: 4 GiB of tables.
pub const MOST_FLOWS: u32 = 1 << 24;

/// How pods of different nodes reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Routing {
    /// As they are: the network between the nodes carries pods' addresses.
    #[default]
    Native,
    /// In packets between nodes (RFC 7348): that network sees nodes' IPv4 addresses alone.
    Vxlan,
}

/// How packets from outside choose among the endpoints of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Algorithm {
    /// By chance.
    #[default]
    Random,
    /// By a hash of the flow and a lookup table: alike on every node.
    Maglev,
}

/// How packets from outside go to an endpoint on another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Mode {
    /// Under this node's address, so that answers come back through it.
    #[default]
    Snat,
    /// As they came: the endpoint's node answers the client itself (direct server return).
    Dsr,
    /// TCP as it came, everything else under this node's address.
    Hybrid,
}

/// Where packets from outside for an endpoint on another node are sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Acceleration {
    /// In the node's network stack.
    #[default]
    None,
    /// In the driver of the uplink, before the stack has seen them.
    Xdp,
}

/// What `naru-node` is told on its command line.
#[derive(Debug, Clone, Parser)]
#[command(name = "naru-node", version, about = "The node daemon of Naru")]
pub struct Config {
    /// Name of the Node object of this machine.
    #[arg(long, env = "NARU_NODE_NAME")]
    pub node_name: String,
    /// Directory with `kubeconfig`, `serving.crt`, `serving.key` and `ca.crt`.
    #[arg(long, default_value = "/etc/naru-node")]
    pub credentials: PathBuf,
    /// Only the network: pods are a kubelet's and the Node object is, too. Runs against any
    /// Kubernetes API, with a kubeconfig or the service account of the pod that it runs in.
    #[arg(long)]
    pub network_only: bool,
    /// URL of the API server for a service account. The address that a pod's environment names is
    /// a service address, which nobody serves before this daemon does.
    #[arg(long, env = "NARU_API_SERVER")]
    pub api_server: Option<String>,
    /// Directory with `token` and `ca.crt` of a service account, used where there is no kubeconfig.
    #[arg(long, default_value = "/var/run/secrets/kubernetes.io/serviceaccount")]
    pub service_account: PathBuf,
    /// Directory of the container runtime's network configurations; one for this network is kept
    /// in it once pods can be attached.
    #[arg(long)]
    pub cni_conf_dir: Option<PathBuf>,
    /// Directory of the runtime's CNI plugins; the one beside this program is kept in it.
    #[arg(long)]
    pub cni_bin_dir: Option<PathBuf>,
    /// Address by which other nodes and the control plane reach this node; two, separated by a
    /// comma, for both families. Pods speak the families that the node has an address of.
    #[arg(long, env = "NARU_NODE_IP", required = true, value_delimiter = ',')]
    pub node_ip: Vec<IpAddr>,
    /// Link that carries traffic to other nodes.
    #[arg(long, env = "NARU_UPLINK", default_value = "eth0")]
    pub uplink: String,
    /// How pods of different nodes reach each other; the same on every node. `vxlan` needs an IPv4
    /// address in `--node-ip`, UDP port 8472 between the nodes, and 50 bytes of each packet.
    #[arg(long, value_enum, default_value_t)]
    pub routing: Routing,
    /// How packets from outside choose among the endpoints of a Service that does not ask for
    /// anything else by the annotation `naru.dev/load-balancer-algorithm`.
    #[arg(long, value_enum, default_value_t)]
    pub load_balancer_algorithm: Algorithm,
    /// Slots of the lookup tables of `maglev`, for Services without the annotation
    /// `naru.dev/maglev-table-size`; the same on every node. A hundred times the number of
    /// endpoints keeps shares even. A table of 16381 slots takes 34 KiB for each address and port.
    #[arg(long, default_value_t = TableSize::DEFAULT)]
    pub maglev_table_size: TableSize,
    /// How packets from outside go to an endpoint on another node; the same on every node. `dsr` and
    /// `hybrid` need an IPv4 address in `--node-ip`, UDP port 8472 between the nodes, and a network
    /// that lets a node answer under another one's address.
    #[arg(long, value_enum, default_value_t)]
    pub load_balancer_mode: Mode,
    /// Where packets of known flows from outside for an endpoint on another node are sent on. `xdp`
    /// needs an uplink whose driver can; where it can't, they go through the stack as ever.
    #[arg(long, value_enum, default_value_t)]
    pub load_balancer_acceleration: Acceleration,
    /// Flows for which there is room from the beginning; unless given it follows from the memory of
    /// the node, 131072 from 8 GiB on. A flow takes 250 bytes.
    #[arg(long, value_parser = clap::value_parser!(u32).range(LEAST_FLOWS as i64..=MOST_FLOWS as i64))]
    pub flow_table_size: Option<u32>,
    /// Flows up to which room is made as they come; unless given so many that their tables take one
    /// part in 64 of the node's memory.
    #[arg(long, value_parser = clap::value_parser!(u32).range(LEAST_FLOWS as i64..=MOST_FLOWS as i64))]
    pub flow_table_limit: Option<u32>,
    /// containerd's CRI socket.
    #[arg(long, default_value = "/run/containerd/containerd.sock")]
    pub cri_socket: PathBuf,
    /// What has to survive a reboot of the daemon: address leases, pod state.
    #[arg(long, default_value = "/var/lib/naru-node")]
    pub state_dir: PathBuf,
    /// Sockets, among them `cni.sock`.
    #[arg(long, default_value = "/run/naru-node")]
    pub run_dir: PathBuf,
    /// Directory of a bpffs in which maps and links are pinned.
    #[arg(long, default_value = "/sys/fs/bpf/naru")]
    pub bpffs: PathBuf,
    /// cgroup2 directory that holds every process of this node; found from the mounts when absent.
    #[arg(long)]
    pub cgroup: Option<PathBuf>,
    /// Parent of the pods' cgroups, as containerd names it (absolute, below the cgroup2 mount).
    #[arg(long, default_value = "/naru")]
    pub cgroup_parent: String,
    /// Range that the pods of the whole cluster get their addresses from; two for both families.
    #[arg(long, value_delimiter = ',', default_value = "10.244.0.0/16")]
    pub cluster_cidr: Vec<IpNet>,
    /// Range that Services get their addresses from; two for both families.
    #[arg(long, value_delimiter = ',', default_value = "10.96.0.0/12")]
    pub service_cidr: Vec<IpNet>,
    /// Networks outside the cluster that know the ways to its pods: pods reach them under their own
    /// addresses, not under the node's.
    #[arg(long, value_delimiter = ',')]
    pub no_masquerade: Vec<IpNet>,
    /// Seconds for which an established TCP connection may be silent before its flow is forgotten.
    #[arg(long, default_value_t = Timeouts::DEFAULT.tcp_established, value_parser = clap::value_parser!(u32).range(60..=864_000))]
    pub tcp_established_timeout: u32,
    /// Address of the cluster DNS, which every node serves; two for both families. Unless given it
    /// is the tenth of each range of Services in whose family the node has an address. With
    /// `--network-only` names are somebody else's business unless it is given.
    #[arg(long, value_delimiter = ',')]
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's DNS domain.
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Name servers for names outside the cluster; `/etc/resolv.conf` when absent.
    #[arg(long)]
    pub upstream_dns: Vec<SocketAddr>,
    /// Address of the node's HTTPS server; port 10250 of every address unless given.
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// Port of the ingress proxy on every address of the node.
    #[arg(long, default_value_t = 80)]
    pub ingress_port: u16,
}

/// Where in a range of Services the cluster DNS is.
const CLUSTER_DNS: u8 = 10;

/// The overlay's outer packets are IPv4, and the node has no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} needs an IPv4 address in --node-ip, at which other nodes reach this one")]
pub struct NoIpv4 {
    /// What asks for an overlay.
    wanted: &'static str,
}

/// Tables cannot begin larger than they may become.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--flow-table-size is {size}, more than --flow-table-limit, {limit}")]
pub struct SizeAboveLimit {
    size: u32,
    limit: u32,
}

impl Config {
    /// Checks that the flow tables' first size is within their limit, where both are given.
    ///
    /// # Errors
    /// When it is above it.
    pub fn flow_tables(&self) -> Result<(), SizeAboveLimit> {
        match (self.flow_table_size, self.flow_table_limit) {
            (Some(size), Some(limit)) if size > limit => Err(SizeAboveLimit { size, limit }),
            _ => Ok(()),
        }
    }

    /// The address of this node in the overlay's outer packets; none if nothing asks for an overlay.
    ///
    /// # Errors
    /// When something does and the node has no IPv4 address.
    pub fn tunnel_address(&self) -> Result<Option<Ipv4Addr>, NoIpv4> {
        let wanted = match (self.routing, self.load_balancer_mode) {
            (Routing::Vxlan, _) => "--routing vxlan",
            (Routing::Native, Mode::Dsr) => "--load-balancer-mode dsr",
            (Routing::Native, Mode::Hybrid) => "--load-balancer-mode hybrid",
            (Routing::Native, Mode::Snat) => return Ok(None),
        };
        let mut addresses = self.node_ip.iter();
        let v4 = addresses.find_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        });
        v4.map(Some).ok_or(NoIpv4 { wanted })
    }

    /// The node's first address, where one has to stand for the node.
    ///
    /// # Panics
    /// Never: the command line is refused without one.
    #[must_use]
    pub fn first_ip(&self) -> IpAddr {
        self.node_ip[0]
    }

    /// The addresses of the cluster DNS that this node serves; none if it serves none.
    #[must_use]
    pub fn dns(&self) -> Vec<IpAddr> {
        if self.network_only || !self.cluster_dns.is_empty() {
            return self.cluster_dns.clone();
        }
        let carried = |range: &&IpNet| {
            let v6 = range.addr().is_ipv6();
            self.node_ip.iter().any(|ip| ip.is_ipv6() == v6)
        };
        let ranges = self.service_cidr.iter().filter(carried);
        ranges.map(|range| nth(range, CLUSTER_DNS)).collect()
    }

    /// The address that stands for all of the node's, in its families.
    #[must_use]
    pub fn everywhere(&self) -> IpAddr {
        if self.node_ip.iter().any(IpAddr::is_ipv6) {
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        }
    }

    /// Where the node's HTTPS server listens.
    #[must_use]
    pub fn server(&self) -> SocketAddr {
        let port = naru_core::names::defaults::NODE_PORT;
        self.listen
            .unwrap_or(SocketAddr::new(self.everywhere(), port))
    }
}

/// The n-th address of a range, wherever that ends.
fn nth(range: &IpNet, n: u8) -> IpAddr {
    match range.network() {
        IpAddr::V4(first) => Ipv4Addr::from(u32::from(first).wrapping_add(n.into())).into(),
        IpAddr::V6(first) => Ipv6Addr::from(u128::from(first).wrapping_add(n.into())).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_one_address_or_two() {
        let parse = |ips: &str| {
            let words = ["naru-node", "--node-name", "n", "--node-ip", ips];
            Config::try_parse_from(words).map(|config| config.node_ip)
        };
        assert_eq!(parse("192.0.2.1").unwrap().len(), 1);
        assert_eq!(
            parse("fd00::1,192.0.2.1").unwrap()[0],
            "fd00::1".parse::<IpAddr>().unwrap()
        );
        assert!(Config::try_parse_from(["naru-node", "--node-name", "n"]).is_err());
    }

    #[test]
    fn routing_is_native_unless_said_otherwise() {
        let parse = |more: &[&str]| {
            let words = ["naru-node", "--node-name", "n", "--node-ip", "192.0.2.1"];
            Config::try_parse_from(words.iter().chain(more)).map(|config| config.routing)
        };
        assert_eq!(parse(&[]).unwrap(), Routing::Native);
        assert_eq!(parse(&["--routing", "vxlan"]).unwrap(), Routing::Vxlan);
        let error = parse(&["--routing", "geneve"]).unwrap_err().to_string();
        assert!(
            error.contains("[possible values: native, vxlan]"),
            "{error}"
        );
    }

    #[test]
    fn lookup_tables_have_a_size_that_there_is() {
        let parse = |more: &[&str]| {
            let words = ["naru-node", "--node-name", "n", "--node-ip", "192.0.2.1"];
            Config::try_parse_from(words.iter().chain(more))
        };
        let config = parse(&[]).unwrap();
        assert_eq!(config.load_balancer_algorithm, Algorithm::Random);
        assert_eq!(config.maglev_table_size.slots(), 16_381);
        let config = parse(&["--maglev-table-size", "65521"]).unwrap();
        assert_eq!(config.maglev_table_size.slots(), 65_521);
        let error = parse(&["--maglev-table-size", "16384"]).unwrap_err();
        assert!(error.to_string().contains("supported values: \"251\""));
    }

    #[test]
    fn flow_tables_do_not_begin_above_their_limit() {
        let check = |size: &str, limit: &str| {
            let words = ["naru-node", "--node-name", "n", "--node-ip", "192.0.2.1"];
            let sizes = ["--flow-table-size", size, "--flow-table-limit", limit];
            Config::parse_from(words.iter().chain(&sizes)).flow_tables()
        };
        assert_eq!(check("8192", "8192"), Ok(()));
        let error = check("8193", "8192").unwrap_err().to_string();
        assert_eq!(
            error,
            "--flow-table-size is 8193, more than --flow-table-limit, 8192"
        );
    }

    #[test]
    fn connections_may_be_silent_for_an_hour_or_as_long_as_is_said() {
        let parse = |more: &[&str]| {
            let words = ["naru-node", "--node-name", "n", "--node-ip", "192.0.2.1"];
            let config = Config::try_parse_from(words.iter().chain(more));
            config.map(|config| config.tcp_established_timeout)
        };
        assert_eq!(parse(&[]).unwrap(), 3600);
        let flag = "--tcp-established-timeout";
        assert_eq!(parse(&[flag, "86400"]).unwrap(), 86_400);
        assert!(parse(&[flag, "59"]).is_err());
    }

    #[test]
    fn an_overlay_needs_an_ipv4_address() {
        let parse = |ips: &str, more: [&str; 2]| {
            let words = ["naru-node", "--node-name", "n", "--node-ip", ips];
            let words = words.into_iter().chain(more);
            Config::parse_from(words).tunnel_address()
        };
        let own = Ipv4Addr::new(192, 0, 2, 1);
        let wanted = [
            ["--routing", "vxlan"],
            ["--load-balancer-mode", "dsr"],
            ["--load-balancer-mode", "hybrid"],
        ];
        for flag in wanted {
            assert_eq!(parse("fd00::1,192.0.2.1", flag), Ok(Some(own)));
            let error = parse("fd00::1", flag).unwrap_err().to_string();
            let begin = format!("{} needs an IPv4 address", flag.join(" "));
            assert!(error.starts_with(&begin), "{error}");
        }
        assert_eq!(parse("fd00::1", ["--routing", "native"]), Ok(None));
    }

    #[test]
    fn names_are_served_unless_only_the_network_is() {
        let parse = |more: &[&str]| {
            let words = ["naru-node", "--node-name", "n", "--node-ip", "192.0.2.1"];
            Config::parse_from(words.iter().chain(more)).dns()
        };
        let texts = |more: &[&str]| {
            let addresses: Vec<_> = parse(more).iter().map(IpAddr::to_string).collect();
            addresses.join(" ")
        };
        assert_eq!(
            texts(&[]),
            naru_core::names::defaults::CLUSTER_DNS.to_string()
        );
        assert_eq!(texts(&["--network-only"]), "");
        let given = ["--network-only", "--cluster-dns", "10.96.0.7"];
        assert_eq!(texts(&given), "10.96.0.7");
        // A range in whose family the node has no address counts only where it has.
        let ranges = ["--service-cidr", "fd00:96::/112,10.112.0.0/12"];
        assert_eq!(texts(&ranges), "10.112.0.10");
        let both = [&ranges[..], &["--node-ip", "fd00::1"]].concat();
        assert_eq!(texts(&both), "fd00:96::a 10.112.0.10");
    }
}
