//! Families of objects and what becomes of them.

use super::graph::{FOREGROUND, Graph, ORPHAN, Object, Owner, Verdict};
use crate::controllers::runtime::uids::Uids;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

fn object(name: &str, owners: &[&str], edit: Value) -> Object {
    let references: Vec<_> = owners
        .iter()
        .map(|uid| json!({"apiVersion": "v1", "kind": "X", "name": uid, "uid": uid, "blockOwnerDeletion": true}))
        .collect();
    let mut meta =
        json!({"name": name, "namespace": "ns", "uid": name, "ownerReferences": references});
    for (key, value) in edit.as_object().unwrap() {
        meta[key] = value.clone();
    }
    let meta: ObjectMeta = serde_json::from_value(meta).unwrap();
    Object::read("v1", "X", &meta)
}

fn deleting(finalizer: &str) -> Value {
    json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [finalizer]})
}

fn verdict(graph: &Graph, uid: &str) -> Verdict {
    let object = graph
        .get(uid)
        .expect("held: it has owners or is being deleted");
    graph.verdict(uid, object, |owner| {
        graph.owner(owner).unwrap_or(Owner::Absent)
    })
}

fn family(owner: Value) -> Graph {
    let mut graph = Graph::default();
    graph.set("owner", object("owner", &[], owner));
    graph.set("child", object("child", &["owner"], json!({})));
    graph
}

#[test]
fn a_child_lives_as_long_as_an_owner_does() {
    let mut graph = family(json!({}));
    assert_eq!(verdict(&graph, "child"), Verdict::Keep);
    let woken = graph.remove("owner");
    assert!(woken.contains("child"));
    assert_eq!(
        verdict(&graph, "child"),
        Verdict::Delete { foreground: false }
    );
}

#[test]
fn of_a_plain_object_only_the_uid_is_kept() {
    let mut graph = family(json!({}));
    assert_eq!(graph.get("owner"), None);
    assert_eq!(graph.owner("owner"), Some(Owner::Solid));
    graph.set("owner", object("owner", &[], deleting(FOREGROUND)));
    assert_eq!(graph.owner("owner"), Some(Owner::Waiting));
    graph.set("owner", object("owner", &[], json!({})));
    assert_eq!(graph.get("owner"), None);
    assert!(graph.remove("owner").contains("child"));
    assert_eq!(graph.owner("owner"), None);
    assert!(graph.remove("owner").is_empty());
}

#[test]
fn what_a_list_of_its_kind_lacks_is_missing_whether_it_has_owners_or_not() {
    let mut graph = family(json!({}));
    graph.set("stays", object("stays", &[], json!({})));
    let mut listed = Uids::default();
    listed.insert("stays".into());
    let mut missing = graph.missing("v1", "X", &listed);
    missing.sort();
    assert_eq!(missing, ["child", "owner"]);
    for (version, kind) in [("v1", "Y"), ("v2", "X")] {
        assert!(graph.missing(version, kind, &listed).is_empty());
    }
}

#[test]
fn a_second_owner_keeps_a_child_which_forgets_the_first() {
    let mut graph = family(json!({}));
    graph.set("other", object("other", &[], json!({})));
    graph.set("child", object("child", &["owner", "other"], json!({})));
    graph.remove("owner");
    assert_eq!(
        verdict(&graph, "child"),
        Verdict::Detach(vec!["owner".into()])
    );
}

#[test]
fn a_child_that_arrives_after_its_owner_went_is_looked_at() {
    let mut graph = Graph::default();
    assert!(
        graph
            .set("child", object("child", &["gone"], json!({})))
            .contains("child")
    );
    assert!(graph.set("free", object("free", &[], json!({}))).is_empty());
}

#[test]
fn foreground_deletion_waits_for_the_last_blocking_dependent() {
    let mut graph = family(deleting(FOREGROUND));
    graph.set("grandchild", object("grandchild", &["child"], json!({})));
    assert_eq!(
        verdict(&graph, "owner"),
        Verdict::Await(vec!["child".into()])
    );
    assert_eq!(
        verdict(&graph, "child"),
        Verdict::Delete { foreground: true }
    );
    assert_eq!(verdict(&graph, "grandchild"), Verdict::Keep);
    graph.remove("grandchild");
    assert_eq!(
        verdict(&graph, "child"),
        Verdict::Delete { foreground: false }
    );
    assert!(graph.remove("child").contains("owner"));
    assert_eq!(verdict(&graph, "owner"), Verdict::Finish);
}

#[test]
fn a_dependent_that_does_not_block_is_not_waited_for() {
    let mut graph = family(deleting(FOREGROUND));
    let mut child = object("child", &["owner"], json!({}));
    child.owners[0].block_owner_deletion = None;
    assert!(
        graph.set("child", child).contains("owner"),
        "the owner hears of the change"
    );
    assert_eq!(verdict(&graph, "owner"), Verdict::Finish);
}

#[test]
fn orphaning_frees_the_dependents() {
    let graph = family(deleting(ORPHAN));
    assert_eq!(
        verdict(&graph, "owner"),
        Verdict::Orphan(vec!["child".into()])
    );
    assert_eq!(verdict(&graph, "child"), Verdict::Keep);
}

#[test]
fn a_foreign_finalizer_is_none_of_our_business() {
    let graph = family(deleting("example.org/mine"));
    assert_eq!(verdict(&graph, "owner"), Verdict::Keep);
}
