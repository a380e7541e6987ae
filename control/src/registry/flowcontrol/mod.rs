//! The group flowcontrol.apiserver.k8s.io: whose requests wait for whose.

pub(super) mod flow_schema;
pub(super) mod priority_level_configuration;
