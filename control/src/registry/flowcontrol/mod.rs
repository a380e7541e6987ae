//! The group flowcontrol.apiserver.k8s.io: whose requests wait for whose.

pub(crate) mod defaults;
pub(super) mod flow_schema;
pub(super) mod priority_level_configuration;
#[cfg(test)]
mod tests;
