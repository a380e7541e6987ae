//! IPAddress: an address that some object has, by name.

use std::net::IpAddr;

use serde_json::Value;

use crate::registry::column::{NAME, name, or_none, string};
use crate::registry::kind::{FieldError, Kind, NameForm};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, immutable, required};
use crate::registry::value::text;

/// IPAddress of networking.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "networking.k8s.io",
    kind: "IPAddress",
    plural: "ipaddresses",
    singular: "ipaddress",
    short_names: &["ip"],
    namespaced: false,
    names: NameForm::PathSegment,
    inert: true,
    columns: &[NAME, string("ParentRef")],
    cells: |address, _| vec![name(address), or_none(parent(address))],
    prepare: prepare::generation,
    validate,
    fields: &[("spec.parentRef.namespace", |address| {
        text(address, "/spec/parentRef/namespace").to_owned()
    })],
    ..Kind::PLAIN
};

/// `resource.group/namespace/name`.
fn parent(address: &Value) -> String {
    let of = |key: &str| text(address, &format!("/spec/parentRef/{key}")).to_owned();
    let resource = match of("group") {
        group if group.is_empty() => of("resource"),
        group => format!("{}.{group}", of("resource")),
    };
    let parts = [resource, of("namespace"), of("name")];
    let there: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    there.join("/")
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let root = At::root(new);
    let called = root.dig(&["metadata", "name"]);
    let canonical = called
        .text()
        .parse::<IpAddr>()
        .map(|address| address.to_string());
    if canonical.as_deref() != Ok(called.text()) {
        faults.invalid(&called, "must be a valid IP address in canonical form");
    }
    let parent = root.dig(&["spec", "parentRef"]);
    if required(&parent, &mut faults) {
        required(&parent.get("resource"), &mut faults);
        required(&parent.get("name"), &mut faults);
    }
    if let Some(old) = old {
        immutable(
            &parent,
            &At::root(old).dig(&["spec", "parentRef"]),
            &mut faults,
        );
    }
    faults.into_list()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_name_is_an_address_in_its_one_form() {
        let address = |name: &str| {
            json!({"metadata": {"name": name},
                "spec": {"parentRef": {"resource": "services", "namespace": "a", "name": "b"}}})
        };
        assert_eq!(validate(&address("10.0.0.1"), None), []);
        assert_eq!(validate(&address("fd00::1"), None), []);
        assert_eq!(validate(&address("fd00:0::1"), None).len(), 1);
        assert_eq!(parent(&address("x")), "services/a/b");
    }
}
