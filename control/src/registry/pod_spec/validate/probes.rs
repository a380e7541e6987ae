//! Probes and lifecycle hooks: exactly one action each.

use crate::registry::rules::{
    At, Faults, non_negative, one_of, port_number, port_or_name, range, required,
};

/// The probes and hooks of one container.
pub(super) fn validate(container: &At<'_>, faults: &mut Faults) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let at = container.get(name);
        if at.is_set() {
            probe(&at, name != "readinessProbe", faults);
        }
    }
    for hook in ["postStart", "preStop"] {
        let at = container.dig(&["lifecycle", hook]);
        if at.is_set() {
            action(&at, &["exec", "httpGet", "tcpSocket", "sleep"], faults);
        }
    }
}

fn probe(probe: &At<'_>, single_success: bool, faults: &mut Faults) {
    action(probe, &["exec", "httpGet", "tcpSocket", "grpc"], faults);
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "failureThreshold",
    ] {
        non_negative(&probe.get(field), faults);
    }
    let successes = probe.get("successThreshold");
    non_negative(&successes, faults);
    if single_success && successes.int().is_some_and(|successes| successes > 1) {
        faults.invalid(&successes, "must be 1");
    }
    range(
        &probe.get("terminationGracePeriodSeconds"),
        1..=i64::MAX,
        faults,
    );
}

fn action(at: &At<'_>, kinds: &[&str], faults: &mut Faults) {
    let given: Vec<_> = kinds.iter().filter(|kind| at.get(kind).is_set()).collect();
    if given.is_empty() {
        faults.required(at, "must specify a handler type");
    }
    for extra in given.iter().skip(1) {
        faults.forbidden(&at.get(extra), "may not specify more than 1 handler type");
    }
    if at.get("exec").is_set() {
        required(&at.dig(&["exec", "command"]), faults);
    }
    http(&at.get("httpGet"), faults);
    port(
        &at.dig(&["tcpSocket", "port"]),
        at.get("tcpSocket").is_set(),
        faults,
    );
    if at.get("grpc").is_set() && required(&at.dig(&["grpc", "port"]), faults) {
        port_number(&at.dig(&["grpc", "port"]), faults);
    }
}

fn http(action: &At<'_>, faults: &mut Faults) {
    if !action.is_set() {
        return;
    }
    required(&action.get("path"), faults);
    port(&action.get("port"), true, faults);
    one_of(&action.get("scheme"), &["HTTP", "HTTPS"], faults);
    for header in action.get("httpHeaders").each() {
        required(&header.get("name"), faults);
    }
}

fn port(at: &At<'_>, wanted: bool, faults: &mut Faults) {
    if wanted && required(at, faults) {
        port_or_name(at, faults);
    }
}
