//! Which objects a quota is about: one with scopes is only about pods, or claims, that fit all of them.

use serde_json::Value;

use super::usage::{crosses_namespaces, is_best_effort};
use crate::registry::value::{list, present, text};

/// Whether a quota is about this object.
pub(crate) fn applies(quota: &Value, group: &str, plural: &str, object: &Value) -> bool {
    let mut scopes = list(quota, "/spec/scopes").iter().filter_map(Value::as_str);
    let mut expressions = list(quota, "/spec/scopeSelector/matchExpressions").iter();
    let subject = Subject {
        kind: (group, plural),
        object,
    };
    scopes.all(|scope| subject.fits(scope, "Exists", &[]))
        && expressions.all(|expression| {
            let values: Vec<&str> = list(expression, "/values")
                .iter()
                .filter_map(Value::as_str)
                .collect();
            let (scope, operator) = (
                text(expression, "/scopeName"),
                text(expression, "/operator"),
            );
            subject.fits(scope, operator, &values)
        })
}

struct Subject<'a> {
    kind: (&'a str, &'a str),
    object: &'a Value,
}

impl Subject<'_> {
    fn fits(&self, scope: &str, operator: &str, values: &[&str]) -> bool {
        let object = self.object;
        match (self.kind, scope) {
            (("", "persistentvolumeclaims"), "VolumeAttributesClass") => {
                let class = text(object, "/spec/volumeAttributesClassName");
                compare(class, operator, values)
            }
            (("", "pods"), "PriorityClass") => {
                compare(text(object, "/spec/priorityClassName"), operator, values)
            }
            (("", "pods"), scope) => match scope {
                "BestEffort" => is_best_effort(object),
                "NotBestEffort" => !is_best_effort(object),
                "Terminating" => present(object, "/spec/activeDeadlineSeconds"),
                "NotTerminating" => !present(object, "/spec/activeDeadlineSeconds"),
                "CrossNamespacePodAffinity" => crosses_namespaces(object),
                _ => false,
            },
            _ => false,
        }
    }
}

fn compare(have: &str, operator: &str, values: &[&str]) -> bool {
    match operator {
        "In" => values.contains(&have),
        "NotIn" => !values.contains(&have),
        "Exists" => !have.is_empty(),
        "DoesNotExist" => have.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_quota_with_scopes_is_about_what_fits_all_of_them() {
        let scoped = |scopes: Value| json!({"spec": {"scopes": scopes}});
        let about = |quota: &Value, object: &Value| applies(quota, "", "pods", object);
        let busy = json!({"spec": {"activeDeadlineSeconds": 5, "containers": [
            {"name": "c", "resources": {"requests": {"cpu": "1"}}}]}});
        let idle = json!({"spec": {"containers": [{"name": "c"}]}});
        let both = scoped(json!(["NotBestEffort", "Terminating"]));
        assert!(about(&both, &busy) && !about(&both, &idle));
        assert!(about(&scoped(json!(["BestEffort"])), &idle));
        assert!(about(&json!({"spec": {}}), &idle));
        let service = json!({});
        assert!(!applies(&both, "", "services", &service));
        assert!(applies(&json!({}), "", "services", &service));
    }

    #[test]
    fn classes_are_selected_by_their_names() {
        let quota = |operator: &str, values: Value| {
            json!({"spec": {"scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": operator, "values": values}]}}})
        };
        let high = json!({"spec": {"priorityClassName": "high"}});
        let about = |quota: Value| applies(&quota, "", "pods", &high);
        assert!(about(quota("In", json!(["high"]))));
        assert!(!about(quota("NotIn", json!(["high"]))));
        assert!(about(quota("Exists", json!([]))));
        assert!(!about(quota("DoesNotExist", json!([]))));
    }
}
