//! The group node.k8s.io: what runs containers.

pub(super) mod runtime_class;
