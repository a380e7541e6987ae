//! IngressClass: which controller serves an Ingress.

use serde_json::Value;

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, name, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, immutable, is_dns_subdomain, one_of, required};
use crate::registry::value::{default, text};

/// IngressClass of networking.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "networking.k8s.io",
    kind: "IngressClass",
    plural: "ingressclasses",
    singular: "ingressclass",
    namespaced: false,
    columns: &[NAME, string("Controller"), string("Parameters"), AGE],
    cells,
    default: set_defaults,
    prepare: prepare::generation,
    validate,
    ..Kind::PLAIN
};

fn set_defaults(class: &mut Value) {
    if let Some(parameters) = class.pointer_mut("/spec/parameters") {
        default(parameters, "scope", "Cluster");
    }
}

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

/// Longest name of a controller.
const MAX_CONTROLLER: usize = 250;

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    let controller = spec.get("controller");
    if required(&controller, &mut faults) && !is_controller(controller.text()) {
        faults.invalid(
            &controller,
            "must be a domain-prefixed path (such as \"acme.io/foo\")",
        );
    }
    if let Some(old) = old {
        let old = At::root(old).dig(&["spec", "controller"]);
        immutable(&controller, &old, &mut faults);
    }
    let parameters = spec.get("parameters");
    if parameters.is_set() {
        required(&parameters.get("kind"), &mut faults);
        required(&parameters.get("name"), &mut faults);
        let (scope, namespace) = (parameters.get("scope"), parameters.get("namespace"));
        one_of(&scope, &["Cluster", "Namespace"], &mut faults);
        match scope.text() {
            "Namespace" => drop(required(&namespace, &mut faults)),
            _ if namespace.is_set() => {
                faults.forbidden(&namespace, "`parameters.scope` is set to 'Cluster'");
            }
            _ => {}
        }
    }
    faults.into_list()
}

fn is_controller(text: &str) -> bool {
    let parts = text.split_once('/');
    text.len() <= MAX_CONTROLLER
        && parts.is_some_and(|(domain, path)| is_dns_subdomain(domain) && !path.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_controller_is_a_path_and_stays() {
        let class = |controller: &str| json!({"spec": {"controller": controller}});
        assert_eq!(validate(&class("naru.dev/ingress"), None), []);
        assert_eq!(
            Faults::paths(&validate(&class("naru"), None)),
            ["spec.controller"]
        );
        let faults = validate(&class("naru.dev/other"), Some(&class("naru.dev/ingress")));
        assert_eq!(Faults::paths(&faults), ["spec.controller"]);
    }
}
