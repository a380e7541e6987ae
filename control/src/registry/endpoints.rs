//! Endpoints: the addresses behind a Service, in one object.

use serde_json::Value;

use super::age::age;
use super::column::{AGE, NAME, name, or_none, string};
use super::kind::Kind;
use super::value::{default_text, int, list, list_mut, text};

/// Endpoints of v1.
pub(super) static KIND: Kind = Kind {
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    columns: &[NAME, string("Endpoints"), AGE],
    cells: |endpoints, now| {
        vec![
            name(endpoints),
            or_none(addresses(endpoints)),
            age(endpoints, now),
        ]
    },
    default: |endpoints| {
        for subset in list_mut(endpoints, "/subsets") {
            for port in list_mut(subset, "/ports") {
                default_text(port, "protocol", "TCP");
            }
        }
    },
    ..Kind::PLAIN
};

/// How many addresses a table row names.
const SHOWN: usize = 3;

fn addresses(endpoints: &Value) -> String {
    let mut shown: Vec<String> = Vec::new();
    let mut total = 0;
    for subset in list(endpoints, "/subsets") {
        let ports = list(subset, "/ports");
        for address in list(subset, "/addresses") {
            let ip = text(address, "/ip");
            total += ports.len().max(1);
            if ports.is_empty() {
                shown.push(ip.to_owned());
            }
            let socket = |port| format!("{}:{}", bracketed(ip), int(port, "/port").unwrap_or(0));
            shown.extend(ports.iter().map(socket));
            shown.truncate(SHOWN);
        }
    }
    let list = shown.join(",");
    if total > SHOWN {
        format!("{list} + {} more...", total - SHOWN)
    } else {
        list
    }
}

fn bracketed(ip: &str) -> String {
    if ip.contains(':') {
        format!("[{ip}]")
    } else {
        ip.to_owned()
    }
}
