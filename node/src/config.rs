//! The daemon's configuration: parsed once, immutable afterwards.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use ipnet::Ipv4Net;

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
    /// Address by which other nodes and the control plane reach this node.
    #[arg(long)]
    pub node_ip: IpAddr,
    /// Link that carries traffic to other nodes.
    #[arg(long, default_value = "eth0")]
    pub uplink: String,
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
    /// Range that the pods of the whole cluster get their addresses from.
    #[arg(long, default_value = "10.244.0.0/16")]
    pub cluster_cidr: Ipv4Net,
    /// Range that Services get their addresses from.
    #[arg(long, default_value = "10.96.0.0/12")]
    pub service_cidr: Ipv4Net,
    /// Address of the cluster DNS.
    #[arg(long, default_value = "10.96.0.10")]
    pub cluster_dns: IpAddr,
    /// The cluster's DNS domain.
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Name servers for names outside the cluster; `/etc/resolv.conf` when absent.
    #[arg(long)]
    pub upstream_dns: Vec<SocketAddr>,
    /// Address of the node's HTTPS server.
    #[arg(long, default_value = "0.0.0.0:10250")]
    pub listen: SocketAddr,
    /// Port of the ingress proxy on every address of the node.
    #[arg(long, default_value_t = 80)]
    pub ingress_port: u16,
}
