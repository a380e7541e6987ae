//! The roles that every cluster has from the start: for administrators, editors and viewers of
//! namespaces, and for whoever is known.
//!
//! `admin`, `edit` and `view` gather roles by label, so that operators add their kinds to them. What
//! nodes and the control plane's own parts may do is no role: see `authz`.

use serde_json::{Value, json};

use crate::pki::DEFAULT_GROUP;

const GROUP: &str = "/apis/rbac.authorization.k8s.io/v1";
/// May have a certificate of any node approved.
const NODE_CLIENT: &str = "system:certificates.k8s.io:certificatesigningrequests:nodeclient";
/// May have the own certificate of a node approved.
const OWN_NODE_CLIENT: &str =
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient";
const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];

/// What may be seen in a namespace, by group. Secrets are not among it: they would let their reader
/// be others.
const SEEN: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "bindings",
            "configmaps",
            "endpoints",
            "events",
            "limitranges",
            "namespaces",
            "namespaces/status",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "pods",
            "pods/log",
            "pods/status",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "replicationcontrollers/status",
            "resourcequotas",
            "resourcequotas/status",
            "serviceaccounts",
            "services",
            "services/status",
        ],
    ),
    (
        "apps",
        &[
            "controllerrevisions",
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "statefulsets",
            "statefulsets/scale",
            "statefulsets/status",
        ],
    ),
    (
        "autoscaling",
        &[
            "horizontalpodautoscalers",
            "horizontalpodautoscalers/status",
        ],
    ),
    (
        "batch",
        &["cronjobs", "cronjobs/status", "jobs", "jobs/status"],
    ),
    ("discovery.k8s.io", &["endpointslices"]),
    (
        "networking.k8s.io",
        &["ingresses", "ingresses/status", "networkpolicies"],
    ),
    (
        "policy",
        &["poddisruptionbudgets", "poddisruptionbudgets/status"],
    ),
    (
        "resource.k8s.io",
        &[
            "resourceclaims",
            "resourceclaims/status",
            "resourceclaimtemplates",
        ],
    ),
];

/// What may be written there by editors, by group.
const EDITED: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "configmaps",
            "events",
            "persistentvolumeclaims",
            "pods",
            "pods/attach",
            "pods/eviction",
            "pods/exec",
            "pods/portforward",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "secrets",
            "serviceaccounts",
            "services",
        ],
    ),
    (
        "apps",
        &[
            "daemonsets",
            "deployments",
            "deployments/rollback",
            "deployments/scale",
            "replicasets",
            "replicasets/scale",
            "statefulsets",
            "statefulsets/scale",
        ],
    ),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("batch", &["cronjobs", "jobs"]),
    ("networking.k8s.io", &["ingresses", "networkpolicies"]),
    ("policy", &["poddisruptionbudgets"]),
    (
        "resource.k8s.io",
        &["resourceclaims", "resourceclaimtemplates"],
    ),
];

/// Every default role and binding, with the collection that it belongs to.
pub(super) fn all() -> Vec<(String, Value)> {
    let everything = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
        {"verbs": ["*"], "nonResourceURLs": ["*"]}]);
    let reviews = json!([
        {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
            "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]},
        {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"],
            "resources": ["selfsubjectreviews"]}]);
    let paths = |paths: &[&str]| json!([{"verbs": ["get"], "nonResourceURLs": paths}]);
    let served = [
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/",
    ];
    let monitored = [
        "/healthz",
        "/healthz/*",
        "/livez",
        "/livez/*",
        "/metrics",
        "/readyz",
        "/readyz/*",
    ];
    let public = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
    let issuer = [
        "/.well-known/openid-configuration",
        "/.well-known/openid-configuration/",
        "/openid/v1/jwks",
        "/openid/v1/jwks/",
    ];
    let delegated = json!([
        {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"]},
        {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
            "resources": ["subjectaccessreviews"]}]);
    let requests = |resource: &str, verbs: &[&str]| json!([{"verbs": verbs, "apiGroups": ["certificates.k8s.io"], "resources": [resource]}]);
    let mut all = vec![
        role("cluster-admin", everything),
        role("system:basic-user", reviews),
        role("system:discovery", paths(&served)),
        role("system:public-info-viewer", paths(&public)),
        role("system:monitoring", paths(&monitored)),
        role("system:service-account-issuer-discovery", paths(&issuer)),
        role("system:auth-delegator", delegated),
        role(
            "system:node-bootstrapper",
            requests(
                "certificatesigningrequests",
                &["create", "get", "list", "watch"],
            ),
        ),
        role(
            NODE_CLIENT,
            requests("certificatesigningrequests/nodeclient", &["create"]),
        ),
        role(
            OWN_NODE_CLIENT,
            requests("certificatesigningrequests/selfnodeclient", &["create"]),
        ),
        gathering("admin", &["admin"]),
        gathering("edit", &["edit"]),
        gathering("view", &["view"]),
    ];
    all.extend(gathered());
    all.push(trust_reader());
    all.extend(info_reader());
    let known = "system:authenticated";
    all.extend([
        binding("cluster-admin", &["system:masters"]),
        binding("system:basic-user", &[known]),
        binding("system:discovery", &[known]),
        binding("system:monitoring", &["system:monitoring"]),
        binding(
            "system:public-info-viewer",
            &[known, "system:unauthenticated"],
        ),
        binding(
            "system:service-account-issuer-discovery",
            &["system:serviceaccounts"],
        ),
        named(
            "kubeadm:kubelet-bootstrap",
            "system:node-bootstrapper",
            DEFAULT_GROUP,
        ),
        named(
            "kubeadm:node-autoapprove-bootstrap",
            NODE_CLIENT,
            DEFAULT_GROUP,
        ),
        named(
            "kubeadm:node-autoapprove-certificate-rotation",
            OWN_NODE_CLIENT,
            "system:nodes",
        ),
    ]);
    all
}

/// The roles that `view`, `edit` and `admin` gather; each of them gathers those before it.
fn gathered() -> [(String, Value); 3] {
    let rules = |list: &[(&str, &[&str])], verbs: &[&str]| -> Vec<Value> {
        let rule = |(group, resources): &(&str, &[&str])| json!({"verbs": verbs, "apiGroups": [group], "resources": resources});
        list.iter().map(rule).collect()
    };
    let mut edited = rules(EDITED, WRITE);
    edited.extend([
        json!({"verbs": READ, "apiGroups": [""], "resources":
            ["pods/attach", "pods/exec", "pods/portforward", "secrets"]}),
        json!({"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"]}),
        json!({"verbs": ["create"], "apiGroups": [""], "resources": ["serviceaccounts/token"]}),
        json!({"verbs": ([READ, WRITE].concat()), "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"]}),
    ]);
    let ruled = vec![
        json!({"verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
            "resources": ["localsubjectaccessreviews"]}),
        json!({"verbs": ([READ, WRITE].concat()), "apiGroups": ["rbac.authorization.k8s.io"],
            "resources": ["rolebindings", "roles"]}),
    ];
    [
        part("view", rules(SEEN, READ), &["view", "edit", "admin"]),
        part("edit", edited, &["edit", "admin"]),
        part("admin", ruled, &["admin"]),
    ]
}

fn label(into: &str) -> String {
    format!("rbac.authorization.k8s.io/aggregate-to-{into}")
}

fn metadata(name: &str) -> Value {
    json!({"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"}})
}

fn role(name: &str, rules: Value) -> (String, Value) {
    let role = json!({"metadata": metadata(name), "rules": rules});
    (format!("{GROUP}/clusterroles"), role)
}

/// May read how extension servers know whom to believe about their callers.
fn trust_reader() -> (String, Value) {
    let name = "extension-apiserver-authentication";
    let rules = json!([{"verbs": READ, "apiGroups": [""], "resources": ["configmaps"],
        "resourceNames": [name]}]);
    let role = json!({"metadata": metadata(&format!("{name}-reader")), "rules": rules});
    (format!("{GROUP}/namespaces/kube-system/roles"), role)
}

/// Everybody, known or not, may read what a new node has to know about the cluster.
fn info_reader() -> [(String, Value); 2] {
    let (name, path) = (
        "kubeadm:bootstrap-signer-clusterinfo",
        format!("{GROUP}/namespaces/kube-public"),
    );
    let role = json!({"metadata": metadata(name), "rules": [{"verbs": ["get"], "apiGroups": [""],
        "resources": ["configmaps"], "resourceNames": ["cluster-info"]}]});
    let group = "rbac.authorization.k8s.io";
    let binding = json!({"metadata": metadata(name),
        "subjects": [{"kind": "User", "apiGroup": group, "name": "system:anonymous"}],
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name}});
    [
        (format!("{path}/roles"), role),
        (format!("{path}/rolebindings"), binding),
    ]
}

fn gathering(name: &str, of: &[&str]) -> (String, Value) {
    let selectors: Vec<_> = of
        .iter()
        .map(|of| json!({"matchLabels": {label(of): "true"}}))
        .collect();
    let (collection, mut role) = role(name, json!([]));
    role["aggregationRule"] = json!({"clusterRoleSelectors": selectors});
    (collection, role)
}

fn part(name: &str, rules: Vec<Value>, into: &[&str]) -> (String, Value) {
    let (collection, mut role) = role(&format!("system:aggregate-to-{name}"), rules.into());
    for into in into {
        role["metadata"]["labels"][label(into)] = "true".into();
    }
    (collection, role)
}

fn binding(role: &str, groups: &[&str]) -> (String, Value) {
    bound(role, role, groups)
}

/// A binding that is not called after its role, but as other tools know it.
fn named(name: &str, role: &str, to: &str) -> (String, Value) {
    bound(name, role, &[to])
}

fn bound(name: &str, role: &str, groups: &[&str]) -> (String, Value) {
    let group = "rbac.authorization.k8s.io";
    let subjects: Vec<_> = groups
        .iter()
        .map(|name| json!({"kind": "Group", "apiGroup": group, "name": name}))
        .collect();
    let binding = json!({"metadata": metadata(name), "subjects": subjects,
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role}});
    (format!("{GROUP}/clusterrolebindings"), binding)
}
