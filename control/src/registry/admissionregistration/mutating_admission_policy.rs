//! MutatingAdmissionPolicy: expressions that change objects before they are stored.

use super::expressions::{checked, conditions, of_policy};
use super::validating_admission_policy::{parameters, policy, set_defaults};
use crate::cel::{Scope, Type};
use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, integer, name, string};
use crate::registry::kind::Kind;
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, one_of, required, required_one_of};
use crate::registry::value::list;

/// MutatingAdmissionPolicy of admissionregistration.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "admissionregistration.k8s.io",
    kind: "MutatingAdmissionPolicy",
    plural: "mutatingadmissionpolicies",
    singular: "mutatingadmissionpolicy",
    categories: &["api-extensions"],
    namespaced: false,
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
        let scope = of_policy(&spec, &mut faults).making_messages();
        for mutation in spec.get("mutations").each() {
            check_mutation(&mutation, &scope, &mut faults);
        }
        let rules = spec.get("matchConstraints").get("resourceRules");
        for rule in rules.each() {
            let known = &["*", "CONNECT", "CREATE", "UPDATE"];
            for operation in rule.get("operations").each() {
                one_of(&operation, known, &mut faults);
            }
        }
        conditions(&spec, &mut faults);
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

/// A mutation has the expression of its type, and no other.
fn check_mutation(mutation: &At<'_>, scope: &Scope, faults: &mut Faults) {
    let patch_type = mutation.get("patchType");
    let types = [
        (
            "ApplyConfiguration",
            "applyConfiguration",
            Type::any_object("Object"),
        ),
        (
            "JSONPatch",
            "jsonPatch",
            Type::list(Type::any_object("JSONPatch")),
        ),
    ];
    let names = types.each_ref().map(|(name, ..)| *name);
    required_one_of(&patch_type, &names, faults);
    for (name, field, wanted) in types {
        let part = mutation.get(field);
        if patch_type.text() != name {
            if part.is_set() {
                faults.forbidden(&part, &format!("must not be set for {}", patch_type.text()));
            }
            continue;
        }
        let expression = part.get("expression");
        if required(&expression, faults) {
            checked(&expression, scope, &[wanted], faults);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::validating_admission_policy::paths_at_fault;
    use super::*;

    fn faults(operation: &str, mutation: Value) -> Vec<String> {
        let rule = json!({"operations": [operation], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["pods"]});
        let spec = json!({"matchConstraints": {"resourceRules": [rule]}, "mutations": [mutation],
            "reinvocationPolicy": "Never"});
        paths_at_fault(&KIND, json!({"spec": spec}))
    }

    #[test]
    fn a_mutation_has_one_expression_that_makes_what_its_type_says() {
        let apply = |text: &str| json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": text}});
        assert!(
            faults(
                "CREATE",
                apply("Object{spec: Object.spec{hostNetwork: false}}")
            )
            .is_empty()
        );
        let expression = "spec.mutations[0].applyConfiguration.expression";
        assert_eq!(
            faults("CREATE", apply("Object{spec: Object.status{}}")),
            [expression]
        );
        assert_eq!(faults("CREATE", apply("Pod{}")), [expression]);
        assert_eq!(faults("CREATE", apply("")), [expression]);
        let patch = json!({"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'remove', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b')}]"}});
        assert!(faults("UPDATE", patch.clone()).is_empty());
        let mut both = patch.clone();
        both["applyConfiguration"] = json!({"expression": "Object{}"});
        assert_eq!(
            faults("UPDATE", both),
            ["spec.mutations[0].applyConfiguration"]
        );
        let operations = ["spec.matchConstraints.resourceRules[0].operations[0]"];
        assert_eq!(faults("DELETE", patch), operations);
    }
}
