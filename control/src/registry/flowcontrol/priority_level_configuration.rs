//! PriorityLevelConfiguration: how many requests are served at once, and how many wait.

use serde_json::{Value, json};

use super::defaults;
use super::flow_schema::check_conditions;
use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, name, or_none, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, non_negative, range, required_one_of};
use crate::registry::value::{child, default, default_text, int, put, text};

/// Queues that a level may have at most.
const MAX_QUEUES: i64 = 10_000_000;
/// Bits of a hash that dealing a hand may take.
const MAX_ENTROPY: i64 = 60;

/// PriorityLevelConfiguration of flowcontrol.apiserver.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "flowcontrol.apiserver.k8s.io",
    kind: "PriorityLevelConfiguration",
    plural: "prioritylevelconfigurations",
    singular: "prioritylevelconfiguration",
    namespaced: false,
    status: true,
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
    // An exempt level needs to say nothing more; a limited one has to.
    let part = if exempt {
        child(spec, part)
    } else {
        spec.get_mut(part).filter(|part| part.is_object())
    };
    let Some(part) = part else {
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
        && let Some(queuing) = response.get_mut("queuing")
    {
        default(queuing, "queues", 64);
        default(queuing, "handSize", 8);
        default(queuing, "queueLengthLimit", 50);
    }
}

fn validate(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let (spec, name) = (At::root(new).get("spec"), text(new, "/metadata/name"));
    let (limited, exempt) = (spec.get("limited"), spec.get("exempt"));
    let kind = spec.get("type");
    required_one_of(&kind, &["Exempt", "Limited"], &mut faults);
    if !kind.is_empty() && (name == defaults::EXEMPT) != (kind.text() == "Exempt") {
        let why = "type must be 'Exempt' if and only if name is 'exempt'";
        faults.invalid(&kind, why);
    }
    match kind.text() {
        "Limited" => {
            if exempt.is_set() {
                faults.forbidden(&exempt, "must be nil if the type is Limited");
            }
            if !limited.is_set() {
                faults.required(&limited, "must not be empty when type is Limited");
            }
        }
        "Exempt" if limited.is_set() => {
            faults.forbidden(&limited, "must be nil if the type is not Limited");
        }
        _ => {}
    }
    for part in [&limited, &exempt] {
        non_negative(&part.get("nominalConcurrencyShares"), &mut faults);
        range(&part.get("lendablePercent"), 0..=100, &mut faults);
    }
    if limited.is_set() {
        non_negative(&limited.get("borrowingLimitPercent"), &mut faults);
        check_response(&limited.get("limitResponse"), &mut faults);
    }
    check_fixed(&spec, name, &mut faults);
    check_conditions(&At::root(new), &mut faults);
    faults.into_list()
}

fn check_response(response: &At<'_>, faults: &mut Faults) {
    required_one_of(&response.get("type"), &["Queue", "Reject"], faults);
    let queuing = response.get("queuing");
    match response.get("type").text() {
        "Reject" if queuing.is_set() => {
            faults.forbidden(
                &queuing,
                "must be nil if the type of limitResponse is not Queue",
            );
        }
        "Queue" if !queuing.is_set() => {
            faults.required(
                &queuing,
                "must not be empty if the type of limitResponse is Queue",
            );
        }
        "Queue" => check_queuing(&queuing, faults),
        _ => {}
    }
}

fn check_queuing(queuing: &At<'_>, faults: &mut Faults) {
    let (queues, hand) = (queuing.get("queues"), queuing.get("handSize"));
    let length = queuing.get("queueLengthLimit");
    range(&length, 1..=i64::from(i32::MAX), faults);
    range(&queues, 1..=MAX_QUEUES, faults);
    let (deck, cards) = (queues.int().unwrap_or(0), hand.int().unwrap_or(0));
    if cards <= 0 {
        faults.invalid(&hand, "must be positive");
    } else if cards > deck {
        let why = format!("should not be greater than queues ({deck})");
        faults.invalid(&hand, &why);
    } else if entropy(deck, cards) > MAX_ENTROPY {
        let why = format!(
            "required entropy bits of deckSize {deck} and handSize {cards} should not be greater \
             than {MAX_ENTROPY}"
        );
        faults.invalid(&hand, &why);
    }
}

/// Bits of a flow's hash that dealing a hand takes, roughly and rather too many.
fn entropy(deck: i64, cards: i64) -> i64 {
    ((deck as f64).log2() * cards as f64).ceil() as i64
}

/// The contents that nobody may change; of `exempt`, its shares are the cluster's business.
fn check_fixed(spec: &At<'_>, name: &str, faults: &mut Faults) {
    let fixed = defaults::is_mandatory(name).then(defaults::priority_levels);
    let Some(mut fixed) = fixed.and_then(|all| defaults::named(all, name)) else {
        return;
    };
    let mut have = spec.value().clone();
    let mut except = "";
    if name == defaults::EXEMPT {
        put(&mut have, "exempt", None);
        put(&mut fixed["spec"], "exempt", None);
        except = " except the 'spec.exempt' field";
    }
    if have != fixed["spec"] {
        let why = format!("spec of '{name}'{except} must equal the fixed value");
        faults.invalid(spec, &why);
    }
}
