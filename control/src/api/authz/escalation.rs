//! Nobody grants what he does not have: roles and bindings are checked against their writer's own
//! rights, unless he may `escalate` or `bind`.

use serde_json::Value;

use super::rbac::Grant;
use super::{Attributes, allows, may_do_all};
use crate::api::authn::User;
use crate::api::kinds::Target;
use crate::api::request::ResourcePath;
use crate::api::server::Server;
use crate::api::status::{Result, Status};
use crate::api::value::{name, namespace, text};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Whether objects of this kind grant anything.
pub(in crate::api) fn concerns(target: Target) -> bool {
    target.kind.group == GROUP
}

/// Whether `user` may write this role or binding; `old` is what is stored.
///
/// # Errors
/// 403 that says that more would be granted than the writer has.
pub(in crate::api) fn check(
    server: &Server,
    user: &User,
    target: Target,
    old: Option<&Value>,
    new: &Value,
) -> Result<()> {
    let kind = target.kind;
    if !concerns(target) || may_do_all(user) {
        return Ok(());
    }
    let is_role = kind.plural.ends_with("roles");
    let part = if is_role { "rules" } else { "roleRef" };
    let subjects = |object: &Value| object.get("subjects").cloned();
    let same = old.is_some_and(|old| {
        old.get(part) == new.get(part) && (is_role || subjects(old) == subjects(new))
    });
    if same && old.and_then(|old| old.get("aggregationRule")) == new.get("aggregationRule") {
        return Ok(());
    }
    let place = Some(namespace(new)).filter(|place| !place.is_empty());
    let index = server.grants.index(server);
    let (verb, plural, role) = if is_role {
        ("escalate", kind.plural, name(new))
    } else {
        let plural = match text(new, "/roleRef/kind") {
            "Role" => "roles",
            _ => "clusterroles",
        };
        ("bind", plural, text(new, "/roleRef/name"))
    };
    let path = ResourcePath {
        group: GROUP.to_owned(),
        version: "v1".to_owned(),
        namespace: place.map(str::to_owned),
        plural: plural.to_owned(),
        name: Some(role.to_owned()),
        ..ResourcePath::default()
    };
    let wish = Attributes {
        verb,
        path: "",
        resource: Some(&path),
    };
    if allows(user, wish, server) {
        return Ok(());
    }
    let wanted: Vec<Grant> = if is_role {
        Grant::of_role(new)
    } else {
        index.rules_of(place, new).to_vec()
    };
    let gathers = is_role
        && new
            .get("aggregationRule")
            .is_some_and(|rule| !rule.is_null());
    let owned = index.of_user(user, place);
    let excess: Vec<_> = wanted
        .iter()
        .filter(|rule| !rule.is_within(&owned))
        .collect();
    if excess.is_empty() && !gathers {
        return Ok(());
    }
    let excess: Vec<_> = excess
        .iter()
        .map(|rule| rule.to_value().to_string())
        .collect();
    let why = format!(
        "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        user.groups,
        excess.join("\n")
    );
    Err(Status::forbidden_object(kind, name(new), &why))
}
