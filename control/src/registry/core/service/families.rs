//! Address families of a Service, as far as they follow from the Service alone: what one field says
//! about the others, which combinations are faults, and what may change afterwards. Which families
//! the cluster has is the allocator's knowledge.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::registry::rules::{At, Faults, ip, one_of, unique};
use crate::registry::value::{list, put, text};

const SINGLE: &str = "SingleStack";
const POLICIES: [&str; 3] = [SINGLE, "PreferDualStack", "RequireDualStack"];
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

/// Addresses name their families, two families a policy.
pub(super) fn infer(spec: &mut Value) {
    mirror_addresses(spec);
    let mut families = list(spec, "/ipFamilies").to_vec();
    let given = families.len();
    let named = list(spec, "/clusterIPs").iter().skip(given);
    families.extend(named.filter_map(|ip| Some(family_of(ip.as_str()?)?.into())));
    let several = families.len() == 2;
    if families.len() > given {
        put(spec, "ipFamilies", Some(families.into()));
    }
    if several && text(spec, "/ipFamilyPolicy").is_empty() {
        put(spec, "ipFamilyPolicy", Some("RequireDualStack".into()));
    }
}

/// `clusterIP` and the first of `clusterIPs` are one value in two places.
fn mirror_addresses(spec: &mut Value) {
    let single = text(spec, "/clusterIP").to_owned();
    let first = text(spec, "/clusterIPs/0").to_owned();
    if !single.is_empty() && first.is_empty() {
        put(spec, "clusterIPs", Some(json!([single])));
    } else if single.is_empty() && !first.is_empty() {
        put(spec, "clusterIP", Some(first.into()));
    }
}

fn family_of(ip: &str) -> Option<&'static str> {
    let ip: IpAddr = ip.parse().ok()?;
    Some(FAMILIES[usize::from(ip.is_ipv6())])
}

/// What an update leaves out it keeps, and one that asks for a single family, and says nothing else
/// about families, gives up the second.
pub(super) fn carry_over(spec: &mut Value, old: &Value) {
    let was = |field: &str| old.pointer(&format!("/spec/{field}"));
    for field in ["ipFamilyPolicy", "ipFamilies"] {
        if list(spec, &format!("/{field}")).is_empty()
            && text(spec, &format!("/{field}")).is_empty()
        {
            put(spec, field, was(field).cloned());
        }
    }
    let had_two = !matches!(text(old, "/spec/ipFamilyPolicy"), "" | SINGLE);
    if had_two && text(spec, "/ipFamilyPolicy") == SINGLE {
        for field in ["clusterIPs", "ipFamilies"] {
            if spec.get(field) == was(field) {
                let first = list(spec, &format!("/{field}")).first().cloned();
                put(spec, field, first.map(|first| json!([first])));
            }
        }
    }
}

/// Faults of policy, families and cluster addresses.
pub(super) fn validate(spec: &At<'_>, faults: &mut Faults) {
    let (policy, families) = (spec.get("ipFamilyPolicy"), spec.get("ipFamilies"));
    if spec.get("type").text() == "ExternalName" {
        for at in [policy, families].iter().filter(|at| !at.is_empty()) {
            faults.forbidden(at, "may not be set for ExternalName services");
        }
        return;
    }
    one_of(&policy, &POLICIES, faults);
    for family in families.each() {
        one_of(&family, &FAMILIES, faults);
    }
    unique(families.each(), faults);
    if families.len() > 2 {
        faults.invalid(&families, "may only hold up to 2 values");
    }
    let all = spec.get("clusterIPs");
    if all.len() > 1 && all.each().any(|address| address.text() == "None") {
        faults.invalid(&all, "'None' must be the first and only value");
    } else {
        for (index, address) in all.each().enumerate() {
            address_of_family(&address, families.each().nth(index), faults);
        }
    }
    let of_one_family = all.len() == 2 && {
        let mut named = all.each().map(|address| family_of(address.text()));
        named.next() == named.next()
    };
    if of_one_family {
        let rule = "may specify no more than one IP for each IP family";
        faults.invalid(&all, rule);
    }
    let rule = "must be 'RequireDualStack' or 'PreferDualStack' when multiple";
    for (several, what) in [(&families, "ipFamilies"), (&all, "clusterIPs")] {
        if policy.text() == SINGLE && several.len() == 2 {
            faults.invalid(&policy, &format!("{rule} '{what}' are specified"));
        }
    }
}

fn address_of_family(address: &At<'_>, family: Option<At<'_>>, faults: &mut Faults) {
    if address.text() == "None" {
        return;
    }
    ip(address, faults);
    if let Some(family) = family
        && let Some(own) = family_of(address.text())
        && own != family.text()
        && FAMILIES.contains(&family.text())
    {
        let rule = format!(
            "expected an {} value as indicated by `ipFamilies`",
            family.text()
        );
        faults.invalid(address, &rule);
    }
}

/// What a Service has stays: the first address and family always, the second until the policy gives
/// it up.
pub(super) fn validate_update(new: &At<'_>, old: &At<'_>, faults: &mut Faults) {
    let headless = |spec: &At<'_>| spec.get("clusterIP").text() == "None";
    for field in ["clusterIPs", "ipFamilies"] {
        // Nothing was given to a headless Service, so its families may change.
        if field == "ipFamilies" && headless(new) && headless(old) {
            continue;
        }
        let (all, had) = (new.get(field), old.get(field));
        for (index, before) in had.each().enumerate() {
            match all.each().nth(index) {
                Some(after) if after.text() != before.text() => {
                    faults.invalid(&after, "may not change once set");
                }
                None if index == 0 => faults.invalid(&all, "primary value can not be unset"),
                None if new.get("ipFamilyPolicy").text() != SINGLE => {
                    let what = if field == "clusterIPs" {
                        "clusterIP"
                    } else {
                        "ipFamily"
                    };
                    let rule =
                        format!("must be set to 'SingleStack' when releasing the secondary {what}");
                    faults.invalid(&new.get("ipFamilyPolicy"), &rule);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inferred(mut spec: Value) -> Value {
        infer(&mut spec);
        spec
    }

    #[test]
    fn addresses_name_families_and_two_of_them_a_policy() {
        assert_eq!(inferred(json!({})), json!({}));
        let one = inferred(json!({"clusterIP": "fd00::1"}));
        let expected = json!({"clusterIP": "fd00::1", "clusterIPs": ["fd00::1"],
            "ipFamilies": ["IPv6"]});
        assert_eq!(one, expected);
        let two = inferred(json!({"clusterIPs": ["10.0.0.1", "fd00::1"]}));
        assert_eq!(two["clusterIP"], "10.0.0.1");
        assert_eq!(two["ipFamilies"], json!(["IPv4", "IPv6"]));
        assert_eq!(two["ipFamilyPolicy"], "RequireDualStack");
        let headless = inferred(json!({"clusterIP": "None"}));
        assert_eq!(headless["clusterIPs"], json!(["None"]));
        assert_eq!(headless.get("ipFamilies"), None);
    }

    fn faults(spec: &Value) -> String {
        let mut faults = Faults::default();
        validate(&At::root(spec), &mut faults);
        Faults::paths(&faults.into_list()).join(" ")
    }

    #[test]
    fn fields_may_not_contradict_each_other() {
        for (spec, expected) in [
            (json!({"ipFamilies": ["IPv4", "IPv4"]}), "ipFamilies[1]"),
            (json!({"ipFamilies": ["IPX"]}), "ipFamilies[0]"),
            (json!({"ipFamilyPolicy": "Both"}), "ipFamilyPolicy"),
            (
                json!({"ipFamilies": ["IPv6"], "clusterIPs": ["10.0.0.1"]}),
                "clusterIPs[0]",
            ),
            (
                json!({"clusterIPs": ["10.0.0.1", "10.0.0.2"]}),
                "clusterIPs",
            ),
            (json!({"clusterIPs": ["None", "10.0.0.2"]}), "clusterIPs"),
            (
                json!({"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4", "IPv6"],
                    "clusterIPs": ["10.0.0.1", "fd00::1"]}),
                "ipFamilyPolicy ipFamilyPolicy",
            ),
            (
                json!({"type": "ExternalName", "ipFamilies": ["IPv4"]}),
                "ipFamilies",
            ),
            (
                json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"],
                    "clusterIPs": ["fd00::1", "10.0.0.1"]}),
                "",
            ),
        ] {
            assert_eq!(faults(&spec), expected, "{spec}");
        }
    }

    fn updated(new: Value, old: Value) -> (Value, String) {
        let (mut new, old) = (new, json!({ "spec": old }));
        carry_over(&mut new, &old);
        let mut faults = Faults::default();
        validate_update(&At::root(&new), &At::root(&old).get("spec"), &mut faults);
        (new, Faults::paths(&faults.into_list()).join(" "))
    }

    #[test]
    fn a_second_address_goes_with_its_policy_only() {
        let dual = json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4", "IPv6"],
            "clusterIPs": ["10.0.0.1", "fd00::1"]});
        let mut single = dual.clone();
        single["ipFamilyPolicy"] = json!("SingleStack");
        let (single, found) = updated(single, dual.clone());
        let expected = json!({"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"],
            "clusterIPs": ["10.0.0.1"]});
        assert_eq!((single, found.as_str()), (expected, ""));
        let mut cut = dual.clone();
        cut["clusterIPs"] = json!(["10.0.0.1"]);
        assert_eq!(updated(cut, dual.clone()).1, "ipFamilyPolicy");
        let mut moved = dual.clone();
        moved["clusterIPs"] = json!(["10.0.0.2", "fd00::1"]);
        assert_eq!(updated(moved, dual.clone()).1, "clusterIPs[0]");
        let (silent, found) = updated(json!({"clusterIPs": dual["clusterIPs"]}), dual.clone());
        assert_eq!((silent, found.as_str()), (dual, ""));
    }
}
