//! Ingress: HTTP hosts and paths, and the Services behind them.

use serde_json::{Value, json};

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, name, or_none, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{
    At, Faults, dns_subdomain, is_dns_subdomain, is_port_name, port_number, required,
    required_one_of, service_label,
};
use crate::registry::value::{list, put, text};

/// Ingress of networking.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "networking.k8s.io",
    kind: "Ingress",
    plural: "ingresses",
    singular: "ingress",
    short_names: &["ing"],
    status: true,
    columns: &[
        NAME,
        string("Class"),
        string("Hosts"),
        string("Address"),
        string("Ports"),
        AGE,
    ],
    cells,
    prepare: |new, old| {
        prepare::status_and_generation(new, old);
        if old.is_none() {
            put(new, "status", Some(json!({"loadBalancer": {}})));
        }
    },
    validate,
    warnings: |ingress| {
        let told = "spec.tls: the ingress speaks plain HTTP; certificates are not used";
        let is_told = !list(ingress, "/spec/tls").is_empty();
        is_told.then(|| told.to_owned()).into_iter().collect()
    },
    ..Kind::PLAIN
};

/// How many hosts a table row names.
const SHOWN: usize = 3;

fn cells(ingress: &Value, now: i64) -> Vec<Value> {
    let tls = !list(ingress, "/spec/tls").is_empty();
    vec![
        name(ingress),
        or_none(class(ingress)),
        hosts(ingress).into(),
        addresses(ingress).into(),
        if tls { "80, 443" } else { "80" }.into(),
        age(ingress, now),
    ]
}

/// The class in the spec, or in the annotation that came before it.
fn class(ingress: &Value) -> &str {
    match text(ingress, "/spec/ingressClassName") {
        "" => text(
            ingress,
            "/metadata/annotations/kubernetes.io~1ingress.class",
        ),
        class => class,
    }
}

fn hosts(ingress: &Value) -> String {
    let rules = list(ingress, "/spec/rules").iter();
    let named: Vec<_> = rules
        .map(|rule| text(rule, "/host"))
        .filter(|host| !host.is_empty())
        .collect();
    match named.len() {
        0 => "*".to_owned(),
        total if total > SHOWN => {
            format!("{} + {} more...", named[..SHOWN].join(","), total - SHOWN)
        }
        _ => named.join(","),
    }
}

fn addresses(ingress: &Value) -> String {
    let entries = list(ingress, "/status/loadBalancer/ingress").iter();
    let address = |entry| match text(entry, "/ip") {
        "" => text(entry, "/hostname"),
        ip => ip,
    };
    entries
        .map(address)
        .filter(|address| !address.is_empty())
        .collect::<Vec<_>>()
        .join(",")
}

fn validate(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    let (rules, backend) = (spec.get("rules"), spec.get("defaultBackend"));
    if rules.is_empty() && !backend.is_set() {
        faults.invalid_value(
            &spec,
            &"".into(),
            "either `defaultBackend` or `rules` must be specified",
        );
    }
    if backend.is_set() {
        self::backend(&backend, &mut faults);
    }
    dns_subdomain(&spec.get("ingressClassName"), &mut faults);
    for rule in rules.each() {
        host(&rule.get("host"), &mut faults);
        self::rule(&rule, &mut faults);
    }
    for tls in spec.get("tls").each() {
        tls.get("hosts")
            .each()
            .for_each(|name| host(&name, &mut faults));
    }
    faults.into_list()
}

fn rule(rule: &At<'_>, faults: &mut Faults) {
    let http = rule.get("http");
    if http.is_set() {
        required(&http.get("paths"), faults);
    }
    for path in http.get("paths").each() {
        let kind = path.get("pathType");
        required_one_of(
            &kind,
            &["Exact", "ImplementationSpecific", "Prefix"],
            faults,
        );
        http_path(&path.get("path"), kind.text(), faults);
        backend(&path.get("backend"), faults);
    }
}

/// A DNS name, the first part of which may be `*`.
fn host(at: &At<'_>, faults: &mut Faults) {
    let text = at.text();
    if text.parse::<std::net::IpAddr>().is_ok() {
        faults.invalid(at, "must be a DNS name, not an IP address");
    } else if let Some(parent) = text.strip_prefix("*.") {
        if !is_dns_subdomain(parent) {
            faults.invalid(
                at,
                "a wildcard DNS name is '*.' and a DNS subdomain (such as '*.example.com')",
            );
        }
    } else {
        dns_subdomain(at, faults);
    }
}

/// What a path that is matched literally may not contain: it would never match a cleaned request.
const UNCLEAN: [&str; 6] = ["//", "/./", "/../", "%2f", "%2F", "\\"];

fn http_path(at: &At<'_>, kind: &str, faults: &mut Faults) {
    let path = at.text();
    if kind == "ImplementationSpecific" {
        if !path.is_empty() && !path.starts_with('/') {
            faults.invalid(at, "must be an absolute path");
        }
        return;
    }
    if !path.starts_with('/') {
        return faults.invalid(at, "must be an absolute path");
    }
    if let Some(bad) = UNCLEAN.iter().find(|bad| path.contains(**bad)) {
        faults.invalid(at, &format!("must not contain '{bad}'"));
    }
    if let Some(bad) = ["/..", "/."].iter().find(|bad| path.ends_with(**bad)) {
        faults.invalid(at, &format!("cannot end with '{bad}'"));
    }
}

fn backend(backend: &At<'_>, faults: &mut Faults) {
    let (service, resource) = (backend.get("service"), backend.get("resource"));
    match (service.is_set(), resource.is_set()) {
        (false, false) => faults.required(
            backend,
            "exactly one of `service` or `resource` must be specified",
        ),
        (true, true) => faults.invalid_value(
            backend,
            &"".into(),
            "cannot set both `resource` and `service` backends",
        ),
        (true, false) => service_backend(&service, faults),
        (false, true) => {
            required(&resource.get("kind"), faults);
            required(&resource.get("name"), faults);
        }
    }
}

fn service_backend(service: &At<'_>, faults: &mut Faults) {
    required(&service.get("name"), faults);
    service_label(&service.get("name"), faults);
    let port = service.get("port");
    let (name, number) = (port.get("name"), port.get("number"));
    let numbered = number.int().is_some_and(|number| number != 0);
    match (!name.is_empty(), numbered) {
        (false, false) => faults.required(&port, "port name or number is required"),
        (true, true) => faults.invalid(&port, "cannot set both port name & port number"),
        (true, false) if !is_port_name(name.text()) => {
            faults.invalid(&name, "must be a valid port name");
        }
        (false, true) => port_number(&number, faults),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ingress(host: &str, path: &str, service: Value) -> Value {
        json!({"spec": {"rules": [{"host": host, "http": {"paths": [
            {"path": path, "pathType": "Prefix", "backend": {"service": service}}]}}]}})
    }

    #[test]
    fn good_rules_are_valid() {
        let service = || json!({"name": "web", "port": {"number": 80}});
        assert_eq!(validate(&ingress("shop.example", "/", service()), None), []);
        assert_eq!(
            validate(&ingress("*.shop.example", "/a/b", service()), None),
            []
        );
    }

    #[test]
    fn every_fault_is_named() {
        assert_eq!(
            Faults::paths(&validate(&json!({"spec": {}}), None)),
            ["spec"]
        );
        let faults = validate(
            &ingress("10.0.0.1", "x//y", json!({"name": "Web", "port": {}})),
            None,
        );
        let path = "spec.rules[0].http.paths[0]";
        assert_eq!(
            Faults::paths(&faults),
            [
                "spec.rules[0].host".to_owned(),
                format!("{path}.path"),
                format!("{path}.backend.service.name"),
                format!("{path}.backend.service.port")
            ]
        );
        let faults = validate(
            &json!({"spec": {"rules": [{"http": {"paths": [{"path": "/a//b"}]}}]}}),
            None,
        );
        assert_eq!(
            Faults::paths(&faults),
            [
                format!("{path}.pathType"),
                format!("{path}.path"),
                format!("{path}.backend")
            ]
        );
    }

    #[test]
    fn the_row_shows_class_hosts_and_ports() {
        let mut shop = ingress("shop.example", "/", json!({}));
        shop["metadata"] = json!({"name": "shop"});
        shop["spec"]["ingressClassName"] = json!("naru");
        shop["spec"]["tls"] = json!([{}]);
        shop["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.168.77.101"}]}});
        let expected = json!([
            "shop",
            "naru",
            "shop.example",
            "192.168.77.101",
            "80, 443",
            "<unknown>"
        ]);
        assert_eq!(Value::from(cells(&shop, 0)), expected);
    }
}
