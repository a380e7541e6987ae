//! ResourceQuota: how much of everything a namespace may have.

use serde_json::Value;

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, name, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, one_of};
use crate::registry::value::{members, put};

/// ResourceQuota of v1.
pub(in crate::registry) static KIND: Kind = Kind {
    kind: "ResourceQuota",
    plural: "resourcequotas",
    singular: "resourcequota",
    short_names: &["quota"],
    returned: true,
    status: true,
    columns: &[NAME, string("Request"), string("Limit"), AGE],
    cells: |quota, now| {
        let (limits, requests) = usage(quota);
        vec![name(quota), requests.into(), limits.into(), age(quota, now)]
    },
    prepare: |new, old| {
        prepare::status(new, old);
        if old.is_none() {
            put(new, "status", Some(serde_json::json!({})));
        }
    },
    validate,
    ..Kind::PLAIN
};

/// `resource: used/hard` of the limits and of the rest, each sorted by name.
fn usage(quota: &Value) -> (String, String) {
    let mut hard: Vec<_> = members(quota, "/status/hard").collect();
    hard.sort_by_key(|(resource, _)| *resource);
    let pair = |(resource, hard): &(&str, &Value)| {
        let used = quota
            .pointer("/status/used")
            .and_then(|used| used.get(resource));
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("0").to_owned();
        format!("{resource}: {}/{}", text(used), text(Some(hard)))
    };
    let (limits, requests): (Vec<_>, Vec<_>) = hard
        .into_iter()
        .partition(|(resource, _)| resource.starts_with("limits"));
    let join = |list: Vec<(&str, &Value)>| list.iter().map(pair).collect::<Vec<_>>().join(", ");
    (join(limits), join(requests))
}

const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    for (_, amount) in spec.get("hard").entries() {
        if amount.text().starts_with('-') {
            faults.invalid(&amount, "must be greater than or equal to 0");
        }
    }
    spec.get("scopes")
        .each()
        .for_each(|scope| one_of(&scope, SCOPES, &mut faults));
    for expression in spec.dig(&["scopeSelector", "matchExpressions"]).each() {
        one_of(&expression.get("scopeName"), SCOPES, &mut faults);
        let operators = &["In", "NotIn", "Exists", "DoesNotExist"];
        one_of(&expression.get("operator"), operators, &mut faults);
    }
    if let Some(old) = old {
        let before = At::root(old).dig(&["spec", "scopes"]);
        crate::registry::rules::immutable(&spec.get("scopes"), &before, &mut faults);
    }
    faults.into_list()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_row_tells_what_is_used() {
        let quota = json!({"status": {"hard": {"pods": "4", "limits.cpu": "2"},
            "used": {"pods": "1"}}});
        assert_eq!(
            usage(&quota),
            ("limits.cpu: 0/2".into(), "pods: 1/4".into())
        );
    }
}
