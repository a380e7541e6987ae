//! DaemonSet: a pod on every node.

use serde_json::{Value, json};

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, integer, name, string, wide};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::pod_spec::{
    in_vain, template_defaults, template_selector, validate_template, wide_cells,
};
use crate::registry::prepare;
use crate::registry::rules::{
    At, Faults, fraction_or_count, immutable, non_negative, required_one_of,
};
use crate::registry::selector::map_text;
use crate::registry::value::{child, default, default_text, int, put, text};

/// DaemonSet of apps/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "apps",
    kind: "DaemonSet",
    plural: "daemonsets",
    singular: "daemonset",
    short_names: &["ds"],
    categories: &["all"],
    status: true,
    inert: true,
    columns: &[
        NAME,
        integer("Desired"),
        integer("Current"),
        integer("Ready"),
        integer("Up-to-date"),
        integer("Available"),
        string("Node Selector"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells,
    default: set_defaults,
    prepare: |new, old| {
        prepare::status_and_generation(new, old);
        if old.is_none() {
            let counts = json!({"currentNumberScheduled": 0, "numberMisscheduled": 0,
                "desiredNumberScheduled": 0, "numberReady": 0});
            put(new, "status", Some(counts));
        }
    },
    validate,
    warnings: |object| in_vain(&At::root(object).dig(&["spec", "template", "spec"])),
    ..Kind::PLAIN
};

fn cells(set: &Value, now: i64) -> Vec<Value> {
    let count = |name: &str| int(set, &format!("/status/{name}")).unwrap_or(0).into();
    let mut cells = vec![
        name(set),
        count("desiredNumberScheduled"),
        count("currentNumberScheduled"),
        count("numberReady"),
        count("updatedNumberScheduled"),
        count("numberAvailable"),
        map_text(set.pointer("/spec/template/spec/nodeSelector")).into(),
        age(set, now),
    ];
    cells.extend(wide_cells(set));
    cells
}

fn set_defaults(set: &mut Value) {
    let Some(spec) = child(set, "spec") else {
        return;
    };
    default(spec, "revisionHistoryLimit", 10);
    if let Some(template) = child(spec, "template") {
        template_defaults(template);
    }
    let Some(strategy) = child(spec, "updateStrategy") else {
        return;
    };
    default_text(strategy, "type", "RollingUpdate");
    if text(strategy, "/type") == "RollingUpdate"
        && let Some(rolling) = child(strategy, "rollingUpdate")
    {
        default(rolling, "maxUnavailable", 1);
        default(rolling, "maxSurge", 0);
    }
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    let selector = spec.get("selector");
    template_selector(&selector, &mut faults);
    validate_template(&spec.get("template"), &selector, &["Always"], &mut faults);
    non_negative(&spec.get("minReadySeconds"), &mut faults);
    non_negative(&spec.get("revisionHistoryLimit"), &mut faults);
    let strategy = spec.get("updateStrategy");
    required_one_of(
        &strategy.get("type"),
        &["OnDelete", "RollingUpdate"],
        &mut faults,
    );
    rolling(&strategy.get("rollingUpdate"), &mut faults);
    if let Some(old) = old {
        immutable(
            &selector,
            &At::root(old).dig(&["spec", "selector"]),
            &mut faults,
        );
    }
    faults.into_list()
}

/// One of the two bounds has to leave room for a change, and only one may.
fn rolling(rolling: &At<'_>, faults: &mut Faults) {
    let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
    fraction_or_count(&unavailable, faults);
    fraction_or_count(&surge, faults);
    let zero =
        |at: &At<'_>| matches!(at.value(), Value::Null) || *at.value() == 0 || at.text() == "0%";
    if rolling.is_set() && zero(&unavailable) && zero(&surge) {
        faults.required(&unavailable, "cannot be 0 when maxSurge is 0");
    }
    if !zero(&unavailable) && !zero(&surge) {
        faults.invalid(&surge, "may not be set when maxUnavailable is non-zero");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_needs_room_on_one_side() {
        let paths = |rolling_update: Value| {
            let mut faults = Faults::default();
            rolling(&At::root(&rolling_update), &mut faults);
            faults.into_list().len()
        };
        assert_eq!(paths(json!({"maxUnavailable": 1, "maxSurge": 0})), 0);
        assert_eq!(paths(json!({"maxUnavailable": 0, "maxSurge": "10%"})), 0);
        assert_eq!(paths(json!({"maxUnavailable": 0, "maxSurge": "0%"})), 1);
        assert_eq!(paths(json!({"maxUnavailable": 1, "maxSurge": 1})), 1);
    }
}
