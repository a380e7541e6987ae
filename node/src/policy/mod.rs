//! From NetworkPolicies to policy maps: pure plans.
//!
//! A policy is compiled per local endpoint that it selects. Its peers are evaluated over classes
//! of addresses (`ipcache`), not over pods: as many classes as there are templates, however many
//! pods run. Rules only allow; isolation is a flag of the endpoint, and what no entry allows is
//! dropped by the data path.

mod compile;
mod peers;
mod ports;
mod rules;
mod selector;

pub use compile::{Compiled, Subject, World, blocks, compile};
pub use rules::{RuleName, Rules};
pub use selector::matches;
