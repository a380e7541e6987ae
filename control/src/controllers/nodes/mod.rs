//! Nodes: a pod range for each, and what follows when one falls silent.
//!
//! [`Lifecycle`] works on nodes (range, conditions, taints, the readiness of a silent node's pods),
//! [`Evictor`] on pods. A node is heard through its Lease; times are taken when a renewal is *seen*,
//! so a node's own clock does not matter.

pub mod eviction;
pub mod health;
#[cfg(test)]
mod tests;

mod evictor;
mod ledger;
mod lifecycle;

pub use evictor::Evictor;
pub use lifecycle::Lifecycle;
