//! What the two kinds of bindings share.

use serde_json::Value;

use crate::registry::age::age;
use crate::registry::column::name;
use crate::registry::kind::FieldError;
use crate::registry::rules::{At, Faults, required, required_one_of};
use crate::registry::value::{child, default_text, list, list_mut, text};

/// The group of roles, users and groups.
const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn cells(binding: &Value, now: i64) -> Vec<Value> {
    let role = format!(
        "{}/{}",
        text(binding, "/roleRef/kind"),
        text(binding, "/roleRef/name")
    );
    let mut cells = vec![name(binding), role.into(), age(binding, now)];
    let of = |kind: &str| {
        let subjects = list(binding, "/subjects").iter();
        let of_kind = subjects.filter(|subject| text(subject, "/kind") == kind);
        let names = of_kind.map(|subject| match text(subject, "/namespace") {
            "" => text(subject, "/name").to_owned(),
            place => format!("{place}/{}", text(subject, "/name")),
        });
        Value::from(names.collect::<Vec<_>>().join(", "))
    };
    cells.extend(["User", "Group", "ServiceAccount"].map(of));
    cells
}

pub(super) fn set_defaults(binding: &mut Value) {
    if let Some(role) = child(binding, "roleRef") {
        default_text(role, "apiGroup", GROUP);
    }
    for subject in list_mut(binding, "/subjects") {
        if matches!(text(subject, "/kind"), "User" | "Group") {
            default_text(subject, "apiGroup", GROUP);
        }
    }
}

/// `roles` are the kinds of roles that it may refer to.
pub(super) fn validate(new: &Value, old: Option<&Value>, roles: &[&str]) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let root = At::root(new);
    let role = root.get("roleRef");
    required_one_of(&role.get("kind"), roles, &mut faults);
    required(&role.get("name"), &mut faults);
    if role.get("apiGroup").text() != GROUP {
        faults.not_supported(&role.get("apiGroup"), &[GROUP]);
    }
    for subject in root.get("subjects").each() {
        required(&subject.get("name"), &mut faults);
        let kinds = &["Group", "ServiceAccount", "User"];
        required_one_of(&subject.get("kind"), kinds, &mut faults);
        let account = subject.get("kind").text() == "ServiceAccount";
        let group = if account { "" } else { GROUP };
        if subject.get("apiGroup").text() != group {
            faults.not_supported(&subject.get("apiGroup"), &[group]);
        }
        if account {
            required(&subject.get("namespace"), &mut faults);
        }
    }
    if let Some(old) = old
        && role.value() != At::root(old).get("roleRef").value()
    {
        faults.invalid(&role, "cannot change roleRef");
    }
    faults.into_list()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_binding_names_a_role_and_keeps_it() {
        let mut binding = json!({"roleRef": {"kind": "Role", "name": "a"}, "subjects": [
            {"kind": "User", "name": "jane"}, {"kind": "ServiceAccount", "name": "robot"},
            {"kind": "Pod", "name": "x"}]});
        set_defaults(&mut binding);
        let faults = validate(&binding, None, &["Role"]);
        assert_eq!(
            Faults::paths(&faults),
            [
                "subjects[1].namespace",
                "subjects[2].kind",
                "subjects[2].apiGroup"
            ]
        );
        let mut other = binding.clone();
        other["roleRef"]["name"] = "b".into();
        other["subjects"] = json!([]);
        assert_eq!(
            Faults::paths(&validate(&other, Some(&binding), &["Role"])),
            ["roleRef"]
        );
    }
}
