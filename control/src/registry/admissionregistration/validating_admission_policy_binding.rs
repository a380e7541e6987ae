//! ValidatingAdmissionPolicyBinding: where a policy holds, with which parameters.

use serde_json::Value;

use super::validating_admission_policy::{match_defaults, matching};
use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, name, string, unset};
use crate::registry::kind::Kind;
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, one_of, required};
use crate::registry::value::{child, text};

/// ValidatingAdmissionPolicyBinding of admissionregistration.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "admissionregistration.k8s.io",
    kind: "ValidatingAdmissionPolicyBinding",
    plural: "validatingadmissionpolicybindings",
    singular: "validatingadmissionpolicybinding",
    categories: &["api-extensions"],
    namespaced: false,
    columns: &[NAME, string("PolicyName"), string("ParamRef"), AGE],
    cells: |object, now| {
        let policy = text(object, "/spec/policyName").into();
        vec![name(object), policy, parameter(object), age(object, now)]
    },
    default: set_defaults,
    prepare: prepare::generation,
    validate: |new, _| {
        let mut faults = Faults::default();
        let spec = At::root(new).get("spec");
        binding(&spec, &mut faults);
        let actions = spec.get("validationActions");
        required(&actions, &mut faults);
        actions
            .each()
            .for_each(|action| one_of(&action, &["Audit", "Deny", "Warn"], &mut faults));
        let has = |wanted: &str| actions.each().any(|action| action.text() == wanted);
        if has("Deny") && has("Warn") {
            faults.invalid(&actions, "must not contain both Deny and Warn");
        }
        faults.into_list()
    },
    ..Kind::PLAIN
};

fn parameter(object: &Value) -> Value {
    let of = |key: &str| text(object, &format!("/spec/paramRef/{key}")).to_owned();
    match (of("namespace"), of("name")) {
        (_, name) if name.is_empty() => unset(""),
        (place, name) if place.is_empty() => name.into(),
        (place, name) => format!("{place}/{name}").into(),
    }
}

pub(super) fn set_defaults(object: &mut Value) {
    if let Some(spec) = child(object, "spec")
        && let Some(resources) = spec.get_mut("matchResources").filter(|it| it.is_object())
    {
        match_defaults(resources);
    }
}

/// What both kinds of bindings share.
pub(super) fn binding(spec: &At<'_>, faults: &mut Faults) {
    required(&spec.get("policyName"), faults);
    matching(&spec.get("matchResources"), faults);
    let parameter = spec.get("paramRef");
    if parameter.is_set() {
        if parameter.get("name").is_empty() != parameter.get("selector").is_set() {
            faults.required(
                &parameter,
                "exactly one of name and selector must be specified",
            );
        }
        let actions = &["Allow", "Deny"];
        required(&parameter.get("parameterNotFoundAction"), faults);
        one_of(&parameter.get("parameterNotFoundAction"), actions, faults);
    }
}
