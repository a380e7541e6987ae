//! ServiceCIDR: a range from which Services get addresses.

use serde_json::{Value, json};

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, name, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, cidr, immutable, required};
use crate::registry::value::{list, put};

/// ServiceCIDR of networking.k8s.io/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "networking.k8s.io",
    kind: "ServiceCIDR",
    plural: "servicecidrs",
    singular: "servicecidr",
    namespaced: false,
    status: true,
    inert: true,
    columns: &[NAME, string("CIDRs"), AGE],
    cells: |range, now| {
        let cidrs = list(range, "/spec/cidrs").iter().filter_map(Value::as_str);
        let cidrs = cidrs.collect::<Vec<_>>().join(",");
        vec![name(range), cidrs.into(), age(range, now)]
    },
    prepare: |new, old| {
        prepare::status(new, old);
        if old.is_none() {
            put(new, "status", Some(json!({})));
        }
    },
    validate,
    ..Kind::PLAIN
};

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let cidrs = At::root(new).dig(&["spec", "cidrs"]);
    required(&cidrs, &mut faults);
    cidrs.each().for_each(|one| cidr(&one, &mut faults));
    let families: Vec<_> = cidrs.each().map(|one| one.text().contains(':')).collect();
    if families.len() > 2 || (families.len() == 2 && families[0] == families[1]) {
        faults.invalid(&cidrs, "may only hold 2 values, one of each IP family");
    }
    if let Some(old) = old {
        immutable(&cidrs, &At::root(old).dig(&["spec", "cidrs"]), &mut faults);
    }
    faults.into_list()
}
