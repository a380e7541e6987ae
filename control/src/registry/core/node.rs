//! Node: a machine that runs pods.

use naru_core::names::labels;
use serde_json::Value;

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, name, or_none, string, wide};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{
    At, Faults, immutable, is_label_value, qualified_name, required_one_of,
};
use crate::registry::value::{flag, list, members, text};

/// Node of v1.
pub(in crate::registry) static KIND: Kind = Kind {
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
    validate,
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

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    let taints = spec.get("taints");
    let mut seen = Vec::new();
    for taint in taints.each() {
        self::taint(&taint, &mut faults);
        let pair = (taint.get("key").text(), taint.get("effect").text());
        if seen.contains(&pair) {
            faults.duplicate(&taint);
        }
        seen.push(pair);
    }
    cidrs(&spec, &mut faults);
    if let Some(old) = old {
        let old = At::root(old).get("spec");
        for field in ["podCIDR", "podCIDRs", "providerID"] {
            let (new, old) = (spec.get(field), old.get(field));
            if !old.is_empty() {
                immutable(&new, &old, &mut faults);
            }
        }
    }
    faults.into_list()
}

fn taint(taint: &At<'_>, faults: &mut Faults) {
    let (key, value) = (taint.get("key"), taint.get("value"));
    qualified_name(&key, key.text(), faults);
    if !is_label_value(value.text()) {
        faults.invalid(&value, "must be a valid label value");
    }
    let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    required_one_of(&taint.get("effect"), &effects, faults);
}

fn cidrs(spec: &At<'_>, faults: &mut Faults) {
    let all = spec.get("podCIDRs");
    for cidr in all
        .each()
        .chain([spec.get("podCIDR")])
        .filter(|cidr| !cidr.is_empty())
    {
        crate::registry::rules::cidr(&cidr, faults);
    }
    if let Some(first) = all.each().next()
        && first.text() != spec.get("podCIDR").text()
    {
        faults.invalid(&all, "first value must match `podCIDR`");
    }
    let families: Vec<_> = all.each().map(|one| one.text().contains(':')).collect();
    if families.len() > 2 || (families.len() == 2 && families[0] == families[1]) {
        let rule = "may specify no more than one CIDR for each IP family";
        faults.invalid(&all, rule);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_row_shows_roles_and_addresses() {
        let node = json!({
            "metadata": {"name": "n", "labels": {
                "node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/edge": ""}},
            "spec": {"unschedulable": true},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "192.168.77.101"}],
                "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian"},
            },
        });
        let cells = cells(&node, 0);
        let expected = json!([
            "n",
            "Ready,SchedulingDisabled",
            "edge,worker",
            "<unknown>",
            "v1.36.0",
            "192.168.77.101",
            "<none>",
            "Debian",
            "<unknown>",
            "<unknown>"
        ]);
        assert_eq!(Value::from(cells), expected);
    }

    #[test]
    fn taints_and_cidrs_are_checked() {
        let node = json!({"spec": {"podCIDR": "10.244.0.0/33", "taints": [
            {"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"},
            {"key": "", "effect": "Later"}]}});
        let faults = validate(&node, None);
        assert_eq!(
            Faults::paths(&faults),
            [
                "spec.taints[1]",
                "spec.taints[2].key",
                "spec.taints[2].effect",
                "spec.podCIDR"
            ]
        );
    }

    #[test]
    fn a_node_has_one_range_for_each_family() {
        let paths = |second: &str| {
            let cidrs = json!(["10.244.0.0/24", second]);
            let node = json!({"spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": cidrs}});
            Faults::paths(&validate(&node, None)).join(" ")
        };
        assert_eq!(paths("fd00:10:244::/64"), "");
        assert_eq!(paths("10.244.1.0/24"), "spec.podCIDRs");
    }

    #[test]
    fn a_pod_cidr_is_given_once() {
        let node = |cidr: &str| json!({"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}});
        let first = node("10.244.0.0/24");
        assert_eq!(validate(&first, Some(&json!({}))), []);
        let faults = validate(&node("10.244.1.0/24"), Some(&first));
        assert_eq!(Faults::paths(&faults), ["spec.podCIDR", "spec.podCIDRs"]);
    }
}
