//! The wire types of the node: what `netctl` and the CNI plugin say to the daemon.
//!
//! Types and pure conversions only. `cni` is the local protocol of the plugin; `flows` is the gRPC
//! service that the daemon serves beside its kubelet paths.

pub mod cni;
pub mod flows;
