//! Deletion: selectors, propagation, finalizers.

use super::*;
use support::eventually;
use support::http::MERGE_PATCH;

const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test]
async fn a_collection_is_deleted_as_far_as_its_selectors_reach() {
    let control = Control::start(&[]).await;
    for (name, app) in [("a", "x"), ("b", "x"), ("c", "y"), ("d", "y")] {
        create(&control, MAPS, &labelled(name, app)).await;
    }
    let path = format!("{MAPS}?labelSelector=app%3Dx&dryRun=All");
    control.delete(&path, &Value::Null).await.expect(200);
    let left = || async {
        control
            .get(&format!("{MAPS}?labelSelector=app"))
            .await
            .expect(200)
    };
    assert_eq!(names(&left().await), ["a", "b", "c", "d"]);
    let path = format!("{MAPS}?labelSelector=app%3Dx");
    control.delete(&path, &Value::Null).await.expect(200);
    assert_eq!(names(&left().await), ["c", "d"]);
    let path = format!("{MAPS}?fieldSelector=metadata.name%3Dc");
    control.delete(&path, &Value::Null).await.expect(200);
    assert_eq!(names(&left().await), ["d"]);
    for name in ["e", "f"] {
        create(&control, MAPS, &labelled(name, "y")).await;
    }
    // The first of those that are selected, in the order of a list.
    let path = format!("{MAPS}?labelSelector=app%3Dy&limit=2");
    control.delete(&path, &Value::Null).await.expect(200);
    assert_eq!(names(&left().await), ["f"]);
    create(&control, MAPS, &labelled("d", "y")).await;
    let path = format!("{MAPS}?fieldSelector=metadata.name%3Df&limit=1");
    control.delete(&path, &Value::Null).await.expect(200);
    let nonsense = format!("{MAPS}?labelSelector=app+in+x");
    let refused = control.delete(&nonsense, &Value::Null).await;
    refused.refused(400, "BadRequest");
    assert_eq!(names(&left().await), ["d"]);
}

#[tokio::test]
async fn a_deletion_answers_with_the_object_where_typed_clients_expect_it() {
    let control = Control::start(&[]).await;
    create(&control, PODS, &super::pod("p")).await;
    let path = format!("{PODS}/p");
    let gone = control.delete(&path, &Value::Null).await.expect(200);
    assert_eq!(gone["kind"], "Pod");
    assert_eq!(gone["spec"]["containers"][0]["image"], "i");
    control.get(&path).await.refused(404, "NotFound");
    create(&control, MAPS, &map("a")).await;
    let path = format!("{MAPS}/a");
    let gone = control.delete(&path, &Value::Null).await.expect(200);
    assert_eq!(
        (&gone["kind"], &gone["status"]),
        (&json!("Status"), &json!("Success"))
    );
}

#[tokio::test]
async fn what_a_cluster_cannot_be_without_stays_or_comes_back() {
    let control = Control::start(&[]).await;
    for name in [
        "default",
        "kube-system",
        "kube-public",
        "kube-node-lease",
        "naru-system",
    ] {
        let path = format!("/api/v1/namespaces/{name}");
        let refused = control.delete(&path, &Value::Null).await;
        let why = refused.refused(403, "Forbidden");
        assert!(why.contains("this namespace may not be deleted"), "{why}");
        let kept = control.get(&path).await.expect(200);
        assert_eq!(kept["status"]["phase"], "Active", "{name}");
    }
    let path = "/api/v1/namespaces/default/services/kubernetes";
    control.delete(path, &Value::Null).await.expect(200);
    let back = eventually("the service is back", || async {
        let answer = control.get(path).await;
        (answer.code == 200).then(|| answer.expect(200))
    });
    assert_eq!(back.await["spec"]["clusterIP"], "10.96.0.1");
}

#[tokio::test]
async fn a_finalizer_holds_an_object_until_it_is_taken_away() {
    let control = Control::start(&[]).await;
    let mut held = map("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    create(&control, MAPS, &held).await;
    let path = format!("{MAPS}/held");
    let marked = control.delete(&path, &Value::Null).await.expect(200);
    let mark = marked["metadata"]["deletionTimestamp"].clone();
    assert!(mark.is_string());
    let again = control.delete(&path, &Value::Null).await.expect(200);
    assert_eq!(again["metadata"]["deletionTimestamp"], mark);
    let more = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    let why = control
        .patch(&path, MERGE_PATCH, &more)
        .await
        .refused(422, "Invalid");
    assert!(why.contains("no new finalizers can be added"), "{why}");
    let undo = json!({"metadata": {"deletionTimestamp": null}});
    let kept = control.patch(&path, MERGE_PATCH, &undo).await.expect(200);
    assert_eq!(kept["metadata"]["deletionTimestamp"], mark);
    let only = "fieldSelector=metadata.name%3Dheld";
    let watch = format!("{MAPS}?watch=1&{only}&resourceVersion={}", version(&kept));
    let mut watch = control.watch(&watch, "application/json").await;
    let none = json!({"metadata": {"finalizers": null}});
    control.patch(&path, MERGE_PATCH, &none).await.expect(200);
    control.get(&path).await.refused(404, "NotFound");
    assert_eq!(watch.brief().await, ("DELETED".into(), "held".into()));
}

/// A ReplicaSet that wants nothing and a ConfigMap that it owns.
async fn family(control: &Control, name: &str) {
    let set = json!({"metadata": {"name": name}, "spec": {"replicas": 0,
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let owner = create(control, SETS, &set).await;
    let mut child = map(name);
    child["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "name": name, "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true}]);
    create(control, MAPS, &child).await;
}

async fn gone(control: &Control, path: &str) {
    eventually("the object goes", || async {
        (control.get(path).await.code == 404).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn background_deletion_takes_the_owner_first() {
    let control = Control::start(&[]).await;
    family(&control, "fam").await;
    let options = json!({"propagationPolicy": "Background"});
    control
        .delete(&format!("{SETS}/fam"), &options)
        .await
        .expect(200);
    control
        .get(&format!("{SETS}/fam"))
        .await
        .refused(404, "NotFound");
    gone(&control, &format!("{MAPS}/fam")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreground_deletion_takes_the_dependents_first() {
    let control = Control::start(&[]).await;
    family(&control, "fam").await;
    let (set, child) = (format!("{SETS}/fam"), format!("{MAPS}/fam"));
    let hold = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    control.patch(&child, MERGE_PATCH, &hold).await.expect(200);
    let options = json!({"propagationPolicy": "Foreground"});
    let marked = control.delete(&set, &options).await.expect(202);
    assert_eq!(
        marked["metadata"]["finalizers"],
        json!(["foregroundDeletion"])
    );
    eventually("the dependent is marked", || async {
        let child = control.get(&child).await.expect(200);
        child["metadata"]["deletionTimestamp"]
            .is_string()
            .then_some(())
    })
    .await;
    control.get(&set).await.expect(200);
    let free = json!({"metadata": {"finalizers": null}});
    control.patch(&child, MERGE_PATCH, &free).await.expect(200);
    gone(&control, &set).await;
    control.get(&child).await.refused(404, "NotFound");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphaned_dependents_live_on_without_owner() {
    let control = Control::start(&[]).await;
    family(&control, "fam").await;
    let options = json!({"propagationPolicy": "Orphan"});
    control
        .delete(&format!("{SETS}/fam"), &options)
        .await
        .expect(200);
    gone(&control, &format!("{SETS}/fam")).await;
    let child = control.get(&format!("{MAPS}/fam")).await.expect(200);
    assert!(
        child["metadata"].get("ownerReferences").is_none(),
        "{child:#}"
    );
    let options = json!({"propagationPolicy": "Sideways"});
    let refused = control.delete(&format!("{MAPS}/fam"), &options).await;
    refused.refused(422, "Invalid");
}

#[tokio::test]
async fn a_running_pod_gets_its_grace_period_and_the_nodes_last_word_ends_it() {
    let control = Control::start(&[]).await;
    create(
        &control,
        "/api/v1/nodes",
        &json!({"metadata": {"name": "n1"}}),
    )
    .await;
    create(&control, PODS, &pod("p")).await;
    let bind = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    control
        .post(&format!("{PODS}/p/binding"), &bind)
        .await
        .expect(201);
    let path = format!("{PODS}/p");
    let marked = control
        .delete(&path, &json!({"gracePeriodSeconds": 90}))
        .await;
    let marked = marked.expect(200);
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 90);
    let shorter = control
        .delete(&path, &json!({"gracePeriodSeconds": 5}))
        .await;
    assert_eq!(
        shorter.expect(200)["metadata"]["deletionGracePeriodSeconds"],
        5
    );
    let last = control
        .delete(&path, &json!({"gracePeriodSeconds": 0}))
        .await;
    last.expect(200);
    control.get(&path).await.refused(404, "NotFound");
}
