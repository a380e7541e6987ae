//! LimitRanger: what containers of a namespace ask for if they say nothing, and between which bounds
//! containers, pods and claims may ask.

mod bounds;
mod defaults;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::api::kinds::Target;
use crate::api::server::Server;
use crate::api::status::{Result, Status};
use crate::api::value::{called, items, namespace, text};
use crate::measure::{Amounts, amounts};

/// One entry of a LimitRange.
#[derive(Debug, Default)]
struct Limit {
    kind: String,
    default: Amounts,
    default_request: Amounts,
    min: Amounts,
    max: Amounts,
    ratio: Amounts,
}

impl Limit {
    fn of_range(range: &Value) -> Vec<Limit> {
        let read = |limit: &Value| Limit {
            kind: text(limit, "/type").to_owned(),
            default: amounts::read(limit.get("default")),
            default_request: amounts::read(limit.get("defaultRequest")),
            min: amounts::read(limit.get("min")),
            max: amounts::read(limit.get("max")),
            ratio: amounts::read(limit.get("maxLimitRequestRatio")),
        };
        items(range, "/spec/limits").iter().map(read).collect()
    }
}

/// The limits of a namespace.
fn limits(server: &Server, place: &str) -> Vec<Limit> {
    let Some(ranges) = server.core("limitranges") else {
        return Vec::new();
    };
    let snapshot = server.store.snapshot(ranges.resource);
    let there = snapshot.range(Some(place), None);
    there
        .flat_map(|(_, range)| Limit::of_range(&range.value()))
        .collect()
}

/// Writes the namespace's defaults into a new pod.
pub(super) fn complete(server: &Server, pod: &mut Value) {
    for limit in limits(server, namespace(pod)) {
        if limit.kind == "Container" {
            defaults::complete(&limit, pod);
        }
    }
}

/// Checks a new pod against the namespace's bounds.
///
/// # Errors
/// 403 naming everything that is out of bounds.
pub(super) fn check_pod(server: &Server, target: Target, pod: &Value) -> Result<()> {
    refuse(target, pod, &limits(server, namespace(pod)), bounds::of_pod)
}

/// Checks a claim against the namespace's bounds.
///
/// # Errors
/// 403 naming everything that is out of bounds.
pub(super) fn check_claim(server: &Server, target: Target, claim: &Value) -> Result<()> {
    let limits = limits(server, namespace(claim));
    refuse(target, claim, &limits, bounds::of_claim)
}

fn refuse(
    target: Target,
    object: &Value,
    limits: &[Limit],
    check: fn(&Limit, &Value) -> Vec<String>,
) -> Result<()> {
    let faults: Vec<String> = limits
        .iter()
        .flat_map(|limit| check(limit, object))
        .collect();
    let why = match faults.as_slice() {
        [] => return Ok(()),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    Err(Status::forbidden_object(target.kind, called(object), &why))
}
