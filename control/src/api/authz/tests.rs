use http::Method;
use serde_json::{Value, json};

use super::super::request::Query;
use super::*;

/// One pod: `p1` on node `n1` in namespace `shop`, which mounts the Secret `s1`.
struct OnePod;

impl OnePod {
    fn pod() -> Value {
        json!({"spec": {"nodeName": "n1", "serviceAccountName": "robot",
            "volumes": [{"secret": {"secretName": "s1"}}]}})
    }
}

impl Facts for OnePod {
    fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        (namespace == "shop" && name == "p1").then(Self::pod)
    }

    fn pods_on(&self, node: &str, namespace: &str) -> Vec<Value> {
        let here = node == "n1" && namespace == "shop";
        here.then(Self::pod).into_iter().collect()
    }

    fn granted(&self, user: &User, namespace: Option<&str>) -> Vec<Grant> {
        let rule = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]});
        let here = user.name == "reader" && namespace == Some("shop");
        here.then(|| Grant::parse(&rule)).into_iter().collect()
    }
}

fn may(name: &str, groups: &[&str], method: Method, uri: &str) -> bool {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    let user = User {
        name: name.to_owned(),
        groups,
        ..User::default()
    };
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let info = RequestInfo::new(&method, path, &Query::new(query));
    authorize(&user, Attributes::of(&info), &OnePod).is_ok()
}

fn node(name: &str, method: Method, uri: &str) -> bool {
    may(&format!("system:node:{name}"), &[NODES], method, uri)
}

#[test]
fn unknown_users_see_what_is_served_and_ask_about_themselves() {
    assert!(may("jane", &[], Method::GET, "/apis"));
    assert!(!may("jane", &[], Method::GET, "/api/v1/pods"));
    assert!(!may("jane", &[], Method::POST, "/api"));
    assert!(!may("jane", &[], Method::GET, "/apiserver"));
    let ask = "/apis/authorization.k8s.io/v1";
    assert!(may(
        "jane",
        &[],
        Method::POST,
        &format!("{ask}/selfsubjectaccessreviews")
    ));
    assert!(!may(
        "jane",
        &[],
        Method::POST,
        &format!("{ask}/subjectaccessreviews")
    ));
}

#[test]
fn administrators_may_do_all() {
    assert!(may("admin", &[MASTERS], Method::DELETE, "/api/v1/nodes/n1"));
}

#[test]
fn nodes_write_only_what_is_theirs() {
    let shop = "/api/v1/namespaces/shop";
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    for (name, allowed) in [("n1", true), ("n2", false)] {
        for (method, path) in [
            (Method::PATCH, "/api/v1/nodes/n1/status".to_owned()),
            (Method::PATCH, "/api/v1/nodes/n1".to_owned()),
            (Method::PATCH, format!("{shop}/pods/p1/status")),
            (Method::DELETE, format!("{shop}/pods/p1")),
            (Method::PUT, format!("{lease}/n1")),
            (Method::POST, format!("{shop}/serviceaccounts/robot/token")),
        ] {
            assert_eq!(node(name, method, &path), allowed, "{name} {path}");
        }
    }
    assert!(node("n1", Method::DELETE, &format!("{shop}/pods/gone")));
    for (method, path) in [
        (Method::POST, format!("{shop}/pods")),
        (Method::PATCH, format!("{shop}/pods/p1")),
        (Method::PUT, format!("{shop}/secrets/s1")),
        (Method::DELETE, "/api/v1/nodes/n1".to_owned()),
        (Method::POST, format!("{shop}/serviceaccounts/other/token")),
        (Method::PUT, format!("{lease}/n2")),
    ] {
        assert!(!node("n1", method, &path), "{path}");
    }
}

#[test]
fn nodes_read_the_secrets_of_their_pods_by_name() {
    let secrets = "/api/v1/namespaces/shop/secrets";
    for (name, allowed) in [("n1", true), ("n2", false)] {
        let selected = format!("{secrets}?fieldSelector=metadata.name%3Ds1");
        for path in [
            format!("{secrets}/s1"),
            selected.clone(),
            format!("{selected}&watch=1"),
        ] {
            assert_eq!(node(name, Method::GET, &path), allowed, "{name} {path}");
        }
    }
    for path in [
        secrets.to_owned(),
        format!("{secrets}?watch=1"),
        format!("{secrets}/s2"),
        format!("{secrets}?fieldSelector=metadata.name!%3Ds1"),
        format!("{secrets}?fieldSelector=metadata.name%3Ds2"),
        "/api/v1/namespaces/other/secrets/s1".to_owned(),
        "/api/v1/secrets".to_owned(),
        "/api/v1/secrets?fieldSelector=metadata.name%3Ds1".to_owned(),
    ] {
        assert!(!node("n1", Method::GET, &path), "{path}");
    }
}

#[test]
fn the_group_alone_makes_no_node() {
    assert!(!may("jane", &[NODES], Method::GET, "/api/v1/pods"));
    assert!(!may("system:node:n1", &[], Method::GET, "/api/v1/pods"));
}
