//! EndpointSlice: some of the addresses behind a Service.

use serde_json::Value;

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, name, string};
use crate::registry::core::endpoints::reachable_ip;
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{
    At, Faults, dns_label, dns_subdomain, immutable, one_of, port_number, required, required_one_of,
};
use crate::registry::value::{default, default_text, int, list, list_mut, text};

/// EndpointSlice of discovery.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
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
    default: set_defaults,
    prepare: prepare::generation,
    validate,
    ..Kind::PLAIN
};

fn set_defaults(slice: &mut Value) {
    for port in list_mut(slice, "/ports") {
        default(port, "name", "");
        default_text(port, "protocol", "TCP");
    }
}

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

/// Most endpoints of one slice.
const MAX_ENDPOINTS: usize = 1000;
/// Most addresses of one endpoint, and most ports of a slice.
const MAX_ENTRIES: usize = 100;

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let root = At::root(new);
    let kind = root.get("addressType");
    required_one_of(&kind, &["IPv4", "IPv6", "FQDN"], &mut faults);
    if let Some(old) = old {
        immutable(&kind, &At::root(old).get("addressType"), &mut faults);
    }
    too_many(&root.get("endpoints"), MAX_ENDPOINTS, &mut faults);
    too_many(&root.get("ports"), MAX_ENTRIES, &mut faults);
    for endpoint in root.get("endpoints").each() {
        let addresses = endpoint.get("addresses");
        required(&addresses, &mut faults);
        too_many(&addresses, MAX_ENTRIES, &mut faults);
        addresses
            .each()
            .for_each(|at| address(&at, kind.text(), &mut faults));
        dns_label(&endpoint.get("hostname"), &mut faults);
        dns_subdomain(&endpoint.get("nodeName"), &mut faults);
    }
    ports(&root.get("ports"), &mut faults);
    faults.into_list()
}

fn too_many(at: &At<'_>, most: usize, faults: &mut Faults) {
    if at.len() > most {
        faults.invalid_value(
            at,
            &at.len().into(),
            &format!("must have at most {most} items"),
        );
    }
}

fn address(at: &At<'_>, kind: &str, faults: &mut Faults) {
    let parsed = at.text().parse::<std::net::IpAddr>().ok();
    match kind {
        "FQDN" => dns_subdomain(at, faults),
        "IPv4" if !parsed.is_some_and(|ip| ip.is_ipv4()) => {
            faults.invalid(at, "must be a valid IPv4 address")
        }
        "IPv6" if !parsed.is_some_and(|ip| ip.is_ipv6()) => {
            faults.invalid(at, "must be a valid IPv6 address")
        }
        _ => reachable_ip(at, faults),
    }
}

fn ports(ports: &At<'_>, faults: &mut Faults) {
    let mut names = Vec::new();
    for port in ports.each() {
        let name = port.get("name");
        dns_label(&name, faults);
        if names.contains(&name.text()) {
            faults.duplicate(&name);
        }
        names.push(name.text());
        port_number(&port.get("port"), faults);
        one_of(&port.get("protocol"), &["SCTP", "TCP", "UDP"], faults);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn slices_are_checked() {
        let slice = json!({"addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1", "fd00::1", "127.0.0.1"]}, {}],
            "ports": [{"name": "a", "port": 80}, {"name": "a", "port": 0}]});
        let faults = validate(&slice, None);
        assert_eq!(
            Faults::paths(&faults),
            [
                "endpoints[0].addresses[1]",
                "endpoints[0].addresses[2]",
                "endpoints[1].addresses",
                "ports[1].name",
                "ports[1].port"
            ]
        );
        let moved = json!({"addressType": "IPv6"});
        assert_eq!(
            Faults::paths(&validate(&moved, Some(&slice))),
            ["addressType"]
        );
    }

    #[test]
    fn the_row_shows_ports_and_addresses() {
        let slice = json!({"metadata": {"name": "s"}, "addressType": "IPv4", "ports": [{"port": 80}],
            "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}]});
        let expected = json!(["s", "IPv4", "80", "10.0.0.1,10.0.0.2", "<unknown>"]);
        assert_eq!(Value::from(cells(&slice, 0)), expected);
    }
}
