//! EndpointSlice: some of the addresses behind a Service.

use serde_json::Value;

use super::age::age;
use super::column::{AGE, NAME, name, string};
use super::kind::Kind;
use super::prepare;
use super::value::{default, default_text, int, list, list_mut, text};

/// EndpointSlice of discovery.k8s.io/v1.
pub(super) static KIND: Kind = Kind {
    group: "discovery.k8s.io",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    columns: &[
        NAME,
        string("AddressType"),
        string("Ports"),
        string("Endpoints"),
        AGE,
    ],
    cells,
    default: |slice| {
        for port in list_mut(slice, "/ports") {
            default(port, "name", "");
            default_text(port, "protocol", "TCP");
        }
    },
    prepare: prepare::generation,
    ..Kind::PLAIN
};

/// How many ports or addresses a table row names.
const SHOWN: usize = 3;

fn cells(slice: &Value, now: i64) -> Vec<Value> {
    let ports = list(slice, "/ports").iter().map(port_text).collect();
    let addresses = list(slice, "/endpoints")
        .iter()
        .flat_map(|endpoint| list(endpoint, "/addresses"))
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    vec![
        name(slice),
        text(slice, "/addressType").into(),
        some(ports, "<unset>").into(),
        some(addresses, "<unset>").into(),
        age(slice, now),
    ]
}

fn port_text(port: &Value) -> String {
    match (int(port, "/port"), text(port, "/name")) {
        (Some(number), _) => number.to_string(),
        (None, "") => "*".to_owned(),
        (None, name) => name.to_owned(),
    }
}

fn some(mut names: Vec<String>, none: &str) -> String {
    let total = names.len();
    names.truncate(SHOWN);
    match total {
        0 => none.to_owned(),
        _ if total > SHOWN => format!("{} + {} more...", names.join(","), total - SHOWN),
        _ => names.join(","),
    }
}
