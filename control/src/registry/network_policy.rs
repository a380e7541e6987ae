//! NetworkPolicy: who may talk to the pods that it selects, and to whom they may talk.

use serde_json::{Value, json};

use super::age::age;
use super::column::{AGE, NAME, name, string};
use super::kind::Kind;
use super::prepare;
use super::selector::selector_text;
use super::value::{default, default_text, list, list_mut};

/// NetworkPolicy of networking.k8s.io/v1.
pub(super) static KIND: Kind = Kind {
    group: "networking.k8s.io",
    kind: "NetworkPolicy",
    plural: "networkpolicies",
    singular: "networkpolicy",
    short_names: &["netpol"],
    columns: &[NAME, string("Pod-Selector"), AGE],
    cells: |policy, now| {
        let selector = selector_text(policy.pointer("/spec/podSelector"));
        vec![name(policy), selector.into(), age(policy, now)]
    },
    default: set_defaults,
    prepare: prepare::generation,
    ..Kind::PLAIN
};

/// A policy is about ingress, and about egress too if it has egress rules.
fn set_defaults(policy: &mut Value) {
    for direction in ["/spec/ingress", "/spec/egress"] {
        for rule in list_mut(policy, direction) {
            for port in list_mut(rule, "/ports") {
                default_text(port, "protocol", "TCP");
            }
        }
    }
    let egress = !list(policy, "/spec/egress").is_empty();
    let types = if egress {
        json!(["Ingress", "Egress"])
    } else {
        json!(["Ingress"])
    };
    if let Some(spec) = policy.get_mut("spec") {
        default(spec, "policyTypes", types);
    }
}
