//! CustomResourceDefinition: there are none yet, and the list says so.
//!
//! Clients look into this list when they meet a kind that they do not know; without it they report
//! a failure to list instead of the unknown kind. Nothing can be created.

use crate::registry::kind::Kind;

/// CustomResourceDefinition of apiextensions.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "apiextensions.k8s.io",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    singular: "customresourcedefinition",
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    namespaced: false,
    verbs: &["get", "list", "watch"],
    ..Kind::PLAIN
};
