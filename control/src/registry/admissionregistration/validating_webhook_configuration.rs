//! ValidatingWebhookConfiguration: servers that may refuse objects.

use serde_json::{Map, Value};

use super::expressions::conditions;
use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, integer, name};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{
    At, Faults, client_config, is_dns_subdomain, one_of, range, required, selector, unique,
};
use crate::registry::value::{child, default, default_text, list, list_mut};

/// ValidatingWebhookConfiguration of admissionregistration.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "admissionregistration.k8s.io",
    kind: "ValidatingWebhookConfiguration",
    plural: "validatingwebhookconfigurations",
    singular: "validatingwebhookconfiguration",
    categories: &["api-extensions"],
    namespaced: false,
    columns: &[NAME, integer("Webhooks"), AGE],
    cells: |object, now| {
        let hooks = list(object, "/webhooks").len();
        vec![name(object), hooks.into(), age(object, now)]
    },
    default: set_defaults,
    prepare: prepare::generation,
    validate,
    ..Kind::PLAIN
};

/// What the expressions of policies and conditions may look at.
pub(crate) const POLICY_VARIABLES: &[&str] = &[
    "object",
    "oldObject",
    "request",
    "params",
    "namespaceObject",
    "variables",
    "authorizer",
    "authorizer.requestResource",
];

/// What the messages of policies may look at: they ask nobody.
pub(crate) const MESSAGE_VARIABLES: &[&str] = POLICY_VARIABLES.split_at(6).0;

pub(super) fn set_defaults(object: &mut Value) {
    for hook in list_mut(object, "/webhooks") {
        default_text(hook, "failurePolicy", "Fail");
        default_text(hook, "matchPolicy", "Equivalent");
        default(hook, "namespaceSelector", Map::new());
        default(hook, "objectSelector", Map::new());
        default(hook, "timeoutSeconds", 10);
        for rule in list_mut(hook, "/rules") {
            default_text(rule, "scope", "*");
        }
        if let Some(config) = child(hook, "clientConfig")
            && let Some(service) = config.get_mut("service").filter(|it| it.is_object())
        {
            default(service, "port", 443);
        }
    }
}

pub(super) fn validate(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let hooks = At::root(new).get("webhooks");
    for hook in hooks.each() {
        let called = hook.get("name");
        let parts = called.text().split('.').count();
        if required(&called, &mut faults) && (parts < 3 || !is_dns_subdomain(called.text())) {
            faults.invalid(
                &called,
                "should be a domain with at least three segments separated by dots",
            );
        }
        client_config(&hook.get("clientConfig"), &mut faults);
        required(&hook.get("sideEffects"), &mut faults);
        one_of(
            &hook.get("sideEffects"),
            &["None", "NoneOnDryRun"],
            &mut faults,
        );
        let versions = hook.get("admissionReviewVersions");
        if required(&versions, &mut faults)
            && !versions
                .each()
                .any(|version| matches!(version.text(), "v1" | "v1beta1"))
        {
            faults.invalid(&versions, "must include at least one of v1, v1beta1");
        }
        one_of(&hook.get("failurePolicy"), &["Fail", "Ignore"], &mut faults);
        one_of(
            &hook.get("matchPolicy"),
            &["Equivalent", "Exact"],
            &mut faults,
        );
        one_of(
            &hook.get("reinvocationPolicy"),
            &["IfNeeded", "Never"],
            &mut faults,
        );
        for condition in hook.get("matchConditions").each() {
            required(&condition.get("name"), &mut faults);
            required(&condition.get("expression"), &mut faults);
        }
        conditions(&hook, &mut faults);
        range(&hook.get("timeoutSeconds"), 1..=30, &mut faults);
        selector(&hook.get("namespaceSelector"), &mut faults);
        selector(&hook.get("objectSelector"), &mut faults);
        hook.get("rules")
            .each()
            .for_each(|rule| operations(&rule, &mut faults));
    }
    unique(hooks.each().map(|hook| hook.get("name")), &mut faults);
    faults.into_list()
}

/// Which requests a rule is about.
pub(super) fn operations(rule: &At<'_>, faults: &mut Faults) {
    for key in ["operations", "apiGroups", "apiVersions", "resources"] {
        required(&rule.get(key), faults);
    }
    let known = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    for operation in rule.get("operations").each() {
        one_of(&operation, known, faults);
    }
    one_of(&rule.get("scope"), &["*", "Cluster", "Namespaced"], faults);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_webhook_says_where_it_is_and_what_it_does() {
        let mut object = json!({"webhooks": [{"name": "a.b", "rules": [{"operations": ["FLY"]}]}]});
        set_defaults(&mut object);
        assert_eq!(
            Faults::paths(&validate(&object, None)),
            [
                "webhooks[0].name",
                "webhooks[0].clientConfig",
                "webhooks[0].sideEffects",
                "webhooks[0].admissionReviewVersions",
                "webhooks[0].rules[0].apiGroups",
                "webhooks[0].rules[0].apiVersions",
                "webhooks[0].rules[0].resources",
                "webhooks[0].rules[0].operations[0]"
            ]
        );
    }
}
