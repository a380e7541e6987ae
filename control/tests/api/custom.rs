//! Custom kinds: defined, served, validated, and gone again.

use super::*;
use support::eventually;
use support::http::{APPLY_PATCH, MERGE_PATCH, STRATEGIC_PATCH};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const BOATS: &str = "/apis/naru.test/v1/namespaces/default/boats";

fn schema() -> Value {
    json!({"type": "object", "description": "A boat on the river.", "properties": {
        "spec": {"type": "object", "required": ["seats"], "properties": {
            "seats": {"type": "integer", "minimum": 1, "description": "How many may sit."},
            "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
            "crew": {"type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object",
                    "required": ["name"], "properties": {
                        "name": {"type": "string"}, "rank": {"type": "string"}}}}}},
        "status": {"type": "object", "properties": {"afloat": {"type": "integer"},
            "labels": {"type": "string"}}}}})
}

fn version(name: &str, storage: bool) -> Value {
    json!({"name": name, "served": true, "storage": storage,
        "schema": {"openAPIV3Schema": schema()},
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.seats",
            "statusReplicasPath": ".status.afloat", "labelSelectorPath": ".status.labels"}},
        "selectableFields": [{"jsonPath": ".spec.color"}],
        "additionalPrinterColumns": [
            {"name": "Seats", "type": "integer", "jsonPath": ".spec.seats"},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]})
}

fn definition(plural: &str, kind: &str, short: &str) -> Value {
    json!({"metadata": {"name": format!("{plural}.naru.test")}, "spec": {
        "group": "naru.test", "scope": "Namespaced",
        "names": {"plural": plural, "kind": kind, "shortNames": [short], "categories": ["all"]},
        "versions": [version("v1", true), version("v1beta1", false)]}})
}

fn boat(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "naru.test/v1", "kind": "Boat", "metadata": {"name": name}, "spec": spec})
}

async fn condition(control: &Control, name: &str, wanted: &str) -> Option<String> {
    let definition = control.get(&format!("{DEFINITIONS}/{name}")).await.body;
    let conditions = definition["status"]["conditions"].as_array()?.clone();
    let found = conditions.into_iter().find(|it| it["type"] == wanted)?;
    found["status"].as_str().map(str::to_owned)
}

/// A server with boats.
async fn with_boats() -> Control {
    let control = Control::start(&[]).await;
    create(&control, DEFINITIONS, &definition("boats", "Boat", "bt")).await;
    eventually("boats are served", || async {
        (control.get(BOATS).await.code == 200).then_some(())
    })
    .await;
    control
}

#[tokio::test]
async fn a_new_kind_is_served_discovered_and_described() {
    let control = with_boats().await;
    eventually("that is told", || async {
        let told = condition(&control, "boats.naru.test", "Established").await;
        (told.as_deref() == Some("True")).then_some(())
    })
    .await;
    let group = control.get("/apis/naru.test").await.expect(200);
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let list = control.get("/apis/naru.test/v1").await.expect(200);
    let names: Vec<_> = list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].clone())
        .collect();
    assert_eq!(names, ["boats", "boats/status", "boats/scale"]);
    assert_eq!(list["resources"][0]["shortNames"], json!(["bt"]));
    let index = control.get("/openapi/v3").await.expect(200);
    let url = index["paths"]["apis/naru.test/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap()
        .to_owned();
    let document = control.get(&url).await.expect(200);
    let schema = &document["components"]["schemas"]["test.naru.v1.Boat"];
    assert_eq!(
        schema["properties"]["spec"]["properties"]["seats"]["description"],
        "How many may sit."
    );
    let v2 = control.get("/openapi/v2").await.expect(200);
    assert!(v2["definitions"].get("test.naru.v1.BoatList").is_some());
}

#[tokio::test]
async fn objects_are_pruned_defaulted_and_validated() {
    let control = with_boats().await;
    let made = control
        .post(BOATS, &boat("a", json!({"seats": 2, "sail": true})))
        .await;
    assert!(
        made.warnings()[0].contains("unknown field"),
        "{:?}",
        made.warnings()
    );
    let made = made.expect(201);
    assert_eq!(made["spec"], json!({"seats": 2, "color": "red"}));
    assert_eq!(made["metadata"]["generation"], 1);
    let strict = format!("{BOATS}?fieldValidation=Strict");
    let odd = control
        .post(&strict, &boat("b", json!({"seats": 2, "sail": true})))
        .await;
    assert!(odd.refused(400, "BadRequest").contains("spec.sail"));
    let wrong = boat(
        "b",
        json!({"seats": 0, "color": "green", "crew": [{}, {"name": "x"}, {"name": "x"}]}),
    );
    let refused = control.post(BOATS, &wrong).await;
    let causes = refused.body["details"]["causes"]
        .as_array()
        .unwrap()
        .clone();
    let mut fields: Vec<_> = causes
        .iter()
        .map(|it| it["field"].as_str().unwrap())
        .collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "spec.color",
            "spec.crew[0].name",
            "spec.crew[2]",
            "spec.seats"
        ]
    );
    refused.refused(422, "Invalid");
    let patch = json!({"spec": {"seats": "many"}});
    control
        .patch(&format!("{BOATS}/a"), MERGE_PATCH, &patch)
        .await
        .refused(422, "Invalid");
    let why = control
        .patch(&format!("{BOATS}/a"), STRATEGIC_PATCH, &json!({}))
        .await;
    why.refused(415, "UnsupportedMediaType");
}

#[tokio::test]
async fn status_scale_columns_and_selectable_fields_work() {
    let control = with_boats().await;
    create(&control, BOATS, &boat("a", json!({"seats": 2}))).await;
    create(
        &control,
        BOATS,
        &boat("b", json!({"seats": 3, "color": "blue"})),
    )
    .await;
    let path = format!("{BOATS}/a");
    let status = json!({"spec": {"seats": 9}, "status": {"afloat": 1, "labels": "a=b"}});
    let done = control
        .patch(&format!("{path}/status"), MERGE_PATCH, &status)
        .await
        .expect(200);
    assert_eq!(
        (&done["spec"]["seats"], &done["metadata"]["generation"]),
        (&json!(2), &json!(1))
    );
    let scale = control.get(&format!("{path}/scale")).await.expect(200);
    assert_eq!(scale["status"], json!({"replicas": 1, "selector": "a=b"}));
    let more = json!({"spec": {"replicas": 5}});
    control
        .patch(&format!("{path}/scale"), MERGE_PATCH, &more)
        .await
        .expect(200);
    assert_eq!(control.get(&path).await.expect(200)["spec"]["seats"], 5);
    let blue = control
        .get(&format!("{BOATS}?fieldSelector=spec.color%3Dblue"))
        .await
        .expect(200);
    assert_eq!(names(&blue), ["b"]);
    let accept = [("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
    let table = control
        .send(http::Method::GET, BOATS, &accept, "")
        .await
        .expect(200);
    assert_eq!(table["columnDefinitions"][1]["name"], "Seats");
    assert_eq!(table["rows"][0]["cells"][1], 5);
}

#[tokio::test]
async fn another_version_shows_the_same_objects_and_apply_merges_by_key() {
    let control = with_boats().await;
    let crew = |name: &str, rank: &str| {
        boat(
            "a",
            json!({"seats": 2, "crew": [{"name": name, "rank": rank}]}),
        )
    };
    let path = format!("{BOATS}/a");
    let one = format!("{path}?fieldManager=one");
    control
        .patch(&one, APPLY_PATCH, &crew("x", "mate"))
        .await
        .expect(201);
    let two = format!("{path}?fieldManager=two");
    control
        .patch(&two, APPLY_PATCH, &crew("y", "mate"))
        .await
        .expect(200);
    let refused = control
        .patch(&two, APPLY_PATCH, &crew("x", "captain"))
        .await;
    assert!(
        refused
            .refused(409, "Conflict")
            .contains(".spec.crew[name=\"x\"].rank")
    );
    let old = path.replace("/v1/", "/v1beta1/");
    let shown = control.get(&old).await.expect(200);
    assert_eq!(shown["apiVersion"], "naru.test/v1beta1");
    assert_eq!(shown["spec"]["crew"].as_array().unwrap().len(), 2);
    let mut changed = shown.clone();
    changed["spec"]["seats"] = 7.into();
    let done = control.put(&old, &changed).await.expect(200);
    assert_eq!(done["apiVersion"], "naru.test/v1beta1");
    let now = control.get(&path).await.expect(200);
    assert_eq!(
        (&now["apiVersion"], &now["spec"]["seats"]),
        (&json!("naru.test/v1"), &json!(7))
    );
}

#[tokio::test]
async fn names_belong_to_who_came_first_and_pass_on_when_it_goes() {
    let control = with_boats().await;
    create(&control, DEFINITIONS, &definition("ferries", "Ferry", "bt")).await;
    eventually("the clash is told", || async {
        let told = condition(&control, "ferries.naru.test", "NamesAccepted").await;
        (told.as_deref() == Some("False")).then_some(())
    })
    .await;
    control
        .get(&BOATS.replace("boats", "ferries"))
        .await
        .expect(404);
    create(&control, BOATS, &boat("a", json!({"seats": 2}))).await;
    control
        .delete(&format!("{DEFINITIONS}/boats.naru.test"), &Value::Null)
        .await
        .expect(200);
    eventually("the first is gone with its objects", || async {
        let gone = control
            .get(&format!("{DEFINITIONS}/boats.naru.test"))
            .await
            .code
            == 404;
        (gone && control.get(BOATS).await.code == 404).then_some(())
    })
    .await;
    eventually("the second has the name", || async {
        let told = condition(&control, "ferries.naru.test", "Established").await;
        (told.as_deref() == Some("True")).then_some(())
    })
    .await;
    create(&control, DEFINITIONS, &definition("boats", "Boat", "bo")).await;
    eventually("boats are served again", || async {
        (control.get(BOATS).await.code == 200).then_some(())
    })
    .await;
    assert!(names(&control.get(BOATS).await.expect(200)).is_empty());
}

#[tokio::test]
async fn custom_objects_are_there_after_a_restart() {
    let mut control = with_boats().await;
    create(&control, BOATS, &boat("a", json!({"seats": 2}))).await;
    control.restart().await;
    let list = control.get(BOATS).await.expect(200);
    assert_eq!(names(&list), ["a"]);
}

#[tokio::test]
async fn definitions_that_make_no_sense_are_refused() {
    let control = Control::start(&[]).await;
    let mut webhook = definition("boats", "Boat", "bt");
    webhook["spec"]["conversion"] = json!({"strategy": "Webhook"});
    let why = control
        .post(DEFINITIONS, &webhook)
        .await
        .refused(422, "Invalid");
    assert!(
        why.contains("spec.conversion.webhook.clientConfig: Required"),
        "{why}"
    );
    let mut untyped = definition("boats", "Boat", "bt");
    untyped["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = json!({});
    let why = control
        .post(DEFINITIONS, &untyped)
        .await
        .refused(422, "Invalid");
    assert!(
        why.contains("openAPIV3Schema.properties[spec].type"),
        "{why}"
    );
    let mut rules = definition("boats", "Boat", "bt");
    rules["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] =
        json!([{"rule": "self.spec.seats >"}]);
    let why = control
        .post(DEFINITIONS, &rules)
        .await
        .refused(422, "Invalid");
    assert!(
        why.contains("x-kubernetes-validations[0].rule") && why.contains("compilation failed"),
        "{why}"
    );
    rules["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] =
        json!([{"rule": "self.spec.seat > 1"}]);
    let why = control
        .post(DEFINITIONS, &rules)
        .await
        .refused(422, "Invalid");
    assert_eq!(
        why,
        "CustomResourceDefinition.apiextensions.k8s.io \"boats.naru.test\" is invalid: \
         spec.versions[0].schema.openAPIV3Schema.x-kubernetes-validations[0].rule: Invalid value: \
         {\"Rule\":\"self.spec.seat > 1\",\"Message\":\"\",\"MessageExpression\":\"\",\
         \"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}: compilation failed: \
         ERROR: <input>:1:10: undefined field 'seat'\n | self.spec.seat > 1\n | .........^"
    );
}

#[tokio::test]
async fn rules_in_expressions_are_kept() {
    let control = Control::start(&[]).await;
    let mut ruled = definition("boats", "Boat", "bt");
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    let spec = ruled.pointer_mut(spec).unwrap();
    spec["x-kubernetes-validations"] = json!([
        {"rule": "size(self.crew) <= self.seats", "message": "more crew than seats"},
        {"rule": "self.crew.all(a, self.crew.all(b, self.crew.all(c, self.crew.all(d, true))))",
            "message": "the crew knows each other"}]);
    spec["properties"]["crew"]["default"] = json!([]);
    spec["properties"]["color"]["x-kubernetes-validations"] = json!([
        {"rule": "self == oldSelf", "messageExpression": "'was ' + oldSelf + ' before'",
            "reason": "FieldValueForbidden"}]);
    let made = control.post(DEFINITIONS, &ruled).await;
    assert!(made.warnings().is_empty(), "{:?}", made.warnings());
    made.expect(201);
    eventually("boats are served", || async {
        (control.get(BOATS).await.code == 200).then_some(())
    })
    .await;
    create(&control, BOATS, &boat("a", json!({"seats": 1}))).await;
    let path = format!("{BOATS}/a");
    let crowded = json!({"spec": {"crew": [{"name": "x"}, {"name": "y"}]}});
    let why = control.patch(&path, MERGE_PATCH, &crowded).await;
    let why = why.refused(422, "Invalid");
    assert_eq!(
        why,
        "Boat.naru.test \"a\" is invalid: spec: Invalid value: \"object\": more crew than seats"
    );
    let painted = json!({"spec": {"color": "blue"}});
    let why = control.patch(&path, MERGE_PATCH, &painted).await;
    let why = why.refused(422, "Invalid");
    assert!(
        why.ends_with("spec.color: Forbidden: was red before"),
        "{why}"
    );
    let status = json!({"status": {"afloat": 1}});
    let part = format!("{path}/status");
    control.patch(&part, MERGE_PATCH, &status).await.expect(200);
    // What would take hours is given up.
    let crew: Vec<Value> = (0..200)
        .map(|number| json!({"name": number.to_string()}))
        .collect();
    let costly = control
        .post(BOATS, &boat("b", json!({"seats": 500, "crew": crew})))
        .await;
    let why = costly.refused(422, "Invalid");
    assert!(why.contains("cost limit exceeded"), "{why}");
}

#[tokio::test]
async fn what_an_object_of_a_new_kind_owned_goes_however_soon_it_went() {
    let control = with_boats().await;
    let owned = |name: &str, uid: &str| {
        json!({"metadata": {"name": name, "ownerReferences": [{"apiVersion": "naru.test/v1",
            "kind": "Boat", "name": "a", "uid": uid}]}})
    };
    let boat = create(&control, BOATS, &boat("a", json!({"seats": 2}))).await;
    let uid = boat["metadata"]["uid"].as_str().expect("a uid");
    create(&control, MAPS, &owned("owned", uid)).await;
    create(&control, MAPS, &owned("strange", "of nobody")).await;
    let gone = |name: &'static str| {
        let control = &control;
        async move {
            let path = format!("{MAPS}/{name}");
            eventually("it is collected", || async {
                (control.get(&path).await.code == 404).then_some(())
            })
            .await;
        }
    };
    // Now both were judged, long before boats are watched.
    gone("strange").await;
    let path = format!("{BOATS}/a");
    control.delete(&path, &Value::Null).await.expect(200);
    gone("owned").await;
}

#[tokio::test]
async fn watches_and_deletions_of_a_new_kind_go_by_its_selectable_fields() {
    let control = with_boats().await;
    let blue = "fieldSelector=spec.color%3Dblue";
    let mut watch = control
        .watch(&format!("{BOATS}?watch=1&{blue}"), "*/*")
        .await;
    for (name, color) in [("a", "red"), ("b", "blue"), ("c", "blue"), ("d", "red")] {
        let boat = boat(name, json!({"seats": 1, "color": color}));
        create(&control, BOATS, &boat).await;
    }
    let paint = async |name: &str, color: &str| {
        let path = format!("{BOATS}/{name}");
        let patch = json!({"spec": {"color": color}});
        control.patch(&path, MERGE_PATCH, &patch).await.expect(200);
    };
    // It enters the selection, and another one leaves it.
    paint("a", "blue").await;
    paint("c", "red").await;
    let deleted = control
        .delete(&format!("{BOATS}?{blue}"), &Value::Null)
        .await;
    deleted.expect(200);
    for expected in [
        ("ADDED", "b"),
        ("ADDED", "c"),
        ("ADDED", "a"),
        ("DELETED", "c"),
        ("DELETED", "a"),
        ("DELETED", "b"),
    ] {
        let told = watch.brief().await;
        assert_eq!((told.0.as_str(), told.1.as_str()), expected);
    }
    assert_eq!(names(&control.get(BOATS).await.expect(200)), ["c", "d"]);
    let unknown = format!("{BOATS}?watch=1&fieldSelector=spec.seats%3D1");
    control.get(&unknown).await.refused(400, "BadRequest");
}

#[tokio::test]
async fn whoever_sees_that_a_kind_is_established_finds_it_everywhere() {
    let control = Control::start(&[]).await;
    let watch = format!("{DEFINITIONS}?watch=1&allowWatchBookmarks=false");
    let mut watch = control.watch(&watch, "*/*").await;
    for round in 0..20 {
        let (plural, kind) = (format!("ships{round}"), format!("Ship{round}"));
        let made = definition(&plural, &kind, &format!("sh{round}"));
        create(&control, DEFINITIONS, &made).await;
        let is_established = |event: &Value| {
            let conditions = event["object"]["status"]["conditions"].as_array();
            let yes = json!({"type": "Established", "status": "True"});
            event["object"]["spec"]["names"]["plural"] == plural.as_str()
                && conditions
                    .into_iter()
                    .flatten()
                    .any(|it| (&it["type"], &it["status"]) == (&yes["type"], &yes["status"]))
        };
        while !is_established(&watch.next().await.expect("no end")) {}
        // At the first moment at which anybody can know.
        let own = format!("/apis/naru.test/v1/namespaces/default/{plural}");
        control.get(&own).await.expect(200);
        let group = control
            .get("/apis/naru.test/v1")
            .await
            .expect(200)
            .to_string();
        assert!(
            group.contains(&format!("\"{plural}\"")),
            "{plural}: {group}"
        );
        let accept = [(
            "accept",
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        )];
        let all = control.send(http::Method::GET, "/apis", &accept, "");
        let all = all.await.expect(200).to_string();
        assert!(
            all.contains(&format!("\"{plural}\"")),
            "{plural} is not in /apis"
        );
        let index = control.get("/openapi/v3").await.expect(200);
        let url = &index["paths"]["apis/naru.test/v1"]["serverRelativeURL"];
        let third = control
            .get(url.as_str().expect("its document"))
            .await
            .expect(200);
        assert!(
            third["paths"]
                .get(own.replace("default", "{namespace}"))
                .is_some()
        );
        let second = control.get("/openapi/v2").await.expect(200);
        assert!(
            second["definitions"]
                .get(format!("test.naru.v1.{kind}"))
                .is_some()
        );
    }
}
