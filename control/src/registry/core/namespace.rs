//! Namespace: a scope for names. It ends in two steps: deletion makes it Terminating, and the last
//! finalizer in its spec goes when its contents are gone.

use naru_core::names::labels;
use serde_json::{Value, json};

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, name, string};
use crate::registry::kind::{Kind, NameForm};
use crate::registry::prepare;
use crate::registry::value::{child, default, put, text};

/// Namespace of v1.
pub(in crate::registry) static KIND: Kind = Kind {
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    namespaced: false,
    names: NameForm::Label,
    status: true,
    columns: &[NAME, string("Status"), AGE],
    cells: |namespace, now| {
        vec![
            name(namespace),
            text(namespace, "/status/phase").into(),
            age(namespace, now),
        ]
    },
    default: set_defaults,
    prepare: keep_finalizers,
    fields: &[("status.phase", |namespace| {
        text(namespace, "/status/phase").to_owned()
    })],
    ..Kind::PLAIN
};

/// Every namespace carries its name as a label, so that selectors can name it.
fn set_defaults(namespace: &mut Value) {
    let own_name = text(namespace, "/metadata/name").to_owned();
    if !own_name.is_empty()
        && let Some(metadata) = child(namespace, "metadata")
        && let Some(namespace_labels) = child(metadata, "labels")
    {
        default(namespace_labels, labels::NAMESPACE_NAME, own_name);
    }
    if let Some(status) = child(namespace, "status") {
        default(status, "phase", "Active");
    }
}

/// A new namespace has the finalizer `kubernetes`; an update leaves the stored ones alone.
fn keep_finalizers(new: &mut Value, old: Option<&Value>) {
    prepare::status(new, old);
    let Some(old) = old else {
        put(new, "spec", Some(json!({"finalizers": ["kubernetes"]})));
        put(new, "status", Some(json!({"phase": "Active"})));
        return;
    };
    let finalizers = old.pointer("/spec/finalizers").cloned();
    if let Some(spec) = child(new, "spec") {
        put(spec, "finalizers", finalizers);
    }
}
