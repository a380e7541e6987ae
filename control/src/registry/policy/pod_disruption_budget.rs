//! PodDisruptionBudget: how many pods may be missing on purpose.

use serde_json::{Value, json};

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, integer, name, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, fraction_or_count, non_negative, one_of, selector};
use crate::registry::value::{int, put};

/// PodDisruptionBudget of policy/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "policy",
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: &["pdb"],
    status: true,
    columns: &[
        NAME,
        string("Min Available"),
        string("Max Unavailable"),
        integer("Allowed Disruptions"),
        AGE,
    ],
    cells: |budget, now| {
        let bound = |key: &str| match budget.pointer(&format!("/spec/{key}")) {
            Some(Value::Number(number)) => number.to_string().into(),
            Some(Value::String(text)) => text.as_str().into(),
            _ => Value::from("N/A"),
        };
        vec![
            name(budget),
            bound("minAvailable"),
            bound("maxUnavailable"),
            int(budget, "/status/disruptionsAllowed")
                .unwrap_or(0)
                .into(),
            age(budget, now),
        ]
    },
    prepare: |new, old| {
        prepare::status_and_generation(new, old);
        if old.is_none() {
            let counts = json!({"currentHealthy": 0, "desiredHealthy": 0,
                "disruptionsAllowed": 0, "expectedPods": 0});
            put(new, "status", Some(counts));
        }
    },
    validate,
    ..Kind::PLAIN
};

fn validate(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    let (least, most) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
    if least.is_set() && most.is_set() {
        faults.invalid(&spec, "minAvailable and maxUnavailable cannot be both set");
    }
    for bound in [least, most] {
        fraction_or_count(&bound, &mut faults);
        let percent = bound
            .text()
            .strip_suffix('%')
            .and_then(|text| text.parse::<u32>().ok());
        if percent.is_some_and(|percent| percent > 100) {
            faults.invalid(&bound, "must not be greater than 100%");
        }
    }
    selector(&spec.get("selector"), &mut faults);
    let policies = &["AlwaysAllow", "IfHealthyBudget"];
    one_of(
        &spec.get("unhealthyPodEvictionPolicy"),
        policies,
        &mut faults,
    );
    let status = At::root(new).get("status");
    for count in [
        "currentHealthy",
        "desiredHealthy",
        "disruptionsAllowed",
        "expectedPods",
    ] {
        non_negative(&status.get(count), &mut faults);
    }
    faults.into_list()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_has_one_bound() {
        let budget = json!({"spec": {"minAvailable": 1, "maxUnavailable": "120%"}});
        let faults = validate(&budget, None);
        assert_eq!(Faults::paths(&faults), ["spec", "spec.maxUnavailable"]);
        assert_eq!(
            validate(&json!({"spec": {"minAvailable": "50%"}}), None),
            []
        );
    }
}
