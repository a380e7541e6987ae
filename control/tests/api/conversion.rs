//! Custom kinds of several versions, between which a webhook converts: a real server of the test's
//! own, as operators bring one along.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use support::eventually;
use support::hooks::{Hook, Say};
use support::http::{APPLY_PATCH, Answer, JSON_PATCH, MERGE_PATCH};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const OLD: &str = "/apis/naru.test/v1/namespaces/default/tunnels";
const NEW: &str = "/apis/naru.test/v2/namespaces/default/tunnels";

/// What the webhook does instead of its work.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Mood {
    Works,
    Refuses,
    Renames,
    Decorates,
    Forgets,
}

/// A server with tunnels: `spec.ends` in v1, `spec.from` and `spec.to` in v2, which is kept.
struct Tunnels {
    control: Control,
    hook: Hook,
    mood: Arc<AtomicU8>,
}

impl Tunnels {
    async fn start() -> Tunnels {
        let mood = Arc::new(AtomicU8::new(Mood::Works as u8));
        let seen = mood.clone();
        let hook = Hook::start(move |asked| answer(asked, seen.load(Ordering::Relaxed))).await;
        let control = Control::start(&[]).await;
        create(&control, DEFINITIONS, &definition(hook.config())).await;
        eventually("tunnels are served", || async {
            (control.get(NEW).await.code == 200).then_some(())
        })
        .await;
        Tunnels {
            control,
            hook,
            mood,
        }
    }

    fn be(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::Relaxed);
    }

    /// How many objects each question so far was about.
    fn asked(&self) -> Vec<usize> {
        let count = |asked: &Value| asked["objects"].as_array().unwrap().len();
        self.hook.seen().iter().map(count).collect()
    }

    async fn apply(&self, path: &str, manager: &str, object: &Value) -> Answer {
        let name = object["metadata"]["name"].as_str().unwrap();
        let path = format!("{path}/{name}?fieldManager={manager}");
        self.control.patch(&path, APPLY_PATCH, object).await
    }
}

fn definition(client: Value) -> Value {
    let version = |name: &str, storage: bool, spec: Value| {
        json!({"name": name, "served": true, "storage": storage, "subresources": {"status": {}},
            "additionalPrinterColumns": [{"name": "Far", "type": "string",
                "jsonPath": if storage { ".spec.to" } else { ".spec.ends" }}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec,
                "status": {"type": "object", "properties": {"open": {"type": "boolean"}}}}}}})
    };
    let text = || json!({"type": "string"});
    let old = json!({"type": "object", "required": ["ends"], "properties": {
        "ends": {"type": "string", "pattern": "^[a-z]*-[a-z]*$"}, "lanes": {"type": "integer"}}});
    let new = json!({"type": "object", "properties": {"from": text(), "to": text(),
        "lanes": {"type": "integer"}}});
    json!({"metadata": {"name": "tunnels.naru.test"}, "spec": {
        "group": "naru.test", "scope": "Namespaced",
        "names": {"plural": "tunnels", "kind": "Tunnel"},
        "versions": [version("v1", false, old), version("v2", true, new)],
        "conversion": {"strategy": "Webhook", "webhook": {
            "clientConfig": client, "conversionReviewVersions": ["v1"]}}}})
}

fn answer(asked: &Value, mood: u8) -> Say {
    if mood == Mood::Refuses as u8 {
        return Say::Response(json!({"result": {"status": "Failure", "message": "out of order"}}));
    }
    let desired = asked["desiredAPIVersion"].as_str().unwrap();
    let objects = asked["objects"].as_array().unwrap().iter();
    let mut converted: Vec<Value> = objects.map(|object| convert(object, desired)).collect();
    for object in &mut converted {
        let metadata = &mut object["metadata"];
        if mood == Mood::Renames as u8 {
            metadata["name"] = "other".into();
        }
        if mood == Mood::Decorates as u8 {
            metadata["labels"]["seen"] = desired.rsplit('/').next().into();
            metadata["finalizers"] = json!(["naru.test/mine"]);
        }
    }
    if mood == Mood::Forgets as u8 {
        converted.clear();
    }
    Say::Response(json!({"result": {"status": "Success"}, "convertedObjects": converted}))
}

fn convert(object: &Value, desired: &str) -> Value {
    let mut new = object.clone();
    assert_ne!(object["apiVersion"], desired);
    new["apiVersion"] = desired.into();
    let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) else {
        return new;
    };
    if desired.ends_with("v2") {
        let ends = spec.remove("ends").unwrap_or_else(|| "-".into());
        let (from, to) = ends.as_str().unwrap().split_once('-').unwrap();
        spec.extend([("from".into(), from.into()), ("to".into(), to.into())]);
    } else {
        let mut end = |key: &str| {
            let end = spec.remove(key).unwrap_or_default();
            end.as_str().unwrap_or_default().to_owned()
        };
        let ends = format!("{}-{}", end("from"), end("to"));
        spec.insert("ends".into(), ends.into());
    }
    new
}

fn tunnel(version: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("naru.test/{version}"), "kind": "Tunnel",
        "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn every_version_reads_and_writes_the_same_objects() {
    let tunnels = Tunnels::start().await;
    let control = &tunnels.control;
    let made = control
        .post(OLD, &tunnel("v1", "a", json!({"ends": "x-y", "odd": 1})))
        .await
        .expect(201);
    assert_eq!(made["apiVersion"], "naru.test/v1");
    assert_eq!(made["spec"], json!({"ends": "x-y"}));
    let (old, new) = (format!("{OLD}/a"), format!("{NEW}/a"));
    let asked = tunnels.asked();
    let kept = control.get(&new).await.expect(200);
    assert_eq!(kept["apiVersion"], "naru.test/v2");
    assert_eq!(kept["spec"], json!({"from": "x", "to": "y"}));
    assert_eq!(tunnels.asked(), asked, "what is kept is not converted");
    assert_eq!(kept["metadata"]["uid"], made["metadata"]["uid"]);
    let mut put = control.get(&old).await.expect(200);
    put["spec"]["ends"] = "x-z".into();
    let put = control.put(&old, &put).await.expect(200);
    assert_eq!(put["spec"]["ends"], "x-z");
    assert_eq!(put["metadata"]["generation"], 2);
    control.put(&old, &made).await.refused(409, "Conflict");
    let patch = json!({"spec": {"lanes": 4}});
    let patched = control.patch(&old, MERGE_PATCH, &patch).await.expect(200);
    assert_eq!(patched["spec"], json!({"ends": "x-z", "lanes": 4}));
    let status = json!({"status": {"open": true}, "spec": {"ends": "ignored"}});
    let done = control
        .patch(&format!("{old}/status"), MERGE_PATCH, &status)
        .await
        .expect(200);
    assert_eq!(done["spec"]["ends"], "x-z");
    let kept = control.get(&new).await.expect(200);
    assert_eq!(kept["spec"], json!({"from": "x", "to": "z", "lanes": 4}));
    assert_eq!(kept["status"], json!({"open": true}));
    let same = json!({"spec": {"lanes": 4}});
    let version = version(&kept);
    let same = control.patch(&old, MERGE_PATCH, &same).await.expect(200);
    assert_eq!(same["metadata"]["resourceVersion"], version.as_str());
    let gone = control.delete(&old, &Value::Null).await.expect(200);
    assert_eq!(gone["status"], "Success");
    control.get(&new).await.refused(404, "NotFound");
}

#[tokio::test]
async fn lists_are_converted_at_once_and_watches_as_they_go() {
    let tunnels = Tunnels::start().await;
    let control = &tunnels.control;
    for name in ["a", "b", "c"] {
        create(
            control,
            NEW,
            &tunnel("v2", name, json!({"from": "x", "to": name})),
        )
        .await;
    }
    assert_eq!(tunnels.asked(), [0; 0]);
    let list = control.get(OLD).await.expect(200);
    assert_eq!(names(&list), ["a", "b", "c"]);
    assert_eq!(list["apiVersion"], "naru.test/v1");
    assert_eq!(list["items"][1]["spec"], json!({"ends": "x-b"}));
    assert_eq!(tunnels.asked(), [3]);
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let rows = control.send(http::Method::GET, OLD, &table, "").await;
    assert_eq!(rows.expect(200)["rows"][2]["cells"], json!(["c", "x-c"]));
    let page = control.get(&format!("{OLD}?limit=2")).await.expect(200);
    assert_eq!(names(&page), ["a", "b"]);
    assert_eq!(tunnels.asked(), [3, 3, 2]);
    let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let partial = [("accept", partial)];
    let list = control.send(http::Method::GET, OLD, &partial, "").await;
    assert_eq!(names(&list.expect(200)).len(), 3);
    assert_eq!(
        tunnels.asked(),
        [3, 3, 2],
        "metadata is the same everywhere"
    );
    let mut watch = control
        .watch(&format!("{OLD}?watch=1"), "application/json")
        .await;
    for name in ["a", "b", "c"] {
        assert_eq!(watch.brief().await, ("ADDED".into(), name.into()));
    }
    assert_eq!(tunnels.asked().last(), Some(&3));
    let patch = json!({"spec": {"from": "w"}});
    control
        .patch(&format!("{NEW}/b"), MERGE_PATCH, &patch)
        .await
        .expect(200);
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "MODIFIED");
    assert_eq!(event["object"]["apiVersion"], "naru.test/v1");
    assert_eq!(event["object"]["spec"], json!({"ends": "w-b"}));
    tunnels.be(Mood::Refuses);
    control
        .delete(&format!("{NEW}/c"), &Value::Null)
        .await
        .expect(200);
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "ERROR");
    assert_eq!(event["object"]["code"], 500);
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn what_a_webhook_does_wrong_is_told_and_changes_nothing() {
    let tunnels = Tunnels::start().await;
    let control = &tunnels.control;
    create(
        control,
        NEW,
        &tunnel("v2", "a", json!({"from": "x", "to": "y"})),
    )
    .await;
    let old = format!("{OLD}/a");
    let failed = "conversion webhook for naru.test/v2, Kind=Tunnel ";
    for (mood, why) in [
        (Mood::Refuses, "failed: out of order"),
        (Mood::Forgets, "returned 0 objects, expected 1"),
        (
            Mood::Renames,
            "returned invalid converted object at index 0: must have the same name: a != other",
        ),
    ] {
        tunnels.be(mood);
        let refused = control.get(&old).await;
        assert_eq!(refused.body["message"], format!("{failed}{why}"));
        assert_eq!((refused.code, &refused.body["reason"]), (500, &json!("")));
    }
    tunnels.be(Mood::Refuses);
    let refused = control
        .post(OLD, &tunnel("v1", "b", json!({"ends": "x-y"})))
        .await;
    let why = refused.body["message"].as_str().unwrap().to_owned();
    assert_eq!(
        why,
        "conversion webhook for naru.test/v1, Kind=Tunnel failed: out of order"
    );
    control
        .get(&format!("{NEW}/b"))
        .await
        .refused(404, "NotFound");
    control.get(&format!("{NEW}/a")).await.expect(200);
    // A fault is named in the version in which it was written, and nobody is asked about it.
    let asked = tunnels.asked().len();
    let why = control
        .post(OLD, &tunnel("v1", "b", json!({"lanes": 1})))
        .await
        .refused(422, "Invalid");
    assert!(why.contains("spec.ends: Required"), "{why}");
    assert_eq!(tunnels.asked().len(), asked);
    tunnels.be(Mood::Decorates);
    let shown = control.get(&old).await.expect(200);
    assert_eq!(shown["metadata"]["labels"], json!({"seen": "v1"}));
    assert_eq!(shown["metadata"].get("finalizers"), None);
    let kept = control.get(&format!("{NEW}/a")).await.expect(200);
    assert_eq!(kept["metadata"].get("labels"), None);
}

#[tokio::test]
async fn an_unreachable_webhook_and_a_service_are_named() {
    let tunnels = Tunnels::start().await;
    let control = &tunnels.control;
    create(
        control,
        NEW,
        &tunnel("v2", "a", json!({"from": "x", "to": "y"})),
    )
    .await;
    let definition = format!("{DEFINITIONS}/tunnels.naru.test");
    let client =
        |client: Value| json!({"spec": {"conversion": {"webhook": {"clientConfig": client}}}});
    let nowhere = client(json!({"url": "https://127.0.0.1:1/convert"}));
    control
        .patch(&definition, MERGE_PATCH, &nowhere)
        .await
        .expect(200);
    let old = format!("{OLD}/a");
    let why = eventually("the new webhook is asked", || async {
        let refused = control.get(&old).await;
        (refused.code == 500).then_some(refused.body["message"].as_str()?.to_owned())
    })
    .await;
    let wanted = "conversion webhook for naru.test/v2, Kind=Tunnel failed: \
                  Post \"https://127.0.0.1:1/convert?timeout=30s\": dial tcp 127.0.0.1:1:";
    assert!(why.starts_with(wanted), "{why}");
    let service = json!({"metadata": {"name": "hook"}, "spec": {"type": "ExternalName",
        "externalName": "localhost"}});
    create(control, "/api/v1/namespaces/default/services", &service).await;
    let service = json!({"namespace": "default", "name": "hook", "port": tunnels.hook.port(),
        "path": "/convert"});
    let behind = client(json!({"url": null, "service": service}));
    control
        .patch(&definition, MERGE_PATCH, &behind)
        .await
        .expect(200);
    eventually("the service is asked", || async {
        (control.get(&old).await.code == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn appliers_in_different_versions_keep_what_is_theirs() {
    let tunnels = Tunnels::start().await;
    let control = &tunnels.control;
    let first = tunnel("v1", "a", json!({"ends": "x-y"}));
    let made = tunnels.apply(OLD, "one", &first).await.expect(201);
    let entry = &made["metadata"]["managedFields"][0];
    assert_eq!(entry["apiVersion"], "naru.test/v1");
    assert_eq!(entry["fieldsV1"], json!({"f:spec": {"f:ends": {}}}));
    // The same again changes nothing.
    let again = tunnels.apply(OLD, "one", &first).await.expect(200);
    assert_eq!(version(&again), version(&made));
    // What another version calls otherwise is still the first one's.
    let other = tunnel("v2", "a", json!({"to": "z"}));
    let why = tunnels
        .apply(NEW, "two", &other)
        .await
        .refused(409, "Conflict");
    assert_eq!(
        why,
        "Apply failed with 1 conflict: conflict with \"one\": .spec.ends"
    );
    let lanes = tunnel("v2", "a", json!({"lanes": 2, "to": "y"}));
    let both = tunnels.apply(NEW, "two", &lanes).await.expect(200);
    assert_eq!(both["spec"], json!({"from": "x", "to": "y", "lanes": 2}));
    let why = tunnels
        .apply(OLD, "one", &tunnel("v1", "a", json!({"ends": "x-q"})))
        .await
        .refused(409, "Conflict");
    assert_eq!(
        why,
        "Apply failed with 1 conflict: conflict with \"two\": .spec.to"
    );
    let path = format!("{NEW}/a?fieldManager=two&force=true");
    let forced = control.patch(&path, APPLY_PATCH, &other).await.expect(200);
    assert_eq!(forced["spec"], json!({"from": "x", "to": "z"}));
    let managers = forced["metadata"]["managedFields"].as_array().unwrap();
    let managers: Vec<_> = managers.iter().map(|it| &it["manager"]).collect();
    assert_eq!(managers, ["two"]);
    let shown = control.get(&format!("{OLD}/a")).await.expect(200);
    assert_eq!(shown["spec"], json!({"ends": "x-z"}));
}

#[tokio::test]
async fn another_version_can_become_the_one_that_is_kept() {
    let tunnels = Tunnels::start().await;
    let control = &tunnels.control;
    create(
        control,
        NEW,
        &tunnel("v2", "a", json!({"from": "x", "to": "y"})),
    )
    .await;
    let path = format!("{DEFINITIONS}/tunnels.naru.test");
    let turn = json!([{"op": "replace", "path": "/spec/versions/0/storage", "value": true},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": false}]);
    control.patch(&path, JSON_PATCH, &turn).await.expect(200);
    let status = control.get(&path).await.expect(200)["status"].clone();
    assert_eq!(status["storedVersions"], json!(["v2", "v1"]));
    create(control, OLD, &tunnel("v1", "b", json!({"ends": "p-q"}))).await;
    eventually("objects are kept in the other version", || async {
        let path = format!("{OLD}/b");
        let same = control.get(&path).await.expect(200);
        control.put(&path, &same).await.expect(200);
        control.get(OLD).await.expect(200);
        (tunnels.asked().last() == Some(&1)).then_some(())
    })
    .await;
    let list = control.get(OLD).await.expect(200);
    let specs: Vec<_> = list["items"].as_array().unwrap().iter().collect();
    assert_eq!(specs[0]["spec"], json!({"ends": "x-y"}));
    assert_eq!(specs[1]["spec"], json!({"ends": "p-q"}));
    assert_eq!(tunnels.asked().last(), Some(&1), "only the other one");
    // A write that changes nothing stores the object anew, in the version that is kept now.
    let old = control.get(&format!("{OLD}/a")).await.expect(200);
    let moved = control.put(&format!("{OLD}/a"), &old).await.expect(200);
    assert_ne!(version(&moved), version(&old));
    tunnels.be(Mood::Refuses);
    let list = control.get(OLD).await.expect(200);
    assert_eq!(names(&list), ["a", "b"]);
    let gone = json!({"status": {"storedVersions": ["v1"]}});
    control
        .patch(&format!("{path}/status"), MERGE_PATCH, &gone)
        .await
        .expect(200);
    let again = control.get(&format!("{NEW}/a")).await;
    assert_eq!(again.code, 500, "{:#}", again.body);
}
