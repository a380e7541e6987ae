//! Which request goes where, with the objects of every cluster and with changed ones.

use http::Method;
use serde_json::json;

use super::*;
use crate::api::request::Query;

const ALL: &str = "system:authenticated";

fn user(name: &str, groups: &[&str]) -> User {
    User {
        name: name.to_owned(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..User::default()
    }
}

fn info(request: &str) -> RequestInfo {
    let (method, path) = request.split_once(' ').unwrap();
    let method: Method = method.parse().unwrap();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    RequestInfo::new(&method, path, &Query::new(query))
}

fn plan(schemas: &[Value], levels: &[Value]) -> Plan {
    Plan::new(600, schemas, levels, &Plan::default())
}

fn own() -> Plan {
    plan(&defaults::flow_schemas(), &defaults::priority_levels())
}

fn schema_of(plan: &Plan, user: &User, request: &str) -> String {
    let route = plan.find(user, &info(request)).unwrap();
    route.schema.name.to_string()
}

#[test]
fn requests_go_where_they_go_in_kubernetes() {
    let plan = own();
    let manager = user("system:kube-controller-manager", &[ALL]);
    let node = user("system:node:n1", &["system:nodes", ALL]);
    let account = |name: &str| {
        let name = format!("system:serviceaccount:{name}");
        user(&name, &["system:serviceaccounts", ALL])
    };
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let pods = "GET /api/v1/namespaces/n/pods";
    for (user, request, schema) in [
        (user("a", &["system:masters", ALL]), pods, "exempt"),
        (user("a", &["system:masters"]), "GET /metrics", "exempt"),
        (user("a", &[ALL]), "GET /healthz", "probes"),
        (user("a", &[ALL]), "GET /healthz/etcd", "probes"),
        (user("a", &[ALL]), "GET /version", "global-default"),
        (user("a", &[ALL]), pods, "global-default"),
        (User::anonymous(), pods, "global-default"),
        (
            manager.clone(),
            &format!("PUT {leases}/x"),
            "system-leader-election",
        ),
        (
            manager.clone(),
            &format!("DELETE {leases}/x"),
            "kube-controller-manager",
        ),
        (
            user("system:kube-scheduler", &[ALL]),
            pods,
            "kube-scheduler",
        ),
        (
            node.clone(),
            &format!("PUT {leases}/n1"),
            "system-node-high",
        ),
        (node.clone(), "GET /api/v1/nodes/n1", "system-node-high"),
        (
            node.clone(),
            "PATCH /api/v1/nodes/n1/status",
            "system-node-high",
        ),
        (node.clone(), "GET /api/v1/nodes/n1/proxy", "system-nodes"),
        (node, pods, "system-nodes"),
        (
            account("kube-system:coredns"),
            pods,
            "kube-system-service-accounts",
        ),
        (account("kube-systems:x"), pods, "service-accounts"),
        (user("a", &[]), pods, "catch-all"),
    ] {
        assert_eq!(schema_of(&plan, &user, request), schema, "{request}");
    }
}

fn schema(name: &str, precedence: i64, rule: Value) -> Value {
    json!({"metadata": {"name": name, "uid": format!("uid-{name}")},
        "spec": {"matchingPrecedence": precedence, "rules": [rule],
            "priorityLevelConfiguration": {"name": "catch-all"}}})
}

fn rule(verbs: &[&str], resources: &[&str], namespaces: &[&str], cluster: bool) -> Value {
    json!({"subjects": [{"kind": "Group", "group": {"name": "*"}}],
        "resourceRules": [{"verbs": verbs, "apiGroups": [""], "resources": resources,
            "namespaces": namespaces, "clusterScope": cluster}]})
}

#[test]
fn the_smallest_precedence_and_then_the_first_name_wins() {
    let all = || rule(&["*"], &["*"], &["*"], true);
    let schemas = [
        schema("c", 5, all()),
        schema("b", 4, all()),
        schema("a", 5, all()),
        schema("z", 4, all()),
    ];
    let a = user("a", &[]);
    assert_eq!(schema_of(&plan(&schemas, &[]), &a, "GET /api/v1/pods"), "b");
    let later = [schemas[0].clone(), schemas[2].clone()];
    assert_eq!(schema_of(&plan(&later, &[]), &a, "GET /api/v1/pods"), "a");
}

#[test]
fn rules_look_at_verb_resource_and_place() {
    let schemas = [
        schema("one", 2, rule(&["list"], &["pods"], &["n"], false)),
        schema("sub", 3, rule(&["*"], &["pods/log"], &["*"], false)),
        schema(
            "out",
            4,
            rule(&["get"], &["nodes", "namespaces"], &[], true),
        ),
        schema("own", 5, rule(&["get"], &["namespaces"], &["n"], false)),
    ];
    let plan = plan(&schemas, &[]);
    let a = user("a", &[]);
    for (request, schema) in [
        ("GET /api/v1/namespaces/n/pods", "one"),
        ("GET /api/v1/namespaces/n/pods?watch=1", "catch-all"),
        ("GET /api/v1/namespaces/n/pods/p", "catch-all"),
        ("GET /api/v1/namespaces/m/pods", "catch-all"),
        ("GET /api/v1/pods", "catch-all"),
        ("GET /api/v1/namespaces/m/pods/p/log", "sub"),
        ("GET /api/v1/namespaces/m/pods/p/status", "catch-all"),
        ("GET /api/v1/nodes/x", "out"),
        ("GET /apis/apps/v1/nodes/x", "catch-all"),
        // A namespace is in itself.
        ("GET /api/v1/namespaces/n", "own"),
        ("GET /api/v1/namespaces/m", "catch-all"),
    ] {
        assert_eq!(schema_of(&plan, &a, request), schema, "{request}");
    }
}

#[test]
fn flows_are_told_apart_by_user_or_namespace() {
    let plan = own();
    let flow = |user: &User, request: &str| {
        let info = info(request);
        let route = plan.find(user, &info).unwrap();
        route.schema.distinguisher(user, &info).to_owned()
    };
    let pods = "GET /api/v1/namespaces/n/pods";
    assert_eq!(flow(&user("a", &[ALL]), pods), "a");
    let manager = user("system:kube-controller-manager", &[ALL]);
    assert_eq!(flow(&manager, pods), "n");
    assert_eq!(flow(&manager, "GET /api/v1/namespaces/m"), "m");
    assert_eq!(flow(&manager, "GET /api/v1/pods"), "");
    assert_eq!(flow(&user("a", &["system:masters"]), pods), "");
}

#[test]
fn what_is_mandatory_is_there_without_objects() {
    let plan = plan(&[], &[]);
    let admin = user("a", &["system:masters"]);
    assert_eq!(schema_of(&plan, &admin, "GET /api"), "exempt");
    assert_eq!(
        schema_of(&plan, &user("a", &[ALL]), "GET /api"),
        "catch-all"
    );
    let names: Vec<_> = plan.levels().map(|(name, _)| name).collect();
    assert_eq!(names, ["catch-all", "exempt"]);
    // The one level that is left has all seats.
    let (_, level) = plan.levels().next().unwrap();
    assert_eq!(level.report().1, Some(600));
}

#[test]
fn a_schema_that_leads_nowhere_is_passed_over() {
    let mut lost = schema("lost", 2, rule(&["*"], &["*"], &["*"], true));
    lost["spec"]["priorityLevelConfiguration"]["name"] = "nowhere".into();
    let plan = plan(&[lost], &[]);
    assert!(!plan.has_level("nowhere"));
    let a = user("a", &[]);
    assert_eq!(schema_of(&plan, &a, "GET /api/v1/pods"), "catch-all");
}

#[test]
fn a_level_lives_on_with_those_who_are_on_it() {
    let before = own();
    let level = |plan: &Plan| plan.levels["global-default"].level.clone();
    let turn = level(&before).enter(1, 1).unwrap();
    let mut levels = defaults::priority_levels();
    let changed = levels.last_mut().unwrap();
    changed["spec"]["limited"]["nominalConcurrencyShares"] = 200.into();
    changed["spec"]["limited"]["lendablePercent"] = 0.into();
    let after = Plan::new(600, &defaults::flow_schemas(), &levels, &before);
    assert!(Arc::ptr_eq(&level(&before), &level(&after)));
    let (report, seats) = level(&after).report();
    assert_eq!(report.tally.executing, 1);
    assert!(seats >= Some(283), "{seats:?}");
    drop(turn);
    assert_eq!(level(&after).report().0.tally.executing, 0);
}
