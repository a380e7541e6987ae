//! The kinds: one file per kind, generic machinery around them.
//!
//! A kind is plain data and pure functions ([`kind::Kind`]); the HTTP machinery reads [`KINDS`] and
//! knows nothing else about any kind. Objects are JSON throughout: what the typed structs of a
//! client library would drop is kept. Nothing here does I/O or looks at a second object.

mod age;
mod apiextensions;
mod apps;
mod column;
mod coordination;
mod core;
mod discovery;
pub mod kind;
mod networking;
mod pod_spec;
mod prepare;
mod reviews;
pub(crate) mod rules;
mod selector;
mod value;

use kind::Kind;
pub use reviews::REVIEWS;

/// Every kind that the server knows, in the order of discovery.
pub static KINDS: &[&Kind] = &[
    &core::config_map::KIND,
    &core::endpoints::KIND,
    &core::event::KIND,
    &core::namespace::KIND,
    &core::node::KIND,
    &core::pod::KIND,
    &core::secret::KIND,
    &core::service_account::KIND,
    &core::service::KIND,
    &apps::deployment::KIND,
    &apps::replica_set::KIND,
    &coordination::lease::KIND,
    &discovery::endpoint_slice::KIND,
    &networking::ingress_class::KIND,
    &networking::ingress::KIND,
    &networking::network_policy::KIND,
    &apiextensions::custom_resource_definition::KIND,
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
