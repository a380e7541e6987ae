//! Who may do what. The hook stands in every request's path and denies by default.
//!
//! Known are administrators (`system:masters`), the control plane's own clients, and nodes, which
//! read what a node needs and write only what is theirs ([`node`]). Everybody else may look at what
//! the server serves and ask about themselves; all else is granted by roles and bindings ([`rbac`]),
//! also to those who do not say who they are. The same answer serves requests and the reviews by
//! which clients ask beforehand.

pub(super) mod escalation;
mod grants;
mod node;
mod rbac;
mod references;
mod rule;

use serde_json::Value;

use super::authn::User;
use super::request::{RequestInfo, ResourcePath};
use super::status::{Result, Status};
pub(super) use grants::Grants;
use rbac::Act;
pub(super) use rbac::Grant;
pub(super) use rule::Rule;
use rule::{Scope, allow};

/// The group that may do all.
pub(super) const MASTERS: &str = "system:masters";
/// The group of those who do not say who they are.
pub(super) const UNKNOWN: &str = "system:unauthenticated";
/// The group of nodes.
const NODES: &str = "system:nodes";
/// The control plane's own clients.
const CONTROL_PLANE: [&str; 3] = [
    "system:kube-controller-manager",
    "system:kube-scheduler",
    "system:apiserver",
];
/// Where everybody may read; what lies below, too.
pub(super) const PUBLIC_ROOTS: [&str; 6] = [
    "/api",
    "/apis",
    "/openapi",
    "/openid",
    "/.well-known",
    "/version",
];
/// What everybody may read; what lies below is granted by name.
pub(super) const PUBLIC: [&str; 3] = ["/healthz", "/livez", "/readyz"];
/// What everybody may do: ask about themselves.
const BASIC: &[Rule] = &[
    allow(
        "authorization.k8s.io",
        &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
        &["create"],
        Scope::All,
    ),
    allow(
        "authentication.k8s.io",
        &["selfsubjectreviews"],
        &["create"],
        Scope::All,
    ),
];

/// What somebody wants to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes<'a> {
    /// The verb.
    pub(super) verb: &'a str,
    /// The path, where it is no resource's.
    pub(super) path: &'a str,
    /// The resource.
    pub(super) resource: Option<&'a ResourcePath>,
}

impl<'a> Attributes<'a> {
    /// The wish to be somebody else.
    pub(super) fn impersonation(who: &'a ResourcePath) -> Self {
        Self {
            verb: "impersonate",
            path: "",
            resource: Some(who),
        }
    }

    /// Those of a request.
    pub(super) fn of(info: &'a RequestInfo) -> Self {
        Self {
            verb: info.verb,
            path: &info.path,
            resource: info.resource.as_ref(),
        }
    }
}

/// What a decision may look up.
pub(super) trait Facts {
    /// A stored pod.
    fn pod(&self, namespace: &str, name: &str) -> Option<Value>;
    /// The pods of a namespace that are bound to a node.
    fn pods_on(&self, node: &str, namespace: &str) -> Vec<Value>;
    /// What roles grant to a user in a namespace, or in the cluster as a whole.
    fn granted(&self, user: &User, namespace: Option<&str>) -> Vec<Grant>;
}

/// Lets the request pass or explains why not.
///
/// # Errors
/// 403 with user, verb and resource.
pub(super) fn authorize(user: &User, wish: Attributes<'_>, facts: &dyn Facts) -> Result<()> {
    if allows(user, wish, facts) {
        Ok(())
    } else {
        Err(refusal(user, wish))
    }
}

/// Whether `user` may.
pub(super) fn allows(user: &User, wish: Attributes<'_>, facts: &dyn Facts) -> bool {
    if may_do_all(user) {
        return true;
    }
    let known = !user.is_in(UNKNOWN);
    let Some(path) = wish.resource else {
        let act = Act::Path(wish.verb, wish.path);
        let granted = || {
            facts
                .granted(user, None)
                .iter()
                .any(|rule| rule.allows(act))
        };
        return (known && is_discovery(wish)) || granted();
    };
    let basic = known && BASIC.iter().any(|rule| rule.covers(wish.verb, path));
    if basic || node_name(user).is_some_and(|node| node::may(node, wish.verb, path, facts)) {
        return true;
    }
    let resource = path.resource();
    let act = rbac::act(wish.verb, path, &resource);
    // A namespace is in itself where rights in it are concerned.
    let place = path.namespace.as_deref();
    let own =
        (path.group.is_empty() && path.plural == "namespaces").then_some(path.name.as_deref());
    let rules = facts.granted(user, place.or(own.flatten()));
    rules.iter().any(|rule| rule.allows(act))
}

/// Whether nothing is forbidden to `user`.
pub(super) fn may_do_all(user: &User) -> bool {
    user.is_in(MASTERS) || CONTROL_PLANE.contains(&user.name.as_str())
}

/// The rules under which `user` acts, for one who may not do all.
pub(super) fn rules(user: &User) -> impl Iterator<Item = &'static Rule> {
    let of_node = node_name(user).map_or(&[][..], |_| node::RULES);
    BASIC.iter().chain(of_node)
}

/// The node that `user` is.
pub(super) fn node_name(user: &User) -> Option<&str> {
    user.is_in(NODES)
        .then(|| user.name.strip_prefix("system:node:"))
        .flatten()
}

fn is_discovery(wish: Attributes<'_>) -> bool {
    let under = |root: &str| {
        let rest = wish.path.strip_prefix(root);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let public = PUBLIC.contains(&wish.path) || PUBLIC_ROOTS.into_iter().any(under);
    wish.verb == "get" && public
}

fn refusal(user: &User, wish: Attributes<'_>) -> Status {
    let (name, verb) = (&user.name, wish.verb);
    let Some(path) = wish.resource else {
        let path = wish.path;
        return Status::forbidden(format!(
            "forbidden: User {name:?} cannot {verb} path {path:?}"
        ));
    };
    let resource = path.resource();
    let kind = match path.group.as_str() {
        "" => path.plural.clone(),
        group => format!("{}.{group}", path.plural),
    };
    let object = match &path.name {
        Some(object) => format!("{kind} {object:?}"),
        None => kind,
    };
    let place = match &path.namespace {
        Some(namespace) => format!("in the namespace {namespace:?}"),
        None => "at the cluster scope".to_owned(),
    };
    let why = match node_name(user) {
        Some(node) if node::knows(verb, path) => {
            format!(": it has nothing to do with node {node:?} and its pods")
        }
        _ => String::new(),
    };
    Status::forbidden(format!(
        "{object} is forbidden: User {name:?} cannot {verb} resource {resource:?} in API group \
         {:?} {place}{why}",
        path.group
    ))
}

#[cfg(test)]
mod tests;
