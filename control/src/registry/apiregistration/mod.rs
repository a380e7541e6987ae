//! The group apiregistration.k8s.io: groups that other servers serve.

pub(super) mod api_service;
