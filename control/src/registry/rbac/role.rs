//! Role: what may be done in one namespace.

use crate::registry::column::{CREATED, NAME, created, name};
use crate::registry::kind::{Kind, NameForm};
use crate::registry::rules::{At, Faults, required};

/// Role of rbac.authorization.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "rbac.authorization.k8s.io",
    kind: "Role",
    plural: "roles",
    singular: "role",
    names: NameForm::PathSegment,
    columns: &[NAME, CREATED],
    cells: |role, _| vec![name(role), created(role)],
    validate: |new, _| {
        let mut faults = Faults::default();
        rules(&At::root(new).get("rules"), true, &mut faults);
        faults.into_list()
    },
    ..Kind::PLAIN
};

/// Rules of a role; one that is `namespaced` says nothing about paths.
pub(super) fn rules(rules: &At<'_>, namespaced: bool, faults: &mut Faults) {
    for rule in rules.each() {
        required(&rule.get("verbs"), faults);
        let paths = rule.get("nonResourceURLs");
        if paths.is_empty() {
            if rule.get("apiGroups").is_empty() {
                faults.required(
                    &rule.get("apiGroups"),
                    "resource rules must supply at least one api group",
                );
            }
            if rule.get("resources").is_empty() {
                faults.required(
                    &rule.get("resources"),
                    "resource rules must supply at least one resource",
                );
            }
            continue;
        }
        if namespaced {
            faults.invalid(&paths, "namespaced rules cannot apply to non-resource URLs");
        }
        let about_resources = ["apiGroups", "resources", "resourceNames"];
        if about_resources.iter().any(|key| !rule.get(key).is_empty()) {
            faults.invalid(
                &paths,
                "rules cannot apply to both regular resources and non-resource URLs",
            );
        }
    }
}

/// The rules of an object, for tests of its siblings.
#[cfg(test)]
pub(super) fn paths_at_fault(object: &serde_json::Value, kind: &Kind) -> Vec<String> {
    let faults = (kind.validate)(object, None);
    faults.into_iter().map(|fault| fault.field).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_role_of_a_namespace_is_about_resources() {
        let role = json!({"rules": [
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
            {"verbs": ["get"], "nonResourceURLs": ["/metrics"]},
            {"verbs": []}]});
        assert_eq!(
            paths_at_fault(&role, &KIND),
            [
                "rules[1].nonResourceURLs",
                "rules[2].verbs",
                "rules[2].apiGroups",
                "rules[2].resources"
            ]
        );
    }
}
