//! Ingress: HTTP hosts and paths, and the Services behind them.

use serde_json::Value;

use super::age::age;
use super::column::{AGE, NAME, name, or_none, string};
use super::kind::Kind;
use super::prepare;
use super::value::{list, text};

/// Ingress of networking.k8s.io/v1.
pub(super) static KIND: Kind = Kind {
    group: "networking.k8s.io",
    kind: "Ingress",
    plural: "ingresses",
    singular: "ingress",
    short_names: &["ing"],
    status: true,
    columns: &[
        NAME,
        string("Class"),
        string("Hosts"),
        string("Address"),
        string("Ports"),
        AGE,
    ],
    cells,
    prepare: prepare::status_and_generation,
    ..Kind::PLAIN
};

/// How many hosts a table row names.
const SHOWN: usize = 3;

fn cells(ingress: &Value, now: i64) -> Vec<Value> {
    let tls = !list(ingress, "/spec/tls").is_empty();
    vec![
        name(ingress),
        or_none(class(ingress)),
        hosts(ingress).into(),
        addresses(ingress).into(),
        if tls { "80, 443" } else { "80" }.into(),
        age(ingress, now),
    ]
}

/// The class in the spec, or in the annotation that came before it.
fn class(ingress: &Value) -> &str {
    match text(ingress, "/spec/ingressClassName") {
        "" => text(
            ingress,
            "/metadata/annotations/kubernetes.io~1ingress.class",
        ),
        class => class,
    }
}

fn hosts(ingress: &Value) -> String {
    let rules = list(ingress, "/spec/rules").iter();
    let named: Vec<_> = rules
        .map(|rule| text(rule, "/host"))
        .filter(|host| !host.is_empty())
        .collect();
    match named.len() {
        0 => "*".to_owned(),
        total if total > SHOWN => {
            format!("{} + {} more...", named[..SHOWN].join(","), total - SHOWN)
        }
        _ => named.join(","),
    }
}

fn addresses(ingress: &Value) -> String {
    let entries = list(ingress, "/status/loadBalancer/ingress").iter();
    let address = |entry| match text(entry, "/ip") {
        "" => text(entry, "/hostname"),
        ip => ip,
    };
    entries
        .map(address)
        .filter(|address| !address.is_empty())
        .collect::<Vec<_>>()
        .join(",")
}
