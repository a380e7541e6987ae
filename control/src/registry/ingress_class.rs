//! IngressClass: which controller serves an Ingress.

use serde_json::Value;

use super::age::age;
use super::column::{AGE, NAME, name, string};
use super::kind::Kind;
use super::prepare;
use super::value::{default, text};

/// IngressClass of networking.k8s.io/v1.
pub(super) static KIND: Kind = Kind {
    group: "networking.k8s.io",
    kind: "IngressClass",
    plural: "ingressclasses",
    singular: "ingressclass",
    namespaced: false,
    columns: &[NAME, string("Controller"), string("Parameters"), AGE],
    cells,
    default: |class| {
        if let Some(parameters) = class.pointer_mut("/spec/parameters") {
            default(parameters, "scope", "Cluster");
        }
    },
    prepare: prepare::generation,
    ..Kind::PLAIN
};

fn cells(class: &Value, now: i64) -> Vec<Value> {
    let parameters = class.pointer("/spec/parameters");
    let parameters = parameters.map_or("<none>".to_owned(), |parameters| {
        let kind = text(parameters, "/kind");
        let group = text(parameters, "/apiGroup");
        let dot = if group.is_empty() { "" } else { "." };
        format!("{kind}{dot}{group}/{}", text(parameters, "/name"))
    });
    vec![
        name(class),
        text(class, "/spec/controller").into(),
        parameters.into(),
        age(class, now),
    ]
}
