//! Endpoints: the addresses behind a Service, in one object.

use serde_json::Value;

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, name, or_none, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::rules::{At, Faults, dns_label, ip, one_of, port_number, required};
use crate::registry::value::{default_text, int, list, list_mut, text};

/// Endpoints of v1.
pub(in crate::registry) static KIND: Kind = Kind {
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
    default: set_defaults,
    validate,
    ..Kind::PLAIN
};

fn set_defaults(endpoints: &mut Value) {
    for subset in list_mut(endpoints, "/subsets") {
        for port in list_mut(subset, "/ports") {
            default_text(port, "protocol", "TCP");
        }
    }
}

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

fn validate(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    for subset in At::root(new).get("subsets").each() {
        let (ready, not_ready) = (subset.get("addresses"), subset.get("notReadyAddresses"));
        if ready.is_empty() && not_ready.is_empty() {
            faults.required(&subset, "must specify `addresses` or `notReadyAddresses`");
        }
        for address in ready.each().chain(not_ready.each()) {
            let at = address.get("ip");
            required(&at, &mut faults);
            reachable_ip(&at, &mut faults);
        }
        let several = subset.get("ports").len() > 1;
        for port in subset.get("ports").each() {
            if several {
                required(&port.get("name"), &mut faults);
            }
            dns_label(&port.get("name"), &mut faults);
            required(&port.get("port"), &mut faults);
            port_number(&port.get("port"), &mut faults);
            one_of(&port.get("protocol"), &["SCTP", "TCP", "UDP"], &mut faults);
        }
    }
    faults.into_list()
}

/// An address to which traffic of the cluster may be sent.
pub(in crate::registry) fn reachable_ip(at: &At<'_>, faults: &mut Faults) {
    ip(at, faults);
    let Ok(address) = at.text().parse::<std::net::IpAddr>() else {
        return;
    };
    let link_local = match address {
        std::net::IpAddr::V4(address) => address.is_link_local(),
        std::net::IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    if address.is_loopback() || address.is_unspecified() || address.is_multicast() || link_local {
        faults.invalid(
            at,
            "may not be unspecified, loopback, link-local or multicast",
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_row_names_three_addresses() {
        let endpoints = json!({"subsets": [
            {"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [{"port": 80}, {"port": 81}]}]});
        assert_eq!(
            addresses(&endpoints),
            "10.0.0.1:80,10.0.0.1:81,10.0.0.2:80 + 1 more..."
        );
        assert_eq!(
            addresses(&json!({"subsets": [{"addresses": [{"ip": "::1"}]}]})),
            "::1"
        );
    }

    #[test]
    fn addresses_must_be_reachable() {
        let endpoints = json!({"subsets": [{}, {"addresses": [{"ip": "127.0.0.1"}, {}],
            "ports": [{"port": 0, "name": "a"}, {"port": 1}]}]});
        let faults = validate(&endpoints, None);
        assert_eq!(
            Faults::paths(&faults),
            [
                "subsets[0]",
                "subsets[1].addresses[0].ip",
                "subsets[1].addresses[1].ip",
                "subsets[1].ports[0].port",
                "subsets[1].ports[1].name"
            ]
        );
    }
}
