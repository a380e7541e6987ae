//! What is asked for, held against the bounds.

use naru_core::Quantity;
use serde_json::Value;

use super::Limit;
use crate::api::value::items;
use crate::measure::{Amounts, amounts};

/// What somebody asks for, and what it is.
struct Asked<'a> {
    kind: &'a str,
    requests: Amounts,
    limits: Amounts,
}

/// Everything in a pod that is out of bounds.
pub(super) fn of_pod(limit: &Limit, pod: &Value) -> Vec<String> {
    let asked = |of: &dyn Fn(&str) -> Amounts| Asked {
        kind: &limit.kind,
        requests: of("requests"),
        limits: of("limits"),
    };
    match limit.kind.as_str() {
        "Container" => {
            let lists = ["/spec/containers", "/spec/initContainers"];
            let containers = lists.iter().flat_map(|list| items(pod, list));
            let of = |container: &Value| {
                let part =
                    |part: &str| amounts::read(container.pointer(&format!("/resources/{part}")));
                check(limit, &asked(&part))
            };
            containers.flat_map(of).collect()
        }
        "Pod" => check(limit, &asked(&|part| amounts::of_pod(pod, part))),
        _ => Vec::new(),
    }
}

/// Everything in a claim that is out of bounds: it has requests only.
pub(super) fn of_claim(limit: &Limit, claim: &Value) -> Vec<String> {
    if limit.kind != "PersistentVolumeClaim" {
        return Vec::new();
    }
    let asked = Asked {
        kind: &limit.kind,
        requests: amounts::read(claim.pointer("/spec/resources/requests")),
        limits: Amounts::new(),
    };
    let least = limit
        .min
        .iter()
        .filter_map(|(name, bound)| least(name, *bound, &asked));
    let most = limit.max.iter().filter_map(|(name, bound)| {
        let words = words("maximum", name, &asked, *bound);
        match asked.requests.get(name) {
            None => Some(format!("{words}.  No request is specified")),
            Some(have) if have > bound => Some(format!("{words}, but request is {have}")),
            Some(_) => None,
        }
    });
    least.chain(most).collect()
}

fn check(limit: &Limit, asked: &Asked<'_>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut each = |bounds: &Amounts, rule: Rule| {
        let found = bounds
            .iter()
            .filter_map(|(name, bound)| rule(name, *bound, asked));
        faults.extend(found);
    };
    each(&limit.min, least);
    each(&limit.max, most);
    each(&limit.ratio, ratio);
    faults
}

/// A fault of one resource, if there is one.
type Rule = fn(&str, Quantity, &Asked<'_>) -> Option<String>;

fn words(which: &str, name: &str, asked: &Asked<'_>, bound: Quantity) -> String {
    format!("{which} {name} usage per {} is {bound}", asked.kind)
}

fn least(name: &str, bound: Quantity, asked: &Asked<'_>) -> Option<String> {
    let words = words("minimum", name, asked, bound);
    let Some(request) = asked.requests.get(name) else {
        return Some(format!("{words}.  No request is specified"));
    };
    if *request < bound {
        return Some(format!("{words}, but request is {request}"));
    }
    let limit = asked.limits.get(name).filter(|limit| **limit < bound)?;
    Some(format!("{words}, but limit is {limit}"))
}

fn most(name: &str, bound: Quantity, asked: &Asked<'_>) -> Option<String> {
    let words = words("maximum", name, asked, bound);
    let Some(limit) = asked.limits.get(name) else {
        return Some(format!("{words}.  No limit is specified"));
    };
    if *limit > bound {
        return Some(format!("{words}, but limit is {limit}"));
    }
    let request = asked
        .requests
        .get(name)
        .filter(|request| **request > bound)?;
    Some(format!("{words}, but request is {request}"))
}

fn ratio(name: &str, bound: Quantity, asked: &Asked<'_>) -> Option<String> {
    let words = format!(
        "{name} max limit to request ratio per {} is {bound}",
        asked.kind
    );
    let there = |amounts: &Amounts| amounts.get(name).copied().filter(|it| !it.is_zero());
    let Some(request) = there(&asked.requests) else {
        return Some(format!(
            "{words}, but no request is specified or request is 0"
        ));
    };
    let Some(limit) = there(&asked.limits) else {
        return Some(format!("{words}, but no limit is specified or limit is 0"));
    };
    let have = share(limit, request);
    (have > share(bound, Quantity::milli(1000)))
        .then(|| format!("{words}, but provided ratio is {have:.6}"))
}

/// How many times `part` goes into `whole`, by thousandths as long as these can be counted.
#[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
fn share(whole: Quantity, part: Quantity) -> f64 {
    let milli = |it: Quantity| it.milli_value();
    if milli(whole) == i64::MAX || milli(part) == i64::MAX {
        return whole.value() as f64 / part.value() as f64;
    }
    milli(whole) as f64 / milli(part) as f64
}
