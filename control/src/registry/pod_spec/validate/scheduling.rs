//! What decides where a pod runs: node selectors, tolerations, affinity, spreading.

use crate::registry::rules::{
    At, Faults, is_label_value, label_map, one_of, qualified_name, range, required,
    required_one_of, selector,
};

const OPERATORS: [&str; 6] = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// All of it.
pub(super) fn validate(spec: &At<'_>, faults: &mut Faults) {
    label_map(&spec.get("nodeSelector"), faults);
    spec.get("tolerations")
        .each()
        .for_each(|toleration| self::toleration(&toleration, faults));
    for constraint in spec.get("topologySpreadConstraints").each() {
        spread(&constraint, faults);
    }
    let affinity = spec.get("affinity");
    node_affinity(&affinity.get("nodeAffinity"), faults);
    for kind in ["podAffinity", "podAntiAffinity"] {
        pod_affinity(&affinity.get(kind), faults);
    }
}

/// A toleration; on updates of a pod these are the only parts that may be added.
pub(in crate::registry) fn toleration(toleration: &At<'_>, faults: &mut Faults) {
    let (key, operator) = (toleration.get("key"), toleration.get("operator"));
    let (value, effect) = (toleration.get("value"), toleration.get("effect"));
    if !key.is_empty() {
        qualified_name(&key, key.text(), faults);
    }
    match operator.text() {
        "Exists" if !value.is_empty() => {
            faults.invalid(&operator, "value must be empty when `operator` is 'Exists'");
        }
        "" | "Equal" if !is_label_value(value.text()) => {
            faults.invalid(&value, "must be a valid label value");
        }
        "" | "Equal" | "Exists" => {}
        _ => faults.not_supported(&operator, &["Equal", "Exists"]),
    }
    if key.is_empty() && operator.text() != "Exists" {
        faults.invalid(&operator, "operator must be Exists when `key` is empty, which means \"match all values and all keys\"");
    }
    if !effect.text().is_empty() {
        one_of(&effect, &EFFECTS, faults);
    }
    if toleration.get("tolerationSeconds").is_set() && effect.text() != "NoExecute" {
        faults.invalid(
            &effect,
            "effect must be 'NoExecute' when `tolerationSeconds` is set",
        );
    }
}

fn spread(constraint: &At<'_>, faults: &mut Faults) {
    let skew = constraint.get("maxSkew");
    if required(&skew, faults) {
        range(&skew, 1..=i64::from(i32::MAX), faults);
    }
    required(&constraint.get("topologyKey"), faults);
    let when = constraint.get("whenUnsatisfiable");
    required_one_of(&when, &["DoNotSchedule", "ScheduleAnyway"], faults);
    selector(&constraint.get("labelSelector"), faults);
}

fn node_affinity(affinity: &At<'_>, faults: &mut Faults) {
    let hard = affinity.get("requiredDuringSchedulingIgnoredDuringExecution");
    let terms = hard.get("nodeSelectorTerms");
    if hard.is_set() && required(&terms, faults) {
        terms.each().for_each(|term| node_term(&term, faults));
    }
    for soft in affinity
        .get("preferredDuringSchedulingIgnoredDuringExecution")
        .each()
    {
        weight(&soft, faults);
        node_term(&soft.get("preference"), faults);
    }
}

fn weight(soft: &At<'_>, faults: &mut Faults) {
    let weight = soft.get("weight");
    if required(&weight, faults) {
        range(&weight, 1..=100, faults);
    }
}

fn node_term(term: &At<'_>, faults: &mut Faults) {
    for expression in term.get("matchExpressions").each() {
        let (operator, values) = (expression.get("operator"), expression.get("values"));
        qualified_name(&expression.get("key"), expression.get("key").text(), faults);
        match operator.text() {
            "In" | "NotIn" if values.is_empty() => {
                faults.required(
                    &values,
                    "must be specified when `operator` is 'In' or 'NotIn'",
                );
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                faults.forbidden(
                    &values,
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                );
            }
            "Gt" | "Lt" if values.len() != 1 => {
                faults.required(
                    &values,
                    "must hold a single value when `operator` is 'Lt' or 'Gt'",
                );
            }
            _ => required_one_of(&operator, &OPERATORS, faults),
        }
    }
}

fn pod_affinity(affinity: &At<'_>, faults: &mut Faults) {
    for term in affinity
        .get("requiredDuringSchedulingIgnoredDuringExecution")
        .each()
    {
        pod_term(&term, faults);
    }
    for soft in affinity
        .get("preferredDuringSchedulingIgnoredDuringExecution")
        .each()
    {
        weight(&soft, faults);
        pod_term(&soft.get("podAffinityTerm"), faults);
    }
}

fn pod_term(term: &At<'_>, faults: &mut Faults) {
    required(&term.get("topologyKey"), faults);
    selector(&term.get("labelSelector"), faults);
    selector(&term.get("namespaceSelector"), faults);
}
