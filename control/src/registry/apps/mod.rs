//! The group apps: workloads that keep pods running.

pub(super) mod deployment;
pub(super) mod replica_set;
