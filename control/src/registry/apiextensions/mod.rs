//! The group apiextensions.k8s.io: kinds that clients bring along.

pub(super) mod custom_resource_definition;
