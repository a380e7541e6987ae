//! Server-side apply and who owns what.

use super::*;
use support::http::{APPLY_PATCH, Answer, JSON_PATCH, MERGE_PATCH};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn config(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

async fn apply(control: &Control, manager: &str, data: Value, more: &str) -> Answer {
    let path = format!("{MAPS}/a?fieldManager={manager}{more}");
    control.patch(&path, APPLY_PATCH, &config(data)).await
}

/// Manager, operation and subresource of each entry.
fn managers(object: &Value) -> Vec<(String, String, String)> {
    let entries = object["metadata"]["managedFields"].as_array();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entries = entries.into_iter().flatten();
    entries
        .map(|it| {
            (
                text(&it["manager"]),
                text(&it["operation"]),
                text(&it["subresource"]),
            )
        })
        .collect()
}

fn fields<'a>(object: &'a Value, manager: &str) -> &'a Value {
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .expect("entries");
    let mut entries = entries.iter();
    &entries
        .find(|it| it["manager"] == manager)
        .expect("the manager")["fieldsV1"]
}

#[tokio::test]
async fn an_apply_creates_changes_and_takes_back() {
    let control = Control::start(&[]).await;
    let made = apply(&control, "me", json!({"x": "1", "y": "1"}), "")
        .await
        .expect(201);
    assert_eq!(
        *fields(&made, "me"),
        json!({"f:data": {"f:x": {}, "f:y": {}}})
    );
    let same = apply(&control, "me", json!({"x": "1", "y": "1"}), "")
        .await
        .expect(200);
    assert_eq!(version(&same), version(&made));
    let less = apply(&control, "me", json!({"y": "2"}), "")
        .await
        .expect(200);
    assert_eq!(less["data"], json!({"y": "2"}));
    let dry = apply(&control, "me", json!({"z": "2"}), "&dryRun=All")
        .await
        .expect(200);
    assert_eq!(dry["data"], json!({"z": "2"}));
    let kept = control.get(&format!("{MAPS}/a")).await.expect(200);
    assert_eq!(kept["data"], json!({"y": "2"}));
}

#[tokio::test]
async fn conflicts_name_every_field_and_manager_and_force_wins() {
    let control = Control::start(&[]).await;
    apply(&control, "one", json!({"x": "1", "y": "1"}), "")
        .await
        .expect(201);
    let patch = json!({"data": {"y": "2"}});
    let path = format!("{MAPS}/a?fieldManager=hand");
    let patched = control.patch(&path, MERGE_PATCH, &patch).await.expect(200);
    assert_eq!(*fields(&patched, "hand"), json!({"f:data": {"f:y": {}}}));
    let refused = apply(&control, "two", json!({"x": "3", "y": "3"}), "").await;
    let causes = refused.body["details"]["causes"].clone();
    let why = refused.refused(409, "Conflict");
    assert_eq!(
        why,
        "Apply failed with 2 conflicts: conflicts with \"hand\" using v1:\n- .data.y\n\
         conflicts with \"one\":\n- .data.x"
    );
    assert_eq!(causes[0]["reason"], "FieldManagerConflict");
    let mut fields: Vec<_> = causes
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["field"].clone())
        .collect();
    fields.sort_by_key(Value::to_string);
    assert_eq!(fields, [".data.x", ".data.y"]);
    let forced = apply(&control, "two", json!({"x": "3", "y": "3"}), "&force=true")
        .await
        .expect(200);
    assert_eq!(forced["data"], json!({"x": "3", "y": "3"}));
    assert_eq!(
        managers(&forced),
        [("two".into(), "Apply".into(), String::new())]
    );
}

#[tokio::test]
async fn lists_merge_by_their_keys_and_subresources_have_their_own_entries() {
    let control = Control::start(&[]).await;
    let container =
        |image: &str| json!([{"name": "c", "image": image, "ports": [{"containerPort": 80}]}]);
    let deployment = |containers: Value| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}}}})
    };
    let path = format!("{DEPLOYMENTS}/web");
    let mine = format!("{path}?fieldManager=mine");
    control
        .patch(&mine, APPLY_PATCH, &deployment(container("c:1")))
        .await
        .expect(201);
    let side = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec":
        {"containers": [{"name": "side", "image": "s:1"},
            {"name": "c", "env": [{"name": "X", "value": "1"}]}]}}}});
    let theirs = format!("{path}?fieldManager=theirs");
    control.patch(&theirs, APPLY_PATCH, &side).await.expect(200);
    let done = control
        .patch(&mine, APPLY_PATCH, &deployment(container("c:2")))
        .await
        .expect(200);
    let containers = done["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap();
    let brief: Vec<_> = containers
        .iter()
        .map(|it| (it["name"].clone(), it["image"].clone()))
        .collect();
    assert_eq!(
        brief,
        [(json!("side"), json!("s:1")), (json!("c"), json!("c:2"))]
    );
    assert_eq!(containers[1]["env"][0]["name"], "X");
    let owned = &fields(&done, "mine")["f:spec"]["f:template"]["f:spec"]["f:containers"];
    let ports =
        json!({"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}});
    assert_eq!(owned["k:{\"name\":\"c\"}"]["f:ports"], ports);
    let scale = json!({"spec": {"replicas": 0}});
    let scaled = format!("{path}/scale?fieldManager=scaler");
    control
        .patch(&scaled, MERGE_PATCH, &scale)
        .await
        .expect(200);
    let now = control.get(&path).await.expect(200);
    let entry = ("scaler".to_owned(), "Update".to_owned(), "scale".to_owned());
    assert!(managers(&now).contains(&entry), "{:?}", managers(&now));
    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"labels": {"not": "this"}}, "spec": {"replicas": 9},
        "status": {"conditions": [{"type": "Odd", "status": "True"}]}});
    let applied = format!("{path}/status?fieldManager=observer");
    let done = control
        .patch(&applied, APPLY_PATCH, &status)
        .await
        .expect(200);
    assert_eq!(done["metadata"].get("labels"), None);
    let condition = json!({"f:conditions": {"k:{\"type\":\"Odd\"}":
        {".": {}, "f:status": {}, "f:type": {}}}});
    assert_eq!(*fields(&done, "observer"), json!({"f:status": condition}));
}

#[tokio::test]
async fn a_scale_is_applied_and_its_applier_owns_the_replicas() {
    let control = Control::start(&[]).await;
    let path = "/apis/apps/v1/namespaces/default/deployments/web";
    let deployment = support::deployment("web", 1, "web:1");
    let made = "/apis/apps/v1/namespaces/default/deployments?fieldManager=maker";
    control.post(made, &deployment).await.expect(201);
    let scale = |replicas: Value| {
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"},
            "spec": {"replicas": replicas}})
    };
    let applied = format!("{path}/scale?fieldManager=scaler");
    let why = control.patch(&applied, APPLY_PATCH, &scale(3.into())).await;
    let why = why.refused(409, "Conflict");
    assert!(
        why.starts_with("Apply failed with 1 conflict: conflict with \"maker\"")
            && why.ends_with(": .spec.replicas"),
        "{why}"
    );
    let forced = format!("{applied}&force=true");
    let done = control.patch(&forced, APPLY_PATCH, &scale(3.into())).await;
    assert_eq!(done.expect(200)["spec"]["replicas"], 3);
    let now = control.get(path).await.expect(200);
    assert_eq!(now["spec"]["replicas"], 3);
    assert_eq!(
        *fields(&now, "scaler"),
        json!({"f:spec": {"f:replicas": {}}})
    );
    let entry = ("scaler".to_owned(), "Apply".to_owned(), "scale".to_owned());
    assert!(managers(&now).contains(&entry), "{:?}", managers(&now));
    assert!(fields(&now, "maker")["f:spec"].get("f:replicas").is_none());
    for (said, code) in [
        (scale((-1).into()), 422),
        (json!({"kind": "Scale", "spec": {"replicas": 1}}), 400),
        (
            json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "other"}}),
            400,
        ),
    ] {
        let refused = control.patch(&applied, APPLY_PATCH, &said).await;
        assert_eq!(refused.code, code, "{said}: {:#}", refused.body);
    }
    let anonymous = format!("{path}/scale");
    let nobody = control
        .patch(&anonymous, APPLY_PATCH, &scale(2.into()))
        .await;
    nobody.refused(422, "Invalid");
}

#[tokio::test]
async fn an_apply_says_who_it_is_and_nothing_that_is_not_its_to_say() {
    let control = Control::start(&[]).await;
    let path = format!("{MAPS}/a?fieldManager=me");
    for (change, code) in [
        (json!({"apiVersion": null}), 400),
        (json!({"kind": "Secret"}), 400),
        (json!({"metadata": {"name": "b"}}), 400),
        (
            json!({"metadata": {"managedFields": [{"manager": "x"}]}}),
            400,
        ),
        (json!({"data": {"a": 1}}), 400),
        (json!({"metadata": {"uid": "u"}}), 409),
    ] {
        let mut wrong = config(json!({}));
        json_patch::merge(&mut wrong, &change);
        let refused = control.patch(&path, APPLY_PATCH, &wrong).await;
        assert_eq!(refused.code, code, "{change}: {:#}", refused.body);
    }
    let odd = json!({"apiVersion": "v1", "kind": "ConfigMap", "dta": {}});
    let strict = format!("{path}&fieldValidation=Strict");
    control
        .patch(&strict, APPLY_PATCH, &odd)
        .await
        .refused(400, "BadRequest");
    let nobody = control
        .patch(&format!("{MAPS}/a"), APPLY_PATCH, &config(json!({})))
        .await;
    assert!(
        nobody
            .refused(422, "Invalid")
            .contains("fieldManager: Required value")
    );
    let forced = control
        .patch(&format!("{MAPS}/a?force=true"), MERGE_PATCH, &json!({}))
        .await;
    assert!(forced.refused(422, "Invalid").contains("non-apply"));
    control.get(&format!("{MAPS}/a")).await.expect(404);
}

#[tokio::test]
async fn clients_may_hand_over_and_reset_the_entries() {
    let control = Control::start(&[]).await;
    let path = format!("{MAPS}/a");
    let made = control
        .post(&format!("{MAPS}?fieldManager=maker"), &map("a"))
        .await
        .expect(201);
    assert_eq!(managers(&made)[0].0, "maker");
    let mut entries = made["metadata"]["managedFields"].clone();
    entries[0]["manager"] = "heir".into();
    let patch = json!([{"op": "replace", "path": "/metadata/managedFields", "value": entries}]);
    let done = control.patch(&path, JSON_PATCH, &patch).await.expect(200);
    assert_eq!(managers(&done)[0].0, "heir");
    let reset = json!({"metadata": {"managedFields": [{}]}});
    let done = control.patch(&path, MERGE_PATCH, &reset).await.expect(200);
    assert_eq!(done["metadata"].get("managedFields"), None);
    // What was there before anybody was recorded has an owner of its own.
    let taken = apply(&control, "me", json!({"a": "2"}), "").await;
    assert!(
        taken
            .refused(409, "Conflict")
            .contains("before-first-apply")
    );
}
