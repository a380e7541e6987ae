//! Containers: names, images, ports, environment, resources, mounts.

use std::collections::BTreeSet;

use naru_core::Quantity;
use serde_json::Value;

use super::{ephemeral, probes, resize_policy};
use crate::registry::rules::{
    At, Faults, dns_label, dns_subdomain, ip, is_port_name, one_of, port_number, qualified_name,
    required, required_one_of, unique,
};

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];

/// All containers of a pod spec.
pub(super) fn validate(spec: &At<'_>, faults: &mut Faults) {
    let containers = spec.get("containers");
    required(&containers, faults);
    super::unique_container_names(spec, faults);
    let volumes: BTreeSet<&str> = spec
        .get("volumes")
        .each()
        .map(|volume| volume.get("name").text())
        .collect();
    let host_network = *spec.get("hostNetwork").value() == true;
    let restart = spec.get("restartPolicy");
    for list in ["containers", "initContainers"] {
        for container in spec.get(list).each() {
            resize_policy::validate(&container.get("resizePolicy"), restart.text(), faults);
        }
    }
    for container in containers.each() {
        one(&container, &volumes, host_network, faults);
        let policy = container.get("restartPolicy");
        if policy.is_set() {
            faults.forbidden(&policy, "may not be set for non-init containers");
        }
    }
    for container in spec.get("initContainers").each() {
        one(&container, &volumes, host_network, faults);
        init(&container, faults);
    }
    for container in spec.get("ephemeralContainers").each() {
        one(&container, &volumes, host_network, faults);
        ephemeral::one(&container, spec, faults);
    }
    host_ports(&containers, faults);
}

fn one(container: &At<'_>, volumes: &BTreeSet<&str>, host_network: bool, faults: &mut Faults) {
    let name = container.get("name");
    required(&name, faults);
    dns_label(&name, faults);
    image(&container.get("image"), faults);
    one_of(&container.get("imagePullPolicy"), &PULL_POLICIES, faults);
    let message_policies = ["FallbackToLogsOnError", "File"];
    one_of(
        &container.get("terminationMessagePolicy"),
        &message_policies,
        faults,
    );
    ports(&container.get("ports"), host_network, faults);
    environment(container, faults);
    resources(&container.get("resources"), faults);
    mounts(&container.get("volumeMounts"), volumes, faults);
    probes::validate(container, faults);
}

fn image(at: &At<'_>, faults: &mut Faults) {
    if required(at, faults) && at.text().trim() != at.text() {
        faults.invalid(at, "must not have leading or trailing whitespace");
    }
}

/// Init containers run to their end, unless they restart always and stay beside the others.
fn init(container: &At<'_>, faults: &mut Faults) {
    let policy = container.get("restartPolicy");
    one_of(&policy, &["Always"], faults);
    if policy.text() == "Always" {
        return;
    }
    for field in [
        "lifecycle",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
    ] {
        let at = container.get(field);
        if at.is_set() {
            faults.forbidden(
                &at,
                "may not be set for init containers without restartPolicy=Always",
            );
        }
    }
}

fn ports(ports: &At<'_>, host_network: bool, faults: &mut Faults) {
    for port in ports.each() {
        let (name, number) = (port.get("name"), port.get("containerPort"));
        if !name.text().is_empty() && !is_port_name(name.text()) {
            faults.invalid(&name, "a port's name consists of at most 15 lower case letters, digits and '-', with a letter among them (such as 'http')");
        }
        if required(&number, faults) {
            port_number(&number, faults);
        }
        let host_port = port.get("hostPort");
        if host_port.int() != Some(0) {
            port_number(&host_port, faults);
        }
        if host_network
            && host_port
                .int()
                .is_some_and(|port| Some(port) != number.int())
        {
            faults.invalid(
                &host_port,
                "must match `containerPort` when `hostNetwork` is true",
            );
        }
        ip(&port.get("hostIP"), faults);
        required_one_of(&port.get("protocol"), &PROTOCOLS, faults);
    }
    unique(ports.each().map(|port| port.get("name")), faults);
}

/// No two containers of a pod want the same port of the node.
fn host_ports(containers: &At<'_>, faults: &mut Faults) {
    let mut taken = BTreeSet::new();
    let ports = containers
        .each()
        .flat_map(|container| container.get("ports").each().collect::<Vec<_>>());
    for port in ports {
        let host_port = port.get("hostPort");
        let Some(number) = host_port.int().filter(|number| *number != 0) else {
            continue;
        };
        if !taken.insert((
            number,
            port.get("protocol").text(),
            port.get("hostIP").text(),
        )) {
            faults.duplicate(&host_port);
        }
    }
}

fn environment(container: &At<'_>, faults: &mut Faults) {
    for variable in container.get("env").each() {
        let name = variable.get("name");
        if required(&name, faults) && !is_variable_name(name.text()) {
            faults.invalid(
                &name,
                "a variable's name consists of printable ASCII characters other than '='",
            );
        }
        variable_source(&variable, faults);
    }
    for source in container.get("envFrom").each() {
        let sources = ["configMapRef", "secretRef"].map(|kind| source.get(kind));
        match sources.iter().filter(|source| source.is_set()).count() {
            1 => {}
            0 => faults.invalid(
                &source,
                "must specify one of: `configMapRef` or `secretRef`",
            ),
            _ => faults.invalid(
                &source,
                "may not have more than one field specified at a time",
            ),
        }
        for named in sources.iter().filter(|source| source.is_set()) {
            required(&named.get("name"), faults);
            dns_subdomain(&named.get("name"), faults);
        }
    }
}

fn is_variable_name(name: &str) -> bool {
    name.chars()
        .all(|c| c.is_ascii_graphic() && c != '=' || c == ' ')
}

fn variable_source(variable: &At<'_>, faults: &mut Faults) {
    let from = variable.get("valueFrom");
    if !from.is_set() {
        return;
    }
    let kinds = [
        "fieldRef",
        "resourceFieldRef",
        "configMapKeyRef",
        "secretKeyRef",
    ];
    let given: Vec<_> = kinds
        .iter()
        .map(|kind| from.get(kind))
        .filter(At::is_set)
        .collect();
    match given.len() {
        0 => faults.invalid(&from, "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"),
        1 if !variable.get("value").is_empty() => {
            faults.invalid(&from, "may not be specified when `value` is not empty");
        }
        1 => {}
        _ => faults.invalid(&from, "may not have more than one field specified at a time"),
    }
    for kind in ["configMapKeyRef", "secretKeyRef"] {
        let reference = from.get(kind);
        if reference.is_set() {
            required(&reference.get("name"), faults);
            required(&reference.get("key"), faults);
        }
    }
    field_reference(&from.get("fieldRef"), faults);
    resource_reference(&from.get("resourceFieldRef"), faults);
}

/// Fields of the pod that its containers can read from their environment.
const ENVIRONMENT_FIELDS: [&str; 8] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.podIP",
    "status.podIPs",
];

fn field_reference(reference: &At<'_>, faults: &mut Faults) {
    let path = reference.get("fieldPath");
    if !reference.is_set() || !required(&path, faults) {
        return;
    }
    let text = path.text();
    let keyed = ["metadata.labels['", "metadata.annotations['"];
    let keyed = keyed
        .iter()
        .any(|prefix| text.starts_with(prefix) && text.ends_with("']"));
    if !keyed && text != "status.hostIPs" {
        one_of(&path, &ENVIRONMENT_FIELDS, faults);
    }
}

fn resource_reference(reference: &At<'_>, faults: &mut Faults) {
    if reference.is_set() {
        let resources = [
            "limits.cpu",
            "limits.ephemeral-storage",
            "limits.memory",
            "requests.cpu",
            "requests.ephemeral-storage",
            "requests.memory",
        ];
        required_one_of(&reference.get("resource"), &resources, faults);
    }
}

fn resources(resources: &At<'_>, faults: &mut Faults) {
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    for amounts in [&limits, &requests] {
        for (name, amount) in amounts.entries() {
            qualified_name(&amount, name, faults);
            if quantity(amount.value()).is_some_and(Quantity::is_negative) {
                faults.invalid(&amount, "must be greater than or equal to 0");
            }
        }
    }
    for (name, request) in requests.entries() {
        let limit = limits.get(name);
        let pair = quantity(request.value()).zip(quantity(limit.value()));
        if pair.is_some_and(|(request, limit)| request > limit) {
            let rule = format!(
                "must be less than or equal to {name} limit of {}",
                limit.text()
            );
            faults.invalid(&request, &rule);
        }
    }
}

fn quantity(value: &Value) -> Option<Quantity> {
    value.as_str()?.parse().ok()
}

fn mounts(mounts: &At<'_>, volumes: &BTreeSet<&str>, faults: &mut Faults) {
    for mount in mounts.each() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        if required(&name, faults) && !volumes.contains(name.text()) {
            faults.invalid(&name, "there is no volume of this name");
        }
        required(&path, faults);
        for sub_path in [mount.get("subPath"), mount.get("subPathExpr")] {
            relative_path(&sub_path, faults);
        }
    }
    unique(mounts.each().map(|mount| mount.get("mountPath")), faults);
}

/// A path that stays below where it starts.
pub(super) fn relative_path(at: &At<'_>, faults: &mut Faults) {
    if at.text().starts_with('/') {
        faults.invalid(at, "must be a relative path");
    }
    if at.text().split('/').any(|part| part == "..") {
        faults.invalid(at, "must not contain '..'");
    }
}
