//! The spec of a claim, which templates of claims have, too.

use serde_json::Value;

use crate::registry::rules::{At, Faults, dns_label, one_of, required, unique};
use crate::registry::value::{default, default_text, list_mut, text};

pub(super) fn set_defaults(spec: &mut Value) {
    for request in list_mut(spec, "/devices/requests") {
        if let Some(exactly) = request.get_mut("exactly") {
            device_defaults(exactly);
        }
        for choice in list_mut(request, "/firstAvailable") {
            device_defaults(choice);
        }
    }
}

fn device_defaults(request: &mut Value) {
    default_text(request, "allocationMode", "ExactCount");
    if text(request, "/allocationMode") == "ExactCount" {
        default(request, "count", 1);
    }
}

pub(super) fn validate(spec: &At<'_>, faults: &mut Faults) {
    let requests = spec.dig(&["devices", "requests"]);
    for request in requests.each() {
        required(&request.get("name"), faults);
        dns_label(&request.get("name"), faults);
        let (exactly, first) = (request.get("exactly"), request.get("firstAvailable"));
        if exactly.is_set() == first.is_set() {
            faults.required(
                &request,
                "exactly one of exactly or firstAvailable is required",
            );
        }
        if exactly.is_set() {
            device(&exactly, faults);
        }
        for choice in first.each() {
            required(&choice.get("name"), faults);
            device(&choice, faults);
        }
    }
    unique(requests.each().map(|request| request.get("name")), faults);
}

fn device(request: &At<'_>, faults: &mut Faults) {
    required(&request.get("deviceClassName"), faults);
    one_of(
        &request.get("allocationMode"),
        &["All", "ExactCount"],
        faults,
    );
    if request.get("allocationMode").text() == "ExactCount"
        && request.get("count").int().is_some_and(|count| count < 1)
    {
        faults.invalid(&request.get("count"), "must be greater than zero");
    }
}
