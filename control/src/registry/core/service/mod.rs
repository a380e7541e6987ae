//! Service: a stable address for a changing set of pods.

mod columns;
mod default;
mod families;
mod update;
mod validate;

use serde_json::{Value, json};

use crate::registry::column::{AGE, NAME, string, wide};
use crate::registry::kind::{Kind, NameForm};
use crate::registry::prepare;
use crate::registry::value::{put, text};

/// Service of v1.
pub(in crate::registry) static KIND: Kind = Kind {
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    names: NameForm::ServiceLabel,
    returned: true,
    status: true,
    columns: &[
        NAME,
        string("Type"),
        string("Cluster-IP"),
        string("External-IP"),
        string("Port(s)"),
        AGE,
        wide("Selector"),
    ],
    cells: columns::cells,
    default: default::set_defaults,
    prepare: keep_addresses,
    validate: validate::validate,
    fields: &[
        ("spec.clusterIP", |service| {
            text(service, "/spec/clusterIP").to_owned()
        }),
        ("spec.type", |service| {
            text(service, "/spec/type").to_owned()
        }),
    ],
    ..Kind::PLAIN
};

fn keep_addresses(new: &mut Value, old: Option<&Value>) {
    prepare::status(new, old);
    match old {
        Some(old) => update::carry_over(new, old),
        None => put(new, "status", Some(json!({"loadBalancer": {}}))),
    }
}
