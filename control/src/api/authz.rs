//! Who may do what. The hook stands in every request's path and denies by default.
//!
//! Known are administrators (`system:masters`), the control plane's own clients, and nodes, which may
//! do what a node needs and write only what is theirs. Roles and bindings will be asked here, too.

use serde_json::Value;

use super::authn::User;
use super::request::{RequestInfo, ResourcePath};
use super::status::{Result, Status};
use super::value::text;

/// The group that may do all.
pub(super) const MASTERS: &str = "system:masters";
/// The group of nodes.
const NODES: &str = "system:nodes";
/// The control plane's own clients.
const CONTROL_PLANE: [&str; 3] = [
    "system:kube-controller-manager",
    "system:kube-scheduler",
    "system:apiserver",
];

/// Reads a stored pod; the only state that a decision may need.
pub(super) type PodReader<'a> = &'a dyn Fn(&str, &str) -> Option<Value>;

/// Lets the request pass or explains why not.
///
/// # Errors
/// 403 with user, verb and resource.
pub(super) fn authorize(user: &User, info: &RequestInfo, pod: PodReader<'_>) -> Result<()> {
    if user.is_in(MASTERS) || CONTROL_PLANE.contains(&user.name.as_str()) {
        return Ok(());
    }
    let allowed = match &info.resource {
        None => is_discovery(info),
        Some(path) => node_name(user).is_some_and(|node| node_may(node, info.verb, path, pod)),
    };
    if allowed {
        Ok(())
    } else {
        Err(refusal(user, info))
    }
}

fn is_discovery(info: &RequestInfo) -> bool {
    let roots = [
        "/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz",
    ];
    let under = |root: &str| {
        info.path
            .strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    info.verb == "get" && roots.into_iter().any(under)
}

fn node_name(user: &User) -> Option<&str> {
    user.is_in(NODES)
        .then(|| user.name.strip_prefix("system:node:"))
        .flatten()
}

/// What a node reads, and what it writes of its own.
fn node_may(node: &str, verb: &str, path: &ResourcePath, pod: PodReader<'_>) -> bool {
    let reads = matches!(verb, "get" | "list" | "watch");
    let name = path.name.as_deref().unwrap_or_default();
    let namespace = path.namespace.as_deref().unwrap_or_default();
    // A pod that is gone is nobody's: the node learns so from a 404, not from a refusal.
    let own_pod = || pod(namespace, name).is_none_or(|pod| text(&pod, "/spec/nodeName") == node);
    match (
        path.group.as_str(),
        path.plural.as_str(),
        path.subresource.as_deref(),
    ) {
        ("", "pods", None) if verb == "delete" => own_pod(),
        ("", "pods", Some("status")) => matches!(verb, "update" | "patch") && own_pod(),
        ("", "nodes", None) if verb == "create" => true,
        ("", "nodes", None | Some("status")) if matches!(verb, "update" | "patch") => name == node,
        ("", "events", None) => matches!(verb, "create" | "update" | "patch") || reads,
        ("coordination.k8s.io", "leases", None) => {
            namespace == "kube-node-lease" && (verb == "create" || name == node)
        }
        ("", "serviceaccounts", Some("token")) => verb == "create",
        (
            "",
            "pods" | "nodes" | "services" | "endpoints" | "configmaps" | "secrets" | "namespaces"
            | "serviceaccounts",
            None,
        )
        | ("discovery.k8s.io", "endpointslices", None)
        | ("networking.k8s.io", "networkpolicies" | "ingresses" | "ingressclasses", None) => reads,
        ("networking.k8s.io", "ingresses", Some("status")) => matches!(verb, "update" | "patch"),
        _ => false,
    }
}

fn refusal(user: &User, info: &RequestInfo) -> Status {
    let Some(path) = &info.resource else {
        let (user, verb, path) = (&user.name, info.verb, &info.path);
        return Status::forbidden(format!(
            "forbidden: User {user:?} cannot {verb} path {path:?}"
        ));
    };
    let mut resource = path.plural.clone();
    if let Some(subresource) = &path.subresource {
        resource = format!("{resource}/{subresource}");
    }
    let place = match &path.namespace {
        Some(namespace) => format!("in the namespace {namespace:?}"),
        None => "at the cluster scope".to_owned(),
    };
    Status::forbidden(format!(
        "{resource} is forbidden: User {:?} cannot {} resource {resource:?} in API group {:?} \
         {place}",
        user.name, info.verb, path.group
    ))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::super::request::Query;
    use super::*;

    fn may(name: &str, groups: &[&str], method: Method, path: &str) -> bool {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let user = User {
            name: name.to_owned(),
            groups,
        };
        let info = RequestInfo::new(&method, path, &Query::default());
        let pod = |namespace: &str, name: &str| {
            (namespace == "shop").then(|| json!({"spec": {"nodeName": name}}))
        };
        authorize(&user, &info, &pod).is_ok()
    }

    #[test]
    fn unknown_users_get_discovery_only() {
        assert!(may("jane", &[], Method::GET, "/apis"));
        assert!(!may("jane", &[], Method::GET, "/api/v1/pods"));
        assert!(!may("jane", &[], Method::POST, "/api"));
        assert!(!may("jane", &[], Method::GET, "/apiserver"));
    }

    #[test]
    fn administrators_may_do_all() {
        assert!(may("admin", &[MASTERS], Method::DELETE, "/api/v1/nodes/n1"));
    }

    #[test]
    fn nodes_write_only_what_is_theirs() {
        let node = |method, path: &str| may("system:node:n1", &[NODES], method, path);
        assert!(node(Method::PATCH, "/api/v1/nodes/n1/status"));
        assert!(!node(Method::PATCH, "/api/v1/nodes/n2/status"));
        // The reader above pretends that a pod's node is its own name.
        assert!(node(
            Method::PATCH,
            "/api/v1/namespaces/shop/pods/n1/status"
        ));
        assert!(!node(
            Method::PATCH,
            "/api/v1/namespaces/shop/pods/n2/status"
        ));
        assert!(node(Method::DELETE, "/api/v1/namespaces/gone/pods/n1"));
        assert!(!node(Method::POST, "/api/v1/namespaces/shop/pods"));
        assert!(!node(Method::PUT, "/api/v1/namespaces/shop/secrets/s"));
        let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
        assert!(node(Method::PUT, &format!("{lease}/n1")));
        assert!(!node(Method::PUT, &format!("{lease}/n2")));
    }

    #[test]
    fn the_group_alone_makes_no_node() {
        assert!(!may("jane", &[NODES], Method::GET, "/api/v1/pods"));
        assert!(!may("system:node:n1", &[], Method::GET, "/api/v1/pods"));
    }
}
