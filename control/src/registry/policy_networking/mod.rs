//! The group policy.networking.k8s.io: policies of the network-policy-api project.

pub(crate) mod cluster_network_policy;
