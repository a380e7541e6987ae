//! A cluster on one machine: network namespaces, a containerd per node, the daemons of Naru.
//!
//! Owns everything between "the binaries and images are built" and "both nodes are Ready", and the
//! way back. Nothing of it touches the machine's own network: every link lives in namespaces of the
//! cluster, and the host reaches it through the front door, a forwarder on loopback.
//!
//! Every resource has a name that follows from the cluster's name, and every process is recorded
//! before the next one starts. `down` therefore needs no memory of what `up` managed to do: it ends
//! what is recorded and sweeps what carries the name, also after a half-failed `up`.
//!
//! It builds nothing, installs nothing and knows no test.

pub mod addresses;
pub mod cgroup;
pub mod cluster;
pub mod containerd;
pub mod daemons;
pub mod door;
pub mod down;
pub mod kubectl;
pub mod layout;
pub mod leaks;
pub mod ledger;
pub mod mounts;
pub mod network;
pub mod outside;
pub mod process;
pub mod readiness;
pub mod routing;
pub mod run;
pub mod wait;

pub use addresses::Families;
pub use cluster::{Cluster, Spec};
pub use kubectl::Kubectl;
pub use layout::Layout;
pub use routing::Routing;
