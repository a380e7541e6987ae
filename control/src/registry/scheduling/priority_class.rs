//! PriorityClass: how important pods are.

use serde_json::Value;

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, boolean, integer, name, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, immutable, one_of};
use crate::registry::value::{default, default_text, flag, int, text};

/// The highest priority that users may give.
const MOST: i64 = 1_000_000_000;
/// Names that begin so are the cluster's own: name and priority.
const SYSTEM: [(&str, i64); 2] = [
    ("system-cluster-critical", 2_000_000_000),
    ("system-node-critical", 2_000_001_000),
];

/// PriorityClass of scheduling.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "scheduling.k8s.io",
    kind: "PriorityClass",
    plural: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    namespaced: false,
    columns: &[
        NAME,
        integer("Value"),
        boolean("Global-Default"),
        AGE,
        string("PreemptionPolicy"),
    ],
    cells: |class, now| {
        vec![
            name(class),
            int(class, "/value").unwrap_or(0).into(),
            flag(class, "/globalDefault").into(),
            age(class, now),
            text(class, "/preemptionPolicy").into(),
        ]
    },
    default: |class| {
        default(class, "value", 0);
        default_text(class, "preemptionPolicy", "PreemptLowerPriority");
    },
    prepare: prepare::generation,
    validate,
    ..Kind::PLAIN
};

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let root = At::root(new);
    let (called, value) = (root.dig(&["metadata", "name"]), root.get("value"));
    let system = SYSTEM.iter().find(|(name, _)| *name == called.text());
    if called.text().starts_with("system-")
        && system.is_none_or(|(_, most)| value.int() != Some(*most))
    {
        faults.forbidden(
            &called,
            "priority class names with 'system-' prefix are reserved for system use only",
        );
    } else if system.is_none() && value.int().is_some_and(|value| value > MOST) {
        let why = format!("maximum allowed value of a user defined priority is {MOST}");
        faults.forbidden(&value, &why);
    }
    let policies = &["Never", "PreemptLowerPriority"];
    one_of(&root.get("preemptionPolicy"), policies, &mut faults);
    if let Some(old) = old {
        for key in ["preemptionPolicy", "value"] {
            immutable(&root.get(key), &At::root(old).get(key), &mut faults);
        }
    }
    faults.into_list()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn users_priorities_stay_below_the_clusters() {
        let class = |name: &str, value: i64| json!({"metadata": {"name": name}, "value": value});
        assert_eq!(validate(&class("a", MOST), None), []);
        assert_eq!(
            Faults::paths(&validate(&class("a", MOST + 1), None)),
            ["value"]
        );
        assert_eq!(
            Faults::paths(&validate(&class("system-a", 1), None)),
            ["metadata.name"]
        );
        assert_eq!(
            validate(&class("system-node-critical", 2_000_001_000), None),
            []
        );
    }
}
