//! The table row of a Service.

use serde_json::Value;

use crate::registry::age::age;
use crate::registry::column::{name, or_none};
use crate::registry::selector::map_text;
use crate::registry::value::{int, list, text};

/// The cells of one Service.
pub(super) fn cells(service: &Value, now: i64) -> Vec<Value> {
    vec![
        name(service),
        text(service, "/spec/type").into(),
        or_none(text(service, "/spec/clusterIP")),
        external(service).into(),
        or_none(ports(service)),
        age(service, now),
        map_text(service.pointer("/spec/selector")).into(),
    ]
}

fn external(service: &Value) -> String {
    let given: Vec<_> = list(service, "/spec/externalIPs")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    match text(service, "/spec/type") {
        "ExternalName" => text(service, "/spec/externalName").to_owned(),
        "LoadBalancer" => balanced(service, &given),
        _ if given.is_empty() => "<none>".to_owned(),
        _ => given.join(","),
    }
}

fn balanced(service: &Value, given: &[&str]) -> String {
    let entries = list(service, "/status/loadBalancer/ingress").iter();
    let mut addresses: Vec<_> = entries
        .map(|entry| match text(entry, "/ip") {
            "" => text(entry, "/hostname"),
            ip => ip,
        })
        .collect();
    addresses.extend(given);
    if addresses.is_empty() {
        "<pending>".to_owned()
    } else {
        addresses.join(",")
    }
}

fn ports(service: &Value) -> String {
    let port = |port: &Value| {
        let number = int(port, "/port").unwrap_or(0);
        let protocol = text(port, "/protocol");
        match int(port, "/nodePort") {
            Some(node_port) if node_port > 0 => format!("{number}:{node_port}/{protocol}"),
            _ => format!("{number}/{protocol}"),
        }
    };
    list(service, "/spec/ports")
        .iter()
        .map(port)
        .collect::<Vec<_>>()
        .join(",")
}
