//! Which address families a Service gets in this cluster.
//!
//! What follows from the Service alone is settled where its defaults are (`registry/core/service`);
//! here is what depends on the families that the cluster has. A Service that prefers two families is
//! changed only when its writer changes what it says about them, so that a cluster that gets a
//! second family changes no Service on the way.

use serde_json::{Value, json};

use super::{invalid, items, text};
use crate::registry::kind::FieldError;

const FIELDS: [&str; 3] = ["ipFamilyPolicy", "clusterIPs", "ipFamilies"];

/// Completes policy and families of a Service that is about to be stored. `cluster` holds the
/// families of the cluster, the preferred one first.
///
/// # Errors
/// Families that the cluster does not have.
pub(super) fn settle(
    service: &mut Value,
    old: Option<&Value>,
    cluster: &[&'static str],
) -> Result<(), Vec<FieldError>> {
    if text(service, "/spec/type") == "ExternalName" || prefers_as_before(service, old) {
        return Ok(());
    }
    let selects = service
        .pointer("/spec/selector")
        .and_then(Value::as_object)
        .is_some_and(|selector| !selector.is_empty());
    let headless = text(service, "/spec/clusterIP") == "None";
    let of_writer = headless && !selects;
    let default_policy = if of_writer {
        "RequireDualStack"
    } else {
        "SingleStack"
    };
    if text(service, "/spec/ipFamilyPolicy").is_empty() {
        service["spec"]["ipFamilyPolicy"] = default_policy.into();
    }
    // The endpoints of a headless Service without a selector are its writer's, of any family.
    if !of_writer {
        refuse_missing(service, cluster)?;
    }
    let mut families: Vec<&str> = items(service, "/spec/ipFamilies")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    if families.is_empty() {
        families.extend(cluster.first());
    }
    let several = text(service, "/spec/ipFamilyPolicy") != "SingleStack";
    if several && families.len() == 1 && (of_writer || cluster.len() == 2) {
        let other = if families[0] == "IPv4" {
            "IPv6"
        } else {
            "IPv4"
        };
        families.push(other);
    }
    let families = json!(families);
    service["spec"]["ipFamilies"] = families;
    Ok(())
}

fn prefers_as_before(service: &Value, old: Option<&Value>) -> bool {
    let same = |old: &Value| {
        let field = |field: &&str| {
            let pointer = format!("/spec/{field}");
            service.pointer(&pointer) == old.pointer(&pointer)
        };
        FIELDS.iter().all(field) && text(old, "/spec/type") != "ExternalName"
    };
    text(service, "/spec/ipFamilyPolicy") == "PreferDualStack" && old.is_some_and(same)
}

fn refuse_missing(service: &Value, cluster: &[&str]) -> Result<(), Vec<FieldError>> {
    let mut faults = Vec::new();
    let policy = text(service, "/spec/ipFamilyPolicy");
    if policy == "RequireDualStack" && cluster.len() < 2 {
        let why = "this cluster is not configured for dual-stack services";
        faults.push(invalid("spec.ipFamilyPolicy", format!("{policy:?}: {why}")));
    }
    for (index, family) in items(service, "/spec/ipFamilies").iter().enumerate() {
        let family = family.as_str().unwrap_or_default();
        if !cluster.contains(&family) {
            let field = format!("spec.ipFamilies[{index}]");
            faults.push(invalid(
                &field,
                format!("{family:?}: not configured on this cluster"),
            ));
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUAL: &[&str] = &["IPv4", "IPv6"];
    const V6: &[&str] = &["IPv6"];

    /// Policy and families, or the fields at fault.
    fn settled(spec: Value, old: Option<Value>, cluster: &[&'static str]) -> String {
        let mut service = json!({ "spec": spec });
        let old = old.map(|spec| json!({ "spec": spec }));
        match settle(&mut service, old.as_ref(), cluster) {
            Ok(()) => {
                let families = items(&service, "/spec/ipFamilies").iter();
                let families: Vec<_> = families.filter_map(Value::as_str).collect();
                let policy = text(&service, "/spec/ipFamilyPolicy");
                format!("{policy} {}", families.join(","))
            }
            Err(faults) => {
                let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
                fields.join(",")
            }
        }
    }

    #[test]
    fn a_service_gets_what_it_asks_for_and_the_cluster_has() {
        let (both, single) = (json!(["IPv4", "IPv6"]), json!(["IPv6"]));
        for (spec, cluster, expected) in [
            (json!({}), DUAL, "SingleStack IPv4"),
            (json!({}), V6, "SingleStack IPv6"),
            (json!({"ipFamilies": single}), DUAL, "SingleStack IPv6"),
            (
                json!({"ipFamilyPolicy": "PreferDualStack"}),
                DUAL,
                "PreferDualStack IPv4,IPv6",
            ),
            (
                json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": single}),
                DUAL,
                "PreferDualStack IPv6,IPv4",
            ),
            (
                json!({"ipFamilyPolicy": "PreferDualStack"}),
                V6,
                "PreferDualStack IPv6",
            ),
            (
                json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": both}),
                V6,
                "spec.ipFamilyPolicy,spec.ipFamilies[0]",
            ),
            (json!({"ipFamilies": ["IPv4"]}), V6, "spec.ipFamilies[0]"),
            (json!({"type": "ExternalName"}), DUAL, " "),
        ] {
            assert_eq!(settled(spec.clone(), None, cluster), expected, "{spec}");
        }
    }

    #[test]
    fn endpoints_that_their_writer_keeps_may_be_of_any_family() {
        let bare = json!({"clusterIP": "None"});
        assert_eq!(settled(bare, None, V6), "RequireDualStack IPv6,IPv4");
        let selecting = json!({"clusterIP": "None", "selector": {"app": "x"}});
        assert_eq!(settled(selecting, None, DUAL), "SingleStack IPv4");
    }

    #[test]
    fn a_preference_is_not_acted_on_by_a_write_about_something_else() {
        let old = json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4"],
            "clusterIPs": ["10.96.0.7"]});
        let same = settled(old.clone(), Some(old.clone()), DUAL);
        assert_eq!(same, "PreferDualStack IPv4");
        let mut single = old.clone();
        single["ipFamilyPolicy"] = json!("SingleStack");
        let upgraded = settled(old, Some(single), DUAL);
        assert_eq!(upgraded, "PreferDualStack IPv4,IPv6");
    }
}
