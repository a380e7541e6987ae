//! The group scheduling.k8s.io: who goes first.

pub(super) mod priority_class;
