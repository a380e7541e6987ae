//! The kinds: one file per kind, generic machinery around them.
//!
//! A kind is plain data and pure functions ([`kind::Kind`]); the HTTP machinery reads [`KINDS`] and
//! knows nothing else about any kind. Objects are JSON throughout: what the typed structs of a
//! client library would drop is kept. Nothing here does I/O or looks at a second object.

mod age;
mod column;
mod config_map;
mod custom_resource_definition;
mod data_keys;
mod deployment;
mod endpoint_slice;
mod endpoints;
mod event;
mod ingress;
mod ingress_class;
pub mod kind;
mod lease;
mod namespace;
mod network_policy;
mod node;
mod pod;
mod pod_spec;
mod prepare;
mod replica_set;
mod reviews;
pub(crate) mod rules;
mod secret;
mod selector;
mod service;
mod service_account;
mod value;

use kind::Kind;
pub use reviews::REVIEWS;

/// Every kind that the server knows, in the order of discovery.
pub static KINDS: &[&Kind] = &[
    &config_map::KIND,
    &endpoints::KIND,
    &event::KIND,
    &namespace::KIND,
    &node::KIND,
    &pod::KIND,
    &secret::KIND,
    &service_account::KIND,
    &service::KIND,
    &deployment::KIND,
    &replica_set::KIND,
    &lease::KIND,
    &endpoint_slice::KIND,
    &ingress_class::KIND,
    &ingress::KIND,
    &network_policy::KIND,
    &custom_resource_definition::KIND,
];

/// The kind of that group, version and name.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    let mut kinds = KINDS.iter().copied();
    kinds.find(|known| (known.group, known.version, known.kind) == (group, version, kind))
}

/// The kind whose objects live under that plural name.
pub fn by_plural(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    by_plural_in(KINDS, group, version, plural)
}

/// The kind among `kinds` whose objects live under that plural name.
pub fn by_plural_in(
    kinds: &[&'static Kind],
    group: &str,
    version: &str,
    plural: &str,
) -> Option<&'static Kind> {
    let mut kinds = kinds.iter().copied();
    kinds.find(|known| (known.group, known.version, known.plural) == (group, version, plural))
}

#[cfg(test)]
mod tests;
