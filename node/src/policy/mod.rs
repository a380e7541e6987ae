//! From NetworkPolicies and ClusterNetworkPolicies to policy maps: pure plans.
//!
//! A policy is compiled per local endpoint that it selects. Its peers are evaluated over classes
//! of addresses (`ipcache`), not over pods: as many classes as there are templates, however many
//! pods run. NetworkPolicies only allow; isolation is a flag of the endpoint, and what no entry allows
//! is dropped by the data path (`compile`). Where ClusterNetworkPolicies have a say, rules are in tiers
//! and in an order, which the map does not know: they are flattened into verdicts (`flatten`, `tiers`).

mod compile;
mod direction;
mod flatten;
mod peers;
mod ports;
mod rule;
mod rules;
mod selector;
#[cfg(test)]
mod tests;
mod tiers;

pub use compile::{Compiled, Policies, Subject, World, compile};
pub use rules::{RuleName, Rules};
pub use selector::matches;
