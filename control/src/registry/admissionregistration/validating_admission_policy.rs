//! ValidatingAdmissionPolicy: expressions that objects have to fulfil.

use serde_json::{Map, Value, json};

use super::expressions::{checked, conditions, of_policy};
use super::validating_webhook_configuration::operations;
use crate::cel::Type;
use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, integer, name, string, unset};
use crate::registry::kind::Kind;
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, one_of, required, selector, unique};
use crate::registry::value::{child, default, default_text, list, list_mut, put, text};

/// ValidatingAdmissionPolicy of admissionregistration.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "admissionregistration.k8s.io",
    kind: "ValidatingAdmissionPolicy",
    plural: "validatingadmissionpolicies",
    singular: "validatingadmissionpolicy",
    categories: &["api-extensions"],
    namespaced: false,
    status: true,
    columns: &[NAME, integer("Validations"), string("ParamKind"), AGE],
    cells: |policy, now| {
        let count = list(policy, "/spec/validations").len();
        vec![
            name(policy),
            count.into(),
            parameters(policy),
            age(policy, now),
        ]
    },
    default: set_defaults,
    prepare: |new, old| {
        prepare::status_and_generation(new, old);
        if old.is_none() {
            put(new, "status", Some(json!({})));
        }
    },
    validate: |new, _| {
        let mut faults = Faults::default();
        let spec = At::root(new).get("spec");
        let (checks, notes) = (spec.get("validations"), spec.get("auditAnnotations"));
        if checks.is_empty() && notes.is_empty() {
            faults.required(
                &checks,
                "validations or auditAnnotations must contain at least one item",
            );
        }
        let scope = of_policy(&spec, &mut faults);
        let messages = scope.clone().without_authorizer();
        for check in checks.each() {
            let spoken = check.get("messageExpression");
            required(&check.get("expression"), &mut faults);
            checked(&check.get("expression"), &scope, &[Type::Bool], &mut faults);
            checked(&spoken, &messages, &[Type::String], &mut faults);
            let reasons = &[
                "Forbidden",
                "Invalid",
                "RequestEntityTooLarge",
                "Unauthorized",
            ];
            one_of(&check.get("reason"), reasons, &mut faults);
        }
        for note in notes.each() {
            let value = note.get("valueExpression");
            required(&note.get("key"), &mut faults);
            required(&value, &mut faults);
            checked(&value, &scope, &[Type::String, Type::Null], &mut faults);
        }
        unique(notes.each().map(|note| note.get("key")), &mut faults);
        conditions(&spec, &mut faults);
        policy(&spec, &mut faults);
        faults.into_list()
    },
    ..Kind::PLAIN
};

/// The kind of a policy's parameters as a cell.
pub(super) fn parameters(policy: &Value) -> Value {
    match text(policy, "/spec/paramKind/kind") {
        "" => unset(""),
        kind => format!("{}/{kind}", text(policy, "/spec/paramKind/apiVersion")).into(),
    }
}

pub(super) fn set_defaults(policy: &mut Value) {
    let Some(spec) = child(policy, "spec") else {
        return;
    };
    default_text(spec, "failurePolicy", "Fail");
    if let Some(constraints) = spec.get_mut("matchConstraints").filter(|it| it.is_object()) {
        match_defaults(constraints);
    }
}

/// Defaults of what says which objects are meant.
pub(super) fn match_defaults(resources: &mut Value) {
    default_text(resources, "matchPolicy", "Equivalent");
    default(resources, "namespaceSelector", Map::new());
    default(resources, "objectSelector", Map::new());
    for rules in ["/resourceRules", "/excludeResourceRules"] {
        for rule in list_mut(resources, rules) {
            default_text(rule, "scope", "*");
        }
    }
}

/// The rules that both kinds of policies share.
pub(super) fn policy(spec: &At<'_>, faults: &mut Faults) {
    one_of(&spec.get("failurePolicy"), &["Fail", "Ignore"], faults);
    let parameters = spec.get("paramKind");
    if parameters.is_set() {
        required(&parameters.get("apiVersion"), faults);
        required(&parameters.get("kind"), faults);
    }
    let constraints = spec.get("matchConstraints");
    if required(&constraints, faults) && required(&constraints.get("resourceRules"), faults) {
        matching(&constraints, faults);
    }
    for list in ["matchConditions", "variables"] {
        for item in spec.get(list).each() {
            required(&item.get("name"), faults);
            required(&item.get("expression"), faults);
        }
    }
}

/// Which objects are meant.
pub(super) fn matching(resources: &At<'_>, faults: &mut Faults) {
    one_of(
        &resources.get("matchPolicy"),
        &["Equivalent", "Exact"],
        faults,
    );
    selector(&resources.get("namespaceSelector"), faults);
    selector(&resources.get("objectSelector"), faults);
    for rules in ["resourceRules", "excludeResourceRules"] {
        resources
            .get(rules)
            .each()
            .for_each(|rule| operations(&rule, faults));
    }
}

#[cfg(test)]
pub(super) fn paths_at_fault(kind: &Kind, mut object: Value) -> Vec<String> {
    (kind.default)(&mut object);
    let faults = (kind.validate)(&object, None);
    faults.into_iter().map(|fault| fault.field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_checks_something_about_some_objects() {
        let none = paths_at_fault(&KIND, json!({"spec": {}}));
        assert_eq!(none, ["spec.validations", "spec.matchConstraints"]);
        let rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["pods"]});
        let good = json!({"spec": {"validations": [{"expression": "true"}],
            "matchConstraints": {"resourceRules": [rule]}}});
        assert_eq!(paths_at_fault(&KIND, good), Vec::<String>::new());
    }
}
