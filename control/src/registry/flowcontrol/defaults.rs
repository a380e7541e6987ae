//! The objects that every cluster has from the start, with the figures of Kubernetes: who is told from
//! whom, and how much of the server each may have.
//!
//! They stand beside the kinds because two of them are fixed: validation refuses another content of
//! `exempt` and `catch-all`. Who makes and keeps them is `api/fairness`.

use serde_json::{Value, json};

/// Says, with `true` or `false`, whether the server keeps the spec of the object as it is here.
pub(crate) const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
/// The level without limits, and the schema that leads to it.
pub(crate) const EXEMPT: &str = "exempt";
/// The level and the schema of whatever fits nowhere else.
pub(crate) const CATCH_ALL: &str = "catch-all";

const NODES: &str = "system:nodes";
const EVERYBODY: [&str; 2] = ["system:unauthenticated", "system:authenticated"];
const MANAGER: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";

/// Whether objects of that name have a content that nobody may change.
pub(crate) fn is_mandatory(name: &str) -> bool {
    name == EXEMPT || name == CATCH_ALL
}

/// Every PriorityLevelConfiguration.
pub(crate) fn priority_levels() -> Vec<Value> {
    let queues = |queues: u32, hand: u32| {
        json!({"type": "Queue",
        "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50}})
    };
    let level = |name: &str, shares: u32, lendable: u32, response: Value| {
        let limited = json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable,
            "limitResponse": response});
        object(name, json!({"type": "Limited", "limited": limited}))
    };
    let exempt = json!({"nominalConcurrencyShares": 0, "lendablePercent": 0});
    vec![
        object(EXEMPT, json!({"type": "Exempt", "exempt": exempt})),
        level(CATCH_ALL, 5, 0, json!({"type": "Reject"})),
        level("system", 30, 33, queues(64, 6)),
        level("node-high", 40, 25, queues(64, 6)),
        level("leader-election", 10, 0, queues(16, 4)),
        level("workload-high", 40, 50, queues(128, 6)),
        level("workload-low", 100, 90, queues(128, 6)),
        level("global-default", 20, 50, queues(128, 6)),
    ]
}

/// Every FlowSchema, in the order in which they are tried.
pub(crate) fn flow_schemas() -> Vec<Value> {
    let (by_user, by_namespace) = (Some("ByUser"), Some("ByNamespace"));
    let probes = json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]);
    let probes = json!([{"subjects": groups(&EVERYBODY), "nonResourceRules": probes}]);
    let leases = |verbs: &[&str]| {
        json!({"verbs": verbs, "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
        "namespaces": ["*"]})
    };
    let own_nodes = json!({"verbs": ["*"], "apiGroups": [""],
        "resources": ["nodes", "nodes/status"], "namespaces": ["*"], "clusterScope": true});
    let elections = json!([{"subjects": [user(MANAGER), user(SCHEDULER), own_accounts()],
        "resourceRules": [leases(&["get", "create", "update"])]}]);
    let heartbeats = json!([{"subjects": groups(&[NODES]),
        "resourceRules": [own_nodes, leases(&["*"])]}]);
    let accounts = groups(&["system:serviceaccounts"]);
    vec![
        schema(EXEMPT, EXEMPT, 1, None, all(groups(&["system:masters"]))),
        schema("probes", EXEMPT, 2, None, probes),
        schema(
            "system-leader-election",
            "leader-election",
            100,
            by_user,
            elections,
        ),
        schema("system-node-high", "node-high", 400, by_user, heartbeats),
        schema(
            "system-nodes",
            "system",
            500,
            by_user,
            all(groups(&[NODES])),
        ),
        schema(
            "kube-controller-manager",
            "workload-high",
            800,
            by_namespace,
            all(json!([user(MANAGER)])),
        ),
        schema(
            "kube-scheduler",
            "workload-high",
            800,
            by_namespace,
            all(json!([user(SCHEDULER)])),
        ),
        schema(
            "kube-system-service-accounts",
            "workload-high",
            900,
            by_namespace,
            all(json!([own_accounts()])),
        ),
        schema(
            "service-accounts",
            "workload-low",
            9000,
            by_user,
            all(accounts),
        ),
        schema(
            "global-default",
            "global-default",
            9900,
            by_user,
            all(groups(&EVERYBODY)),
        ),
        schema(
            CATCH_ALL,
            CATCH_ALL,
            10_000,
            by_user,
            all(groups(&EVERYBODY)),
        ),
    ]
}

/// The one of these objects that has the name.
pub(crate) fn named(objects: Vec<Value>, name: &str) -> Option<Value> {
    objects
        .into_iter()
        .find(|object| object["metadata"]["name"] == name)
}

fn object(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "annotations": {AUTOUPDATE: "true"}}, "spec": spec})
}

fn schema(name: &str, level: &str, precedence: u32, by: Option<&str>, rules: Value) -> Value {
    let mut spec = json!({"priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence, "rules": rules});
    if let Some(by) = by {
        spec["distinguisherMethod"] = json!({"type": by});
    }
    object(name, spec)
}

/// One rule that takes whatever these subjects ask.
fn all(subjects: Value) -> Value {
    json!([{"subjects": subjects,
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
            "namespaces": ["*"], "clusterScope": true}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}])
}

fn groups(names: &[&str]) -> Value {
    let group = |name: &&str| json!({"kind": "Group", "group": {"name": name}});
    names.iter().map(group).collect()
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

/// Every service account of the namespace of the cluster's own parts.
fn own_accounts() -> Value {
    let account = json!({"namespace": "kube-system", "name": "*"});
    json!({"kind": "ServiceAccount", "serviceAccount": account})
}
