//! FlowSchema: which requests belong to which priority level.

use serde_json::{Value, json};

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, integer, name, or_none, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, one_of, range, required, required_one_of};
use crate::registry::value::{child, default, int, list, put, text};

/// FlowSchema of flowcontrol.apiserver.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "flowcontrol.apiserver.k8s.io",
    kind: "FlowSchema",
    plural: "flowschemas",
    singular: "flowschema",
    namespaced: false,
    status: true,
    inert: true,
    columns: &[
        NAME,
        string("PriorityLevel"),
        integer("MatchingPrecedence"),
        string("DistinguisherMethod"),
        AGE,
        string("MissingPL"),
    ],
    cells: |schema, now| {
        let mut conditions = list(schema, "/status/conditions").iter();
        let dangling = conditions.find(|one| text(one, "/type") == "Dangling");
        let missing = dangling.map_or("?", |one| text(one, "/status"));
        vec![
            name(schema),
            text(schema, "/spec/priorityLevelConfiguration/name").into(),
            int(schema, "/spec/matchingPrecedence").unwrap_or(0).into(),
            or_none(text(schema, "/spec/distinguisherMethod/type")),
            age(schema, now),
            missing.into(),
        ]
    },
    default: |schema| {
        if let Some(spec) = child(schema, "spec") {
            default(spec, "matchingPrecedence", 1000);
        }
    },
    prepare: |new, old| {
        prepare::status_and_generation(new, old);
        if old.is_none() {
            put(new, "status", Some(json!({})));
        }
    },
    validate,
    ..Kind::PLAIN
};

fn validate(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    range(&spec.get("matchingPrecedence"), 1..=10_000, &mut faults);
    let methods = &["ByNamespace", "ByUser"];
    one_of(
        &spec.dig(&["distinguisherMethod", "type"]),
        methods,
        &mut faults,
    );
    required(
        &spec.dig(&["priorityLevelConfiguration", "name"]),
        &mut faults,
    );
    for rule in spec.get("rules").each() {
        required(&rule.get("subjects"), &mut faults);
        for subject in rule.get("subjects").each() {
            let kinds = &["Group", "ServiceAccount", "User"];
            required_one_of(&subject.get("kind"), kinds, &mut faults);
        }
        if rule.get("resourceRules").is_empty() && rule.get("nonResourceRules").is_empty() {
            faults.required(
                &rule,
                "at least one of resourceRules and nonResourceRules has to be non-empty",
            );
        }
    }
    faults.into_list()
}
