//! The node daemon of Naru: pod runtime, data path, cluster DNS and ingress of one machine.
//!
//! Every part follows the API on its own; what they share are the watches in `watches` and the
//! configuration. Only `datapath` calls aya, only `net` calls netlink.

pub mod cluster_dns;
pub mod cni;
pub mod config;
pub mod datapath;
pub mod flows;
pub mod ingress;
pub mod ipam;
pub mod ipcache;
pub mod kubelet;
pub mod net;
pub mod pods;
pub mod policy;
pub mod service;
pub mod status;
pub mod watches;
