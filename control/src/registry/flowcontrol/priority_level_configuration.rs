//! PriorityLevelConfiguration: how many requests are served at once, and how many wait.

use serde_json::{Value, json};

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, name, or_none, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, non_negative, range, required_one_of};
use crate::registry::value::{child, default, default_text, int, put, text};

/// PriorityLevelConfiguration of flowcontrol.apiserver.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "flowcontrol.apiserver.k8s.io",
    kind: "PriorityLevelConfiguration",
    plural: "prioritylevelconfigurations",
    singular: "prioritylevelconfiguration",
    namespaced: false,
    status: true,
    inert: true,
    columns: &[
        NAME,
        string("Type"),
        string("NominalConcurrencyShares"),
        string("Queues"),
        string("HandSize"),
        string("QueueLengthLimit"),
        AGE,
    ],
    cells,
    default: set_defaults,
    prepare: |new, old| {
        prepare::status_and_generation(new, old);
        if old.is_none() {
            put(new, "status", Some(json!({})));
        }
    },
    validate,
    ..Kind::PLAIN
};

fn cells(level: &Value, now: i64) -> Vec<Value> {
    let number = |pointer: &str| {
        let number = int(level, pointer).map(|number| number.to_string());
        or_none(number.unwrap_or_default())
    };
    let queue = |key: &str| number(&format!("/spec/limited/limitResponse/queuing/{key}"));
    vec![
        name(level),
        text(level, "/spec/type").into(),
        number("/spec/limited/nominalConcurrencyShares"),
        queue("queues"),
        queue("handSize"),
        queue("queueLengthLimit"),
        age(level, now),
    ]
}

fn set_defaults(level: &mut Value) {
    let Some(spec) = child(level, "spec") else {
        return;
    };
    let part = match text(spec, "/type") {
        "Limited" => "limited",
        "Exempt" => "exempt",
        _ => return,
    };
    let exempt = part == "exempt";
    let Some(part) = child(spec, part) else {
        return;
    };
    default(
        part,
        "nominalConcurrencyShares",
        if exempt { 0 } else { 30 },
    );
    default(part, "lendablePercent", 0);
    if exempt {
        return;
    }
    let Some(response) = child(part, "limitResponse") else {
        return;
    };
    default_text(response, "type", "Reject");
    if text(response, "/type") == "Queue"
        && let Some(queuing) = child(response, "queuing")
    {
        default(queuing, "queues", 64);
        default(queuing, "handSize", 8);
        default(queuing, "queueLengthLimit", 50);
    }
}

fn validate(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    required_one_of(&spec.get("type"), &["Exempt", "Limited"], &mut faults);
    let (limited, exempt) = (spec.get("limited"), spec.get("exempt"));
    match spec.get("type").text() {
        "Limited" if exempt.is_set() => {
            faults.forbidden(&exempt, "must be nil if the type is Limited");
        }
        "Exempt" if limited.is_set() => {
            faults.forbidden(&limited, "must be nil if the type is Exempt");
        }
        _ => {}
    }
    for part in [&limited, &exempt] {
        non_negative(&part.get("nominalConcurrencyShares"), &mut faults);
        range(&part.get("lendablePercent"), 0..=100, &mut faults);
    }
    let response = limited.get("limitResponse");
    if limited.is_set() {
        required_one_of(&response.get("type"), &["Queue", "Reject"], &mut faults);
    }
    let queuing = response.get("queuing");
    range(&queuing.get("queues"), 1..=10_000_000, &mut faults);
    range(
        &queuing.get("handSize"),
        1..=queuing.get("queues").int().unwrap_or(1).max(1),
        &mut faults,
    );
    range(
        &queuing.get("queueLengthLimit"),
        1..=i64::from(i32::MAX),
        &mut faults,
    );
    faults.into_list()
}
