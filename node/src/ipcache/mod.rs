//! From Pods, Nodes and CIDRs to identities: pure plans.
//!
//! An identity stands for a [`Class`]: all addresses that every policy treats alike, because they
//! agree in kind, namespace, labels and in the policies' CIDR blocks that hold them. A block
//! therefore needs no entry per policy and address: a rule that names it allows the identities
//! whose class lies in it. Identities are numbers of this node alone.

mod class;
mod identities;
mod plan;

pub use class::{Class, Labels};
pub use identities::Identities;
pub use plan::{Entry, LocalPod, NodeView, View, classify, prefix};
