//! What nodes may say of themselves, after authorization has let them through: it knows paths only,
//! here are the bodies.

use serde_json::Value;

use crate::api::authn::User;
use crate::api::authz::node_name;
use crate::api::kinds::Target;
use crate::api::status::{Result, Status};
use crate::api::value::{name, text};

/// Labels of the domains `kubernetes.io` and `k8s.io` that a node sets for itself; the others are
/// for administrators, who may keep pods apart by them.
const OWN_LABELS: [&str; 9] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
/// Domains whose labels are a node's own.
const OWN_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// Admits an object that `user` creates.
///
/// # Errors
/// 403 when a node makes a Node or Lease of another, or gives itself labels that are not its own.
pub(in crate::api) fn created(user: &User, target: Target, object: &Value) -> Result<()> {
    let Some(node) = node_name(user) else {
        return Ok(());
    };
    match target.kind.kind {
        "Node" | "Lease" if name(object) != node => Err(refused(
            target,
            object,
            &format!("node {node:?} may create only its own"),
        )),
        "Node" => own_labels(target, node, &Value::Null, object),
        _ => Ok(()),
    }
}

/// Admits the change of an object by `user`.
///
/// # Errors
/// 403 when a node changes its taints, or labels that are not its own.
pub(in crate::api) fn updated(user: &User, target: Target, old: &Value, new: &Value) -> Result<()> {
    let node = match node_name(user) {
        Some(node) if target.kind.kind == "Node" => node,
        _ => return Ok(()),
    };
    if old.pointer("/spec/taints") != new.pointer("/spec/taints") {
        let why = format!("node {node:?} may not change its taints");
        return Err(refused(target, new, &why));
    }
    own_labels(target, node, old, new)
}

/// Admits a request for a token; `pod` is the one that the token shall die with.
///
/// # Errors
/// 403 when a node asks for a token that is not bound to a pod of its own.
pub(in crate::api) fn token(
    user: &User,
    target: Target,
    request: &Value,
    pod: Option<&Value>,
) -> Result<()> {
    let Some(node) = node_name(user) else {
        return Ok(());
    };
    let why = match pod {
        None => "the token must be bound to a pod",
        Some(_) if text(request, "/spec/boundObjectRef/uid").is_empty() => {
            "the token must be bound to a pod with a uid"
        }
        Some(pod) if text(pod, "/spec/nodeName") != node => {
            "the token would be bound to a pod of another node"
        }
        Some(_) => return Ok(()),
    };
    let account = request.pointer("/metadata").map_or("", |_| name(request));
    Err(Status::forbidden_object(target.kind, account, why))
}

fn own_labels(target: Target, node: &str, old: &Value, new: &Value) -> Result<()> {
    let label = |object: &Value, key: &str| {
        let labels = object.pointer("/metadata/labels");
        labels.and_then(|labels| labels.get(key)).cloned()
    };
    let keys = [old, new].into_iter().flat_map(|object| {
        let labels = object
            .pointer("/metadata/labels")
            .and_then(Value::as_object);
        labels.into_iter().flatten().map(|(key, _)| key)
    });
    let mut foreign = keys.filter(|key| !is_own(key) && label(old, key) != label(new, key));
    match foreign.next() {
        None => Ok(()),
        Some(key) => {
            let why = format!("node {node:?} may not set or change the label {key:?}");
            Err(refused(target, new, &why))
        }
    }
}

/// Whether the node itself may say so.
fn is_own(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let below = |root: &str| {
        let rest = domain.strip_suffix(root);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let reserved = below("kubernetes.io") || below("k8s.io");
    !reserved || OWN_LABELS.contains(&label) || OWN_DOMAINS.into_iter().any(below)
}

fn refused(target: Target, object: &Value, why: &str) -> Status {
    Status::forbidden_object(target.kind, name(object), why)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::Kinds;
    use crate::registry::KINDS;

    fn node(name: &str) -> User {
        User {
            name: format!("system:node:{name}"),
            groups: vec!["system:nodes".into()],
            ..User::default()
        }
    }

    fn target(group: &str, plural: &str) -> Target {
        Kinds(KINDS).of(group, plural).unwrap()
    }

    #[test]
    fn a_node_registers_itself_and_no_other() {
        let object = json!({"metadata": {"name": "n1", "labels": {"kubernetes.io/os": "linux"}}});
        for target in [target("", "nodes"), target("coordination.k8s.io", "leases")] {
            assert!(created(&node("n1"), target, &object).is_ok());
            assert_eq!(created(&node("n2"), target, &object).unwrap_err().code, 403);
            assert!(created(&User::default(), target, &object).is_ok());
        }
    }

    #[test]
    fn labels_that_keep_pods_apart_are_not_the_nodes_to_set() {
        for own in [
            "kubernetes.io/os",
            "x",
            "example.com/y",
            "a.node.kubernetes.io/z",
        ] {
            assert!(is_own(own), "{own}");
        }
        for foreign in [
            "node-restriction.kubernetes.io/pci",
            "kubernetes.io/role",
            "k8s.io/x",
        ] {
            assert!(!is_own(foreign), "{foreign}");
        }
        let (old, target) = (json!({"metadata": {"name": "n1"}}), target("", "nodes"));
        let with = |label: &str| json!({"metadata": {"name": "n1", "labels": {label: "x"}}});
        let foreign = with("node-restriction.kubernetes.io/a");
        for (old, new) in [(&old, &foreign), (&foreign, &old)] {
            assert_eq!(
                updated(&node("n1"), target, old, new).unwrap_err().code,
                403
            );
        }
        assert!(updated(&node("n1"), target, &foreign, &foreign).is_ok());
        assert!(updated(&node("n1"), target, &old, &with("own")).is_ok());
        let tainted = json!({"metadata": {"name": "n1"}, "spec": {"taints": [{"key": "x"}]}});
        assert_eq!(
            updated(&node("n1"), target, &tainted, &old)
                .unwrap_err()
                .code,
            403
        );
    }

    #[test]
    fn a_node_gets_tokens_for_its_own_pods_only() {
        let target = target("", "serviceaccounts");
        let request = json!({"spec": {"boundObjectRef": {"kind": "Pod", "name": "p", "uid": "u"}}});
        let pod = json!({"spec": {"nodeName": "n1"}});
        assert!(token(&node("n1"), target, &request, Some(&pod)).is_ok());
        assert!(token(&node("n2"), target, &request, Some(&pod)).is_err());
        assert!(token(&node("n1"), target, &request, None).is_err());
        assert!(token(&node("n1"), target, &json!({}), Some(&pod)).is_err());
        assert!(token(&User::default(), target, &json!({}), None).is_ok());
    }
}
