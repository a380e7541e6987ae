//! MutatingAdmissionPolicy: expressions that change objects before they are stored.

use super::validating_admission_policy::{parameters, policy, set_defaults};
use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, integer, name, string};
use crate::registry::kind::Kind;
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, required, required_one_of};
use crate::registry::value::list;

/// MutatingAdmissionPolicy of admissionregistration.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "admissionregistration.k8s.io",
    kind: "MutatingAdmissionPolicy",
    plural: "mutatingadmissionpolicies",
    singular: "mutatingadmissionpolicy",
    categories: &["api-extensions"],
    namespaced: false,
    inert: true,
    columns: &[NAME, integer("Mutations"), string("ParamKind"), AGE],
    cells: |object, now| {
        let count = list(object, "/spec/mutations").len();
        vec![
            name(object),
            count.into(),
            parameters(object),
            age(object, now),
        ]
    },
    default: set_defaults,
    prepare: prepare::generation,
    validate: |new, _| {
        let mut faults = Faults::default();
        let spec = At::root(new).get("spec");
        required(&spec.get("mutations"), &mut faults);
        for mutation in spec.get("mutations").each() {
            let types = &["ApplyConfiguration", "JSONPatch"];
            required_one_of(&mutation.get("patchType"), types, &mut faults);
        }
        required_one_of(
            &spec.get("reinvocationPolicy"),
            &["IfNeeded", "Never"],
            &mut faults,
        );
        policy(&spec, &mut faults);
        faults.into_list()
    },
    ..Kind::PLAIN
};
