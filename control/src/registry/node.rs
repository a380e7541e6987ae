//! Node: a machine that runs pods.

use naru_core::names::labels;
use serde_json::Value;

use super::age::age;
use super::column::{AGE, NAME, name, or_none, string, wide};
use super::kind::Kind;
use super::prepare;
use super::value::{flag, list, members, text};

/// Node of v1.
pub(super) static KIND: Kind = Kind {
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    namespaced: false,
    status: true,
    columns: &[
        NAME,
        string("Status"),
        string("Roles"),
        AGE,
        string("Version"),
        wide("Internal-IP"),
        wide("External-IP"),
        wide("OS-Image"),
        wide("Kernel-Version"),
        wide("Container-Runtime"),
    ],
    cells,
    // A node registers with its status in one write, as the kubelet does.
    prepare: |new, old| {
        if old.is_some() {
            prepare::status(new, old);
        }
    },
    fields: &[("spec.unschedulable", |node| {
        flag(node, "/spec/unschedulable").to_string()
    })],
    ..Kind::PLAIN
};

fn cells(node: &Value, now: i64) -> Vec<Value> {
    let info = |key: &str| or_unknown(text(node, &format!("/status/nodeInfo/{key}")));
    vec![
        name(node),
        status(node).into(),
        or_none(roles(node)),
        age(node, now),
        text(node, "/status/nodeInfo/kubeletVersion").into(),
        or_none(address(node, "InternalIP")),
        or_none(address(node, "ExternalIP")),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn or_unknown(value: &str) -> Value {
    if value.is_empty() {
        "<unknown>".into()
    } else {
        value.into()
    }
}

fn status(node: &Value) -> String {
    let mut conditions = list(node, "/status/conditions").iter();
    let ready = conditions.find(|condition| text(condition, "/type") == "Ready");
    let mut status = match ready.map(|condition| text(condition, "/status")) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if flag(node, "/spec/unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(node: &Value) -> String {
    let role = |(label, value): (&str, &Value)| match label.strip_prefix(labels::NODE_ROLE_PREFIX) {
        Some(role) if !role.is_empty() => Some(role.to_owned()),
        _ if label == labels::NODE_ROLE => value.as_str().map(str::to_owned),
        _ => None,
    };
    let mut roles: Vec<_> = members(node, "/metadata/labels").filter_map(role).collect();
    roles.sort();
    roles.dedup();
    roles.join(",")
}

fn address<'a>(node: &'a Value, kind: &str) -> &'a str {
    let mut addresses = list(node, "/status/addresses").iter();
    addresses
        .find(|address| text(address, "/type") == kind)
        .map_or("", |address| text(address, "/address"))
}
