//! The group apiextensions.k8s.io: kinds that clients bring along.

pub(crate) mod custom_resource_definition;
mod expressions;
mod field_path;
mod schema_rules;
