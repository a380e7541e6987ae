//! The node daemon of Naru: pod runtime, data path, cluster DNS and ingress of one machine.
//!
//! Every part follows the API on its own; what they share are the watches in `watches` and the
//! configuration, handed to each part's `run` in a [`Shared`]. Only `datapath` calls aya, only
//! `net` calls netlink.

pub mod access;
pub mod announce;
pub mod bandwidth;
pub mod cluster_dns;
pub mod cni;
pub mod config;
pub mod daemon;
pub mod datapath;
pub mod flows;
pub mod follow;
pub mod health;
pub mod ingress;
pub mod ipam;
pub mod ipcache;
pub mod kubelet;
pub mod net;
pub mod network;
pub mod pods;
pub mod policy;
pub mod service;
pub mod status;
pub mod watches;

use std::sync::Arc;

pub use config::Config;
pub use health::Health;
pub use watches::Watches;

/// What every part of the daemon is given.
#[derive(Clone)]
pub struct Shared {
    /// The command line, immutable.
    pub config: Arc<Config>,
    /// A client of the Kubernetes API with this node's credentials.
    pub client: kube::Client,
    /// The node's view of the API.
    pub watches: Arc<Watches>,
    /// What is degraded on this node, and why.
    pub health: Arc<Health>,
    /// The running network, once it is open.
    pub network: network::Handle,
}

/// How a part of the daemon ends: `Ok` only at shutdown; an error restarts the part.
pub type PartResult<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
