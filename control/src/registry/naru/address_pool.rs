//! AddressPool: the addresses that load balancers of a cluster without a cloud get.
//!
//! It has the shape of a custom resource: a spec that users write, a status that the balancer
//! controller writes. What an address range is, both sides know from `naru_core::AddressRange`.

use naru_core::AddressRange;
use serde_json::Value;

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, integer, name, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, selector};
use crate::registry::value::{child, default, flag, int, list};

/// AddressPool of naru.dev/v1alpha1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "naru.dev",
    version: "v1alpha1",
    kind: "AddressPool",
    plural: "addresspools",
    singular: "addresspool",
    namespaced: false,
    status: true,
    columns: &[
        NAME,
        string("Addresses"),
        string("Auto-Assign"),
        integer("Total"),
        integer("Assigned"),
        AGE,
    ],
    cells,
    default: set_defaults,
    prepare: prepare::status_and_generation,
    validate,
    ..Kind::PLAIN
};

fn set_defaults(pool: &mut Value) {
    if let Some(spec) = child(pool, "spec") {
        default(spec, "autoAssign", true);
    }
}

fn cells(pool: &Value, now: i64) -> Vec<Value> {
    let addresses = list(pool, "/spec/addresses").iter();
    let addresses: Vec<_> = addresses.filter_map(Value::as_str).collect();
    vec![
        name(pool),
        addresses.join(",").into(),
        flag(pool, "/spec/autoAssign").to_string().into(),
        int(pool, "/status/total").unwrap_or(0).into(),
        int(pool, "/status/assigned").unwrap_or(0).into(),
        age(pool, now),
    ]
}

fn validate(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    let addresses = spec.get("addresses");
    if addresses.is_empty() {
        faults.required(&addresses, "");
    }
    for range in addresses.each() {
        address_range(&range, &mut faults);
    }
    for labels in ["serviceSelector", "namespaceSelector"] {
        selector(&spec.get(labels), &mut faults);
    }
    faults.into_list()
}

/// A range of addresses that hosts can have.
fn address_range(at: &At<'_>, faults: &mut Faults) {
    let range: AddressRange = match at.text().parse() {
        Ok(range) => range,
        Err(fault) => return faults.invalid(at, &format!("{fault}")),
    };
    let ends = [range.first(), range.last()];
    if ends
        .iter()
        .any(|end| end.is_loopback() || end.is_unspecified() || end.is_multicast())
    {
        faults.invalid(at, "holds addresses that no host can have");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(spec: Value) -> Vec<String> {
        let faults = validate(&json!({ "spec": spec }), None);
        faults.into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn every_fault_of_a_pool_is_named() {
        assert!(faults(json!({"addresses": ["192.0.2.0/28", "fd00::1-fd00::9"]})).is_empty());
        assert_eq!(faults(json!({"addresses": []})), ["spec.addresses"]);
        let bad = json!({"addresses": ["192.0.2.1", "192.0.2.1/28", "127.0.0.1", "0.0.0.0/0", "x"],
            "serviceSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}});
        assert_eq!(
            faults(bad),
            [
                "spec.addresses[1]",
                "spec.addresses[2]",
                "spec.addresses[3]",
                "spec.addresses[4]",
                "spec.serviceSelector.matchExpressions[0].operator",
            ]
        );
    }

    #[test]
    fn a_pool_gives_addresses_unasked_unless_it_says_no() {
        let mut pool = json!({"spec": {"addresses": ["192.0.2.1"]}});
        set_defaults(&mut pool);
        assert_eq!(pool["spec"]["autoAssign"], true);
    }
}
