//! LimitRange: bounds and defaults for what pods and claims of a namespace ask for.

use serde_json::Value;

use crate::registry::column::{CREATED, NAME, created, name};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::rules::{At, Faults, required};
use crate::registry::value::{child, default, list_mut, text};

/// LimitRange of v1.
pub(in crate::registry) static KIND: Kind = Kind {
    kind: "LimitRange",
    plural: "limitranges",
    singular: "limitrange",
    short_names: &["limits"],
    columns: &[NAME, CREATED],
    cells: |range, _| vec![name(range), created(range)],
    default: set_defaults,
    validate,
    ..Kind::PLAIN
};

/// Of containers: the most they may have is what they get, and what they get is what they ask for.
fn set_defaults(range: &mut Value) {
    for limit in list_mut(range, "/spec/limits") {
        if text(limit, "/type") == "Container" {
            inherit(limit, "default", "max");
            inherit(limit, "defaultRequest", "default");
            inherit(limit, "defaultRequest", "min");
        }
    }
}

fn inherit(limit: &mut Value, to: &str, from: &str) {
    let Some(Value::Object(given)) = limit.get(from).cloned() else {
        return;
    };
    let Some(have) = child(limit, to) else { return };
    for (name, amount) in given {
        default(have, &name, amount);
    }
}

fn validate(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let limits = At::root(new).dig(&["spec", "limits"]);
    let mut seen = Vec::new();
    for limit in limits.each() {
        let kind = limit.get("type");
        if !required(&kind, &mut faults) {
            continue;
        }
        if seen.contains(&kind.text()) {
            faults.duplicate(&kind);
        }
        seen.push(kind.text());
        if kind.text() == "Pod" {
            for key in ["default", "defaultRequest"] {
                if limit.get(key).is_set() {
                    faults.forbidden(&limit.get(key), "may not be specified when `type` is 'Pod'");
                }
            }
        }
        ordered(&limit, &mut faults);
    }
    faults.into_list()
}

/// `min` ≤ `defaultRequest` ≤ `default` ≤ `max`, as far as each is there.
fn ordered(limit: &At<'_>, faults: &mut Faults) {
    let names = ["min", "defaultRequest", "default", "max"];
    for (index, low) in names.iter().enumerate() {
        for high in &names[index + 1..] {
            for (resource, at) in limit.get(low).entries() {
                let bound = limit.get(high).entry(resource);
                if let (Ok(below), Ok(above)) = (
                    at.text().parse::<naru_core::Quantity>(),
                    bound.text().parse::<naru_core::Quantity>(),
                ) && below > above
                {
                    faults.invalid(&at, &format!("must be less than or equal to {high} value"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bounds_are_in_order_and_of_one_kind_each() {
        let range = json!({"spec": {"limits": [
            {"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}},
            {"type": "Container"}, {"type": "Pod", "default": {"cpu": "1"}}, {}]}});
        let faults = validate(&range, None);
        assert_eq!(
            Faults::paths(&faults),
            [
                "spec.limits[0].min[cpu]",
                "spec.limits[1].type",
                "spec.limits[2].default",
                "spec.limits[3].type"
            ]
        );
    }
}
