//! The kinds: one file per kind, generic machinery around them.
//!
//! A kind is plain data and pure functions ([`kind::Kind`]); the HTTP machinery reads [`KINDS`] and
//! knows nothing else about any kind. Objects are JSON throughout: what the typed structs of a
//! client library would drop is kept. Nothing here does I/O or looks at a second object.

mod admissionregistration;
mod age;
mod apiextensions;
mod apiregistration;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod column;
mod coordination;
mod core;
pub(crate) mod custom;
mod discovery;
mod events;
pub(crate) mod flowcontrol;
pub mod kind;
mod naru;
mod networking;
mod node;
mod pod_spec;
mod policy;
pub(crate) mod policy_networking;
mod prepare;
mod rbac;
mod resource;
mod reviews;
pub(crate) mod rules;
mod scheduling;
mod selector;
mod storage;
pub(crate) mod value;

pub(crate) use admissionregistration::validating_webhook_configuration::{
    MESSAGE_VARIABLES, POLICY_VARIABLES,
};
pub(crate) use apiextensions::custom_resource_definition::CLEANUP;
use kind::Kind;
pub use reviews::REVIEWS;
pub(crate) use selector::selector_text;

/// Every kind that the server knows, in the order of discovery.
pub static KINDS: &[&Kind] = &[
    &core::config_map::KIND,
    &core::endpoints::KIND,
    &core::event::KIND,
    &core::limit_range::KIND,
    &core::namespace::KIND,
    &core::node::KIND,
    &core::persistent_volume_claim::KIND,
    &core::persistent_volume::KIND,
    &core::pod::KIND,
    &core::pod_template::KIND,
    &core::replication_controller::KIND,
    &core::resource_quota::KIND,
    &core::secret::KIND,
    &core::service_account::KIND,
    &core::service::KIND,
    &apps::controller_revision::KIND,
    &apps::daemon_set::KIND,
    &apps::deployment::KIND,
    &apps::replica_set::KIND,
    &apps::stateful_set::KIND,
    &autoscaling::v2::KIND,
    &autoscaling::v1::KIND,
    &batch::cron_job::KIND,
    &batch::job::KIND,
    &certificates::certificate_signing_request::KIND,
    &coordination::lease::KIND,
    &discovery::endpoint_slice::KIND,
    &events::event::KIND,
    &flowcontrol::flow_schema::KIND,
    &flowcontrol::priority_level_configuration::KIND,
    &networking::ingress_class::KIND,
    &networking::ingress::KIND,
    &networking::ip_address::KIND,
    &networking::network_policy::KIND,
    &networking::service_cidr::KIND,
    &node::runtime_class::KIND,
    &policy::pod_disruption_budget::KIND,
    &rbac::cluster_role_binding::KIND,
    &rbac::cluster_role::KIND,
    &rbac::role_binding::KIND,
    &rbac::role::KIND,
    &resource::device_class::KIND,
    &resource::resource_claim::KIND,
    &resource::resource_claim_template::KIND,
    &resource::resource_slice::KIND,
    &scheduling::priority_class::KIND,
    &storage::csi_driver::KIND,
    &storage::csi_node::KIND,
    &storage::csi_storage_capacity::KIND,
    &storage::storage_class::KIND,
    &storage::volume_attachment::KIND,
    &storage::volume_attributes_class::KIND,
    &admissionregistration::mutating_admission_policy::KIND,
    &admissionregistration::mutating_admission_policy_binding::KIND,
    &admissionregistration::mutating_webhook_configuration::KIND,
    &admissionregistration::validating_admission_policy::KIND,
    &admissionregistration::validating_admission_policy_binding::KIND,
    &admissionregistration::validating_webhook_configuration::KIND,
    &apiextensions::custom_resource_definition::KIND,
    &apiregistration::api_service::KIND,
    &naru::address_pool::KIND,
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
